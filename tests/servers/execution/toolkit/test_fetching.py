"""``fetch_json`` on a server of the test's own: sound answers, redirects, and what no server should answer."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from core.errors import InvalidInput, MarinaError, SourceError
from core.outbound import AddressRule, parse_networks
from servers.execution.backends.toolkit.values import MAX_RESULT_BYTES
from servers.execution.contract import Operation, Outcome, Source
from servers.execution.engine import Engine
from tests.farside import Asked, FarSide, Send, far_side, reply

pytestmark = pytest.mark.anyio

SOURCE = Source(uuid4(), 1, "toolkit", "toolkit", 1, {})


@pytest.fixture
def server() -> Iterator[FarSide]:
    with far_side() as side:
        yield side


@pytest.fixture
async def near() -> AsyncIterator[Engine]:
    """An engine that may connect to loopback."""
    engine = Engine(allow_address=AddressRule(parse_networks(["127.0.0.0/8"])).allows)
    yield engine
    await engine.close()


async def fetch(engine: Engine, url: Any, *, timeout: float = 10) -> Outcome:
    return await engine.execute(SOURCE, Operation("fetch_json", {}), {"url": url}, timeout=timeout)


async def fail(engine: Engine, url: Any, *, timeout: float = 10) -> MarinaError:
    with pytest.raises(MarinaError) as caught:
        await fetch(engine, url, timeout=timeout)
    return caught.value


def json_of(body: bytes, **headers: str) -> bytes:
    return reply(body, kind="application/json", headers=headers)


def redirect(to: str, status: int = 302) -> bytes:
    return reply(status=status, headers={"Location": to})


async def test_a_document_is_fetched_without_a_credential(near: Engine, server: FarSide) -> None:
    url = server.serve("/towns", json_of(b'\xef\xbb\xbf[{"town": "Delft"}]')) + "?land=NL"
    outcome = await fetch(near, url)
    assert outcome.structured == {"data": [{"town": "Delft"}], "status": 200, "url": url}
    assert outcome.rows == 1
    (asked,) = server.asked
    assert (asked.method, asked.query, asked.headers["accept"]) == ("GET", "land=NL", "application/json")
    assert not {"authorization", "cookie"} & asked.headers.keys()


async def test_a_compressed_document_is_read(near: Engine, server: FarSide) -> None:
    url = server.serve("/", json_of(gzip.compress(b'{"a": 1}'), **{"Content-Encoding": "gzip"}))
    assert (await fetch(near, url)).structured["data"] == {"a": 1}


async def test_redirects_on_the_same_host_are_followed(near: Engine, server: FarSide) -> None:
    server.serve("/a", redirect("/b", 301))
    server.serve("/b", redirect(f"{server.origin}/c#part", 308))
    server.serve("/c", json_of(b"1"))
    assert (await fetch(near, f"{server.origin}/a")).structured["url"] == f"{server.origin}/c"


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:1/",
        "//elsewhere.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://[::1",
        "http://127.0.0.1:1/",
    ],
)
async def test_a_redirect_elsewhere_is_refused(near: Engine, server: FarSide, to: str) -> None:
    server.serve("/a", redirect(to))
    error = await fail(near, f"{server.origin}/a")
    assert "redirects to another one" in error.message
    assert to not in error.message
    assert len(server.asked) == 1


async def test_redirects_without_end_are_left(near: Engine, server: FarSide) -> None:
    server.serve("/a", redirect("/a"))
    assert "again and again" in (await fail(near, f"{server.origin}/a")).message
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "url",
    [
        None,
        5,
        "",
        "api.example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:1",
        "https://" + "a" * 3000,
        "http://u:p@example.com/",
        "http://example.com:99999/",
        "http:///x",
        "http://a b/",
        "http://x/../y",
        "http://x/\n",
    ],
)
async def test_what_is_no_address_of_the_web_is_refused(near: Engine, url: Any) -> None:
    error = await fail(near, url)
    assert isinstance(error, InvalidInput)
    assert error.errors[0]["path"] == "url"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "2130706433",
        "0x7f.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[fd00::1]",
        "100.64.0.1",
    ],
)
async def test_private_addresses_are_not_connected_to(engine: Engine, server: FarSide, host: str) -> None:
    error = await fail(engine, f"http://{host}:{server.port}/")
    assert isinstance(error, InvalidInput | SourceError)
    assert error.code in {"source_denied", "source_missing", "arguments_invalid"}
    assert server.connections == 0


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (reply(b"s3cret", status=404), "source_failed", "the status 404"),
        (reply(b"s3cret", status=503), "source_failed", "the status 503"),
        (redirect(""), "source_failed", "the status 302"),
        (reply(b"", status=200), "source_failed", "not JSON"),
        (reply(b"<html>s3cret", kind="text/html"), "source_failed", "(text/html) is not JSON"),
        (json_of(b'{"s3cret": '), "source_failed", "not JSON"),
        (json_of(b"[NaN]"), "source_failed", "NaN is no JSON number"),
        (json_of(b'{"a": 1, "a": 2}'), "source_failed", "stands twice"),
        (json_of(b"[123456789012345678901234567890]"), "source_failed", "beyond 64 bits"),
        (json_of(b"[" * 300 + b"]" * 300), "source_failed", "nested deeper"),
        (json_of('"é"'.encode("latin-1")), "source_failed", "not JSON"),
        (json_of(b'"' + b"x" * MAX_RESULT_BYTES + b'"'), "result_too_large", "larger than"),
        (
            json_of(gzip.compress(b" " * (1 << 26)), **{"Content-Encoding": "gzip"}),
            "result_too_large",
            "larger than",
        ),
        (b"s3cret\r\n\r\n", "source_failed", "broke off"),
    ],
)
async def test_an_answer_that_is_no_document_is_told_without_quoting_it(
    near: Engine, server: FarSide, answer: bytes, code: str, words: str
) -> None:
    error = await fail(near, server.serve("/", answer))
    assert error.code == code
    assert words in error.message
    assert "s3cret" not in error.message


async def test_a_server_that_never_answers_is_left(near: Engine, server: FarSide) -> None:
    def never(asked: Asked, send: Send) -> None:
        server.over.wait(30)

    url = server.serve("/", never)
    assert (await fail(near, url, timeout=0.3)).code == "source_timeout"


async def test_nobody_listening_is_told(near: Engine, server: FarSide) -> None:
    url = f"{server.origin}/a/secret?token=s3cret"
    server.stop()
    error = await fail(near, url)
    assert (error.code, error.retryable) == ("source_unreachable", True)
    assert "s3cret" not in error.message
