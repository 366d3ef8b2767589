"""Streams that stand open while Redis or the database is away for a moment."""

from __future__ import annotations

import threading
from itertools import chain
from typing import Any

import pytest
from redis.asyncio import Redis

from config.local.ports import find_free_port
from core.errors import Unavailable
from servers.endpoint import tenure
from servers.endpoint.subscribers import Hub
from servers.endpoint.visit import Visit
from servers.services.runtime import Runtime
from tests.protocol.streamclient import begin, open_modern
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Endpoint


class _Redis:
    """A Redis that can be away."""

    def __init__(self, here: Any) -> None:
        self._here = here
        self._gone = Redis.from_url(f"redis://127.0.0.1:{find_free_port()}")
        self.away = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gone if self.away else self._here, name)


def test_stream_that_was_opened_while_redis_was_away_works_once_it_is_back(
    talk: Endpoint, runtime: Runtime, hub: Hub, monkeypatch: pytest.MonkeyPatch, quick_checks: None
) -> None:
    session = begin(talk)
    assert session.request("resources/subscribe", {"uri": "talk://plain"}).result == {}
    redis = _Redis(runtime.bus.redis)
    assert session.request("ping").status == 200
    monkeypatch.setattr(runtime.bus, "redis", redis)
    with session.listen() as stream:
        assert stream.status == 200
        assert stream.next() is not None
        redis.away = False
        wait_for(lambda: any(each.uris for each in chain(*hub._subscribers.values())))
        assert talk.call("touch", {"uri": "talk://plain"}).status == 200
        told = stream.next()
        assert told is not None
        assert told.json["params"] == {"uri": "talk://plain"}
        assert told.id


def test_stream_outlasts_a_database_that_is_away_for_a_moment_but_not_for_long(
    talk: Endpoint, monkeypatch: pytest.MonkeyPatch, quick_checks: None
) -> None:
    looks = []
    is_away = threading.Event()
    admit = Visit.admit

    async def away(visit: Visit, *, again: bool = False) -> None:
        # Who sends a body that does not come with its head is looked at again, too: not what this is of.
        if again and is_away.is_set() and visit.headers.get(b"mcp-method") != b"tools/call":
            looks.append(visit)
            raise Unavailable("The database does not answer.", code="database_unavailable")
        await admit(visit, again=again)

    monkeypatch.setattr(Visit, "admit", away)
    session = begin(talk)
    assert session.request("resources/subscribe", {"uri": "talk://plain"}).result == {}
    wanted = {"notifications": {"resourceSubscriptions": ["talk://plain"]}}
    with session.listen() as stream, open_modern(talk, "subscriptions/listen", wanted) as modern:
        assert stream.next() is not None
        assert modern.message() is not None
        is_away.set()
        wait_for(lambda: len(looks) > 10 and len(set(looks)) == 2)
        assert talk.call("touch", {"uri": "talk://plain"}).status == 200
        for each in (stream, modern):
            assert each.message()["params"]["uri"] == "talk://plain"
        monkeypatch.setattr(tenure, "OUTAGE_SECONDS", 0.0)
        assert stream.messages() == []
        assert ["result" in message for message in modern.messages()] == [True]
