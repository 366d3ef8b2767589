"""Whatever the API does, a call ends in time and in bounds, says why, and harms nobody else's."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable
from typing import Any

import pytest

from core.outbound import AddressRule
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from tests.farside import Asked, FarSide, Send, reply
from tests.servers.execution.http.conftest import Call, Refused, as_json


def drip(api: FarSide) -> Callable[[Asked, Send], None]:
    def route(asked: Asked, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not api.over.wait(0.01):
            send(b"1\r\nx\r\n")

    return route


def gigabyte(asked: Asked, send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for _ in range(16_384):
        send(b"x" * 65_536)


def reset(asked: Asked, send: Send) -> None:
    raise OSError


FAULTS: dict[str, tuple[bytes | Callable[[Asked, Send], None], str, str]] = {
    "a gigabyte": (gigabyte, "result_too_large", "larger than 1048576 bytes"),
    "a gigabyte announced": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\nx",
        "result_too_large",
        "larger than",
    ),
    "a bomb": (
        reply(gzip.compress(b"\x00" * 200_000_000, 9), headers={"Content-Encoding": "gzip"}),
        "result_too_large",
        "larger than",
    ),
    "less than announced": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nshort",
        "source_failed",
        "broke off",
    ),
    "a reset": (reset, "source_failed", "broke off"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", "source_failed", "not HTTP"),
    "another compression": (
        reply(b"\x0b\x02\x80x\x03", headers={"Content-Encoding": "br"}),
        "source_failed",
        "not asked for",
    ),
    "endless headers": (
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 50_000 + b"\r\n",
        "source_failed",
        "not HTTP",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("fault", FAULTS)
async def test_server_that_misbehaves_is_left_with_the_reason(
    fault: str, api: FarSide, call: Call, refused: Refused
) -> None:
    answer, code, words = FAULTS[fault]
    api.serve("/v1/a", answer)
    api.serve("/v1/b", as_json("well"))
    error = await refused("api_get", endpoint="a")
    assert (error.code, words in error.message) == (code, True), error.message
    assert (await call("api_get", endpoint="b")).structured["body"] == "well"


@pytest.mark.anyio
async def test_server_that_drips_is_left_at_the_sources_own_limit(api: FarSide, refused: Refused) -> None:
    api.serve("/v1/a", drip(api))
    error = await refused("api_get", settings={"timeout": 1}, endpoint="a")
    assert (error.code, error.retryable) == ("source_timeout", True)
    assert "1 seconds" in error.message
    error = await refused("api_post", settings={"timeout": 1, "allow_writes": True}, endpoint="a")
    assert (error.code, error.retryable) == ("source_timeout", False)


@pytest.mark.anyio
async def test_read_is_sent_again_where_the_connection_broke_and_a_write_is_not(
    api: FarSide, call: Call, refused: Refused
) -> None:
    seen: list[str] = []

    def once_broken(asked: Asked, send: Send) -> None:
        seen.append(asked.method)
        if len(seen) == 1:
            raise OSError
        send(as_json("again"))

    api.serve("/v1/a", once_broken)
    assert (await call("api_get", endpoint="a")).structured["body"] == "again"
    seen.clear()
    error = await refused("api_post", settings={"allow_writes": True}, endpoint="a", body={})
    assert (seen, error.retryable) == (["POST"], False)


@pytest.mark.anyio
async def test_batch_tells_of_each_bad_server_and_keeps_the_rest(api: FarSide, call: Call) -> None:
    for index, (answer, _, _) in enumerate(FAULTS.values()):
        api.serve(f"/v1/{index}", answer)
    api.serve("/v1/well", as_json("well"))
    requests = [{"endpoint": str(index)} for index in range(len(FAULTS))] + [{"endpoint": "well"}]
    told = (await call("batch_requests", requests=requests)).structured
    codes = [each["error"]["code"] for each in told["results"][:-1]]
    assert codes == [code for _, code, _ in FAULTS.values()]
    assert told["results"][-1]["body"] == "well"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("base_url", "code"),
    [
        ("http://10.0.0.1/", "source_denied"),
        ("http://169.254.169.254/latest", "source_denied"),
        ("http://[::1]:9/", "source_denied"),
        ("http://2852039166/", "source_denied"),
        ("http://0x7f.1/", None),
        ("http://nowhere.invalid/", "source_missing"),
        ("http://127.0.0.1:{closed}/", "source_unreachable"),
    ],
)
async def test_address_that_is_not_connected_to_is_told(
    base_url: str, code: str | None, engine: Engine, source: Callable[..., Source]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    on = source(base_url=base_url.format(closed=port))
    with pytest.raises(Exception, match=r"^The API at ") as caught:
        await engine.execute(on, Operation("api_get", {}), {})
    if code is not None:
        error: Any = caught.value
        assert error.code == code


@pytest.mark.anyio
async def test_loopback_is_refused_where_the_operator_allows_none(
    api: FarSide, source: Callable[..., Source]
) -> None:
    engine = Engine(allow_address=AddressRule().allows)
    with pytest.raises(Exception, match="does not connect to"):
        await engine.execute(source(), Operation("api_get", {}), {})
    await engine.close()
    assert api.connections == 0
