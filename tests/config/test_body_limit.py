"""A body over the limit is answered 413 before Django takes it in."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest
from django.conf import settings

from tests.plugins.live_marina import LiveMarina


@pytest.fixture
def connection(live_marina: LiveMarina) -> Iterator[http.client.HTTPConnection]:
    opened = http.client.HTTPConnection("127.0.0.1", live_marina.port, timeout=10)
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
    except (BrokenPipeError, ConnectionResetError):
        # The answer may come, and the connection close, before all is sent.
        return
    assert connection.getresponse().status == 413
