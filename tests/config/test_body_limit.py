"""A body over the limit is answered 413, and one that does not come 408, before Django takes it in."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator

import pytest
from django.conf import settings

from config.bodylimit import BodyLimit, Message, Receive, Scope, Send
from tests.plugins.live_marina import LiveMarina


@pytest.fixture
def connection(live_marina: LiveMarina) -> Iterator[http.client.HTTPConnection]:
    opened = http.client.HTTPConnection("127.0.0.1", live_marina.port, timeout=60)
    yield opened
    opened.close()


def test_a_declared_length_over_the_limit_is_refused_unread(connection: http.client.HTTPConnection) -> None:
    connection.putrequest("POST", "/app/sign-in")
    connection.putheader("Content-Length", str(settings.ENV.max_body_bytes + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"larger than" in answer.read()


def test_a_chunked_body_over_the_limit_is_refused_while_it_arrives(
    connection: http.client.HTTPConnection,
) -> None:
    chunks = (b"x" * 65536 for _ in range(settings.ENV.max_body_bytes // 65536 + 1))
    try:
        connection.request(
            "POST", "/app/sign-in", body=chunks, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        # The answer may come, and the connection close, before all is sent, or read.
        return
    assert status == 413


def test_a_body_that_does_not_come_is_answered_408() -> None:
    parts = [{"type": "http.request", "body": b"half", "more_body": True}]
    sent: list[Message] = []

    async def receive() -> Message:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass

    asyncio.run(BodyLimit(reads_all, 1024, seconds=0.01)({"headers": []}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
