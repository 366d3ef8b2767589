"""The parts that need no server: JSON, masking, the body's deadline, the one version."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from core.errors import Unavailable
from servers.endpoint.body import ClientGone, read_body
from servers.endpoint.strictjson import BadJson, read_json
from servers.endpoint.wire import SERVER_VERSION, RpcError
from servers.services.reading import look_up
from servers.services.redaction import MASK, MAX_TEXT, mask_secrets, mask_text


def test_server_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == SERVER_VERSION


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":1,"b":[1.5,"x",null,true]}', {"a": 1, "b": [1.5, "x", None, True]}),
        (b' { "a" : "\\u00e9" } ', {"a": "\u00e9"}),
        (b'{"a":"\\\\u0000"}', {"a": "\\u0000"}),
        (b'{"a":18446744073709551615,"b":-9223372036854775808}', {"a": 2**64 - 1, "b": -(2**63)}),
        (b'[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
    ],
)
def test_json_with_one_meaning_is_read(body: Any, value: Any) -> None:
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body", [b'{"a":1,"a":1}', b'[{"x":{"a":1, "a":2}}]', b'{"\\u0061":1,"a":2}', b'{"a":"\\u0000"}']
)
def test_json_with_two_meanings_is_refused(body: Any) -> None:
    with pytest.raises(BadJson):
        read_json(body)


@pytest.mark.parametrize(
    "value",
    [
        {"password": "hunter2"},
        {"db_password": "hunter2"},
        {"apiKey": "hunter2"},
        {"api-key": "hunter2"},
        {"Authorization": "hunter2"},
        {"accessToken": ["hunter2"]},
        {"pin_secret": 71342},
        {"sql": "ALTER ROLE x WITH PASSWORD 'hunter2'"},
        {"dsn_text": "host=db password=hunter2 user=x"},
        {"url": "https://me:hunter2@example.com/x"},
        {"header": "Bearer hunter2hunter2"},
        {"note": "eyJhbGciOiJIUzI1NiJ9.hunter2hunter2.hunter2"},
        {"list": [{"deep": {"secret": "hunter2"}}]},
        {"mcp_live_aaaaaaaa_hunter2hunter2": 1},
    ],
)
def test_secret_is_masked_wherever_it_stands(value: Any) -> None:
    masked = str(mask_secrets(value))
    assert MASK in masked
    assert "hunter2" not in masked
    assert "71342" not in masked


@pytest.mark.parametrize(
    "value",
    [
        {"country": "DE", "limit": 5, "max_tokens": 100, "author": "x", "tokenizer": "t", "passage": "p"},
        {"sql": "SELECT count(*) FROM airports WHERE country = 'DE' AND elevation > 100"},
        {"secret": None, "token": False},
        {"nested": [1, 2.5, None, True, {"a": []}]},
    ],
)
def test_ordinary_arguments_stay_as_they_are(value: Any) -> None:
    assert mask_secrets(value) == value


def test_masking_is_bounded_and_says_what_it_left_out() -> None:
    deep: dict[str, Any] = {}
    value = deep
    for _ in range(100):
        value["a"] = {}
        value = value["a"]
    assert "nested too deeply" in str(mask_secrets(deep))
    assert "more items" in str(mask_secrets(list(range(10_000)))[-1])
    cut = mask_text("x" * (MAX_TEXT + 1))
    assert len(cut) < MAX_TEXT + 200
    assert "SHA-256" in cut


def arriving(*messages: Any, then_silence: Any = False) -> Any:
    waiting = list(messages)

    async def receive() -> Any:
        if not waiting and then_silence:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        return waiting.pop(0)

    return receive


def part(body: Any, more: Any = True) -> Any:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.anyio
async def test_body_in_parts_is_joined() -> None:
    assert await read_body(arriving(part(b"ab"), part(b"cd"), part(b"", more=False)), 10) == b"abcd"


@pytest.mark.anyio
async def test_body_over_the_cap_is_refused_while_it_arrives() -> None:
    with pytest.raises(RpcError) as refused:
        await read_body(arriving(part(b"12345"), part(b"67890"), part(b"1"), then_silence=True), 10)
    assert refused.value.status == 413
    assert "10 bytes" in refused.value.message


@pytest.mark.anyio
@pytest.mark.parametrize("first", [[], [part(b"ab")]])
async def test_body_that_stalls_is_given_up(first: Any) -> None:
    with pytest.raises(RpcError) as refused:
        await read_body(arriving(*first, then_silence=True), 10, seconds=0.01)
    assert refused.value.status == 408


@pytest.mark.anyio
async def test_client_that_leaves_mid_body_is_noticed() -> None:
    with pytest.raises(ClientGone):
        await read_body(arriving(part(b"ab"), {"type": "http.disconnect"}), 10)


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [OperationalError, InterfaceError])
async def test_database_that_is_away_is_a_refusal_that_may_be_repeated(fault: type[Exception]) -> None:
    def look() -> None:
        raise fault("could not connect to 10.0.0.1 as marina_app")

    with pytest.raises(Unavailable) as refused:
        await look_up(look)
    assert refused.value.retryable
    assert "10.0.0.1" not in refused.value.message
