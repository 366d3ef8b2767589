"""The parts that need no server: masking, the body's deadline, the one version."""

from __future__ import annotations

import asyncio
import os
import threading
import tomllib
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
from django.db import InterfaceError, OperationalError, connection
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unavailable
from core.threads import THREADS
from servers.endpoint.body import LEAST_BYTES_A_SECOND, ClientGone, read_body
from servers.endpoint.headers import request_id_of
from servers.endpoint.wire import SERVER_VERSION, RpcError
from servers.services import reading
from servers.services.reading import look_up
from servers.services.redaction import MASK, MAX_TEXT, mask_secrets, mask_text


def test_server_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == SERVER_VERSION


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


SECRET_TEXTS = [
    '{"password": "hunter2 of two words"} and more',
    '"password":"hunter2"',
    '{\\"password\\":\\"hunter2 x\\", \\"a\\":1}',
    'password: "hunter2 cut of',
    "{'api_key': 'hunter2'}",
    "PGPASSWORD=hunter22",
    "export DB_PASS=hunter2 && run",
    "db.password = hunter2",
    "ALTER USER x PASSWORD 'hunter2'",
    "ALTER USER x PASSWORD E'it''s hunter2'",
    "token: hunter",
    "token: hunter\nnext line",
    "(token: hunter), and more",
    "a token: hunter2x of someone",
    '"token": "hunter"',
    "MY_TOKEN=hunter2x",
    "x-api-key: hunter",
    "PRIVATE_KEY: hunter2",
    "?client_secret=hunter2&x=1",
    "postgresql://u:pass/hunter2@h",
    "postgresql://u:hunter2/word@h/db",
    "postgresql://u:p@hunter2@h/db",
    "https://me:hunter2@example.com:80/x",
    "Basic hunter2hunter2",
    "\ud800 password=hunter2",
]


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_secret_within_a_text_is_masked(text: str) -> None:
    masked = mask_text(text)
    assert MASK in masked
    assert "hunter" not in masked


@pytest.mark.parametrize(
    "text",
    [
        "The password must have eight characters.",
        "Passwords are hashed; a token bucket: limits",
        "Ask for a token: it is in the dashboard.",
        "a token: nothing was found",
        "SELECT token, count(*) FROM t WHERE tokens > 5",
        "max_tokens=4096, tokens: 100",
        "https://example.com:8443/a?mail=x@y.org",
        "see http://localhost:8000/ and mail me@x.org",
        "postgres://db:5432/x?a=b",
        "git@github.com:a/b.git at 12:30",
        "Basic information about the bearer instruments",
        "Visual Basic 6 and basic training",
        "The secretary: Jane",
        "author: me@x.org, see https://x.org: fine",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert mask_text(text) == text


_texts = st.text(st.characters(categories=None))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | _texts,
        lambda inner: st.lists(inner) | st.dictionaries(_texts | st.integers(), inner),
    )
)
def test_masking_takes_whatever_there_is(value: Any) -> None:
    mask_secrets(value)
    mask_text(str(value))


def test_processes_that_fork_give_out_different_request_ids() -> None:
    ours = request_id_of({})
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, request_id_of({}).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = pipe.read()
    assert theirs.partition("-")[0] != ours.partition("-")[0]
    assert request_id_of({}).partition("-")[0] == ours.partition("-")[0]


@pytest.mark.anyio
async def test_look_up_that_the_database_does_not_answer_is_given_up_and_its_thread_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "LOOK_UP_SECONDS", 0.2)
    ended = threading.Semaphore(0)

    def hang() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(600)")
        finally:
            ended.release()

    answers = await asyncio.gather(*(look_up(hang) for _ in range(THREADS)), return_exceptions=True)
    assert {getattr(each, "code", each) for each in answers} == {"database_unavailable"}
    for _ in range(THREADS):
        # Beside the loop, which has to cut off again those that had yet to connect.
        assert await asyncio.to_thread(ended.acquire, timeout=30)
    assert await look_up(int) == 0


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [psycopg.errors.AdminShutdown, psycopg.InterfaceError])
async def test_what_the_driver_says_itself_where_a_cursor_is_closed_is_told_as_the_database_away(
    fault: type[psycopg.Error],
) -> None:
    # As Django gives it from the end of an iterator whose connection went after its last row.
    def end() -> None:
        raise fault

    with pytest.raises(Unavailable) as refusal:
        await look_up(end)
    assert refusal.value.code == "database_unavailable"


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
async def test_body_that_goes_on_coming_has_the_time_that_its_bytes_take() -> None:
    piece = bytes(LEAST_BYTES_A_SECOND)
    pieces: list[bytes] = []

    async def receive() -> Any:
        await asyncio.sleep(0.1)
        pieces.append(piece)
        return part(piece, more=len(pieces) < 25)

    began = monotonic()
    assert len(await read_body(receive, 25 * len(piece), seconds=2)) == 25 * len(piece)
    assert monotonic() - began > 2


@pytest.mark.anyio
async def test_body_that_came_fast_and_stalls_is_given_up_as_soon() -> None:
    """A minute's worth of bytes at once is no minute of silence."""
    began, much = monotonic(), part(bytes(60 * LEAST_BYTES_A_SECOND))
    with pytest.raises(RpcError) as refused:
        await read_body(arriving(much, then_silence=True), 100 * LEAST_BYTES_A_SECOND, seconds=0.05)
    assert refused.value.status == 408
    assert monotonic() - began < 30


@pytest.mark.anyio
async def test_body_that_trickles_is_given_up() -> None:
    async def receive() -> Any:
        await asyncio.sleep(0.01)
        return part(b"x")

    began = monotonic()
    with pytest.raises(RpcError) as refused:
        await read_body(receive, 10_000_000, seconds=0.2)
    assert refused.value.status == 408
    assert monotonic() - began >= 0.2


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
