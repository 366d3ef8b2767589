"""Listening to one server: what is subscribed to there, what it refuses, and when no stream is held at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from servers.execution.backends.mcp import subscribing
from servers.execution.contract import Source
from servers.execution.listening import Ears
from tests.servers.execution.mcp.conftest import Ask
from tests.servers.execution.mcp.library import NEWS, OTHER, Library, open_library
from tests.servers.execution.mcp.shipyard import Era

pytestmark = pytest.mark.anyio

PAGE = "library://pages/7"


@pytest.fixture
def library(era: Era) -> Iterator[Library]:
    with open_library(era) as library:
        yield library


class Listened:
    """What was told while a source is listened to. ``ending`` is that listening."""

    def __init__(self) -> None:
        self.changes = 0
        self.uris: list[str] = []
        self.ears = Ears(self._changed, self.uris.append)
        self.ending: asyncio.Task[bool]

    def _changed(self) -> None:
        self.changes += 1

    def want(self, *uris: str) -> None:
        self.ears.want(frozenset(uris))


async def until(so: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not so():  # noqa: ASYNC110 - it is another thread's
            await asyncio.sleep(0.02)


@asynccontextmanager
async def listening(ask: Ask, source: Source) -> AsyncIterator[Listened]:
    listened = Listened()
    listened.ending = asyncio.get_running_loop().create_task(ask.backend.listen(source, listened.ears))
    try:
        yield listened
    finally:
        listened.ending.cancel()
        await asyncio.gather(listened.ending, return_exceptions=True)


async def test_what_is_refused_keeps_nothing_else_from_being_heard(ask: Ask, library: Library) -> None:
    library.refused = {OTHER}
    async with listening(ask, ask.source(library.url)) as listened:
        listened.want(NEWS, OTHER)
        await until(lambda: listened.uris == [NEWS])
        assert library.listened() == {NEWS}
        await asyncio.to_thread(library.tell, NEWS)
        await until(lambda: listened.uris == [NEWS, NEWS])
        # Of others that are wanted besides only those are told that were not heard before.
        listened.want(NEWS, OTHER, PAGE)
        await until(lambda: listened.uris == [NEWS, NEWS, PAGE])
        await until(lambda: library.listened() == {NEWS, PAGE})
        listened.want(PAGE)
        await until(lambda: library.listened() == {PAGE})
        listened.want()
        await until(lambda: not library.listened())
        assert not listened.ending.done()


async def test_a_server_that_refuses_every_subscription_is_asked_again_for_others(
    ask: Ask, library: Library
) -> None:
    library.refuses_all = True
    asks = ("resources/subscribe", "subscriptions/listen")

    def asked(uri: str) -> bool:
        return any(uri in str(each.body) for method in asks for each in library.harbour.of(method))

    async with listening(ask, ask.source(library.url)) as listened:
        listened.want(NEWS)
        await until(lambda: asked(NEWS))
        library.refuses_all = False
        listened.want(NEWS, OTHER)
        await until(lambda: OTHER in listened.uris)
        assert not listened.ending.done()


async def test_what_was_heard_is_heard_on_when_a_server_refuses_more(ask: Ask, library: Library) -> None:
    async with listening(ask, ask.source(library.url)) as listened:
        listened.want(NEWS)
        await until(lambda: listened.uris == [NEWS])
        library.refuses_all = True
        listened.want(NEWS, OTHER)
        asks = ("resources/subscribe", "subscriptions/listen")
        await until(
            lambda: any(OTHER in str(each.body) for method in asks for each in library.harbour.of(method))
        )
        for _ in range(2):
            await asyncio.to_thread(library.tell, NEWS)
        await until(lambda: listened.uris == [NEWS] * 3)
        assert not listened.ending.done()


async def test_of_what_a_server_agrees_to_no_more_is_read_than_is_ever_asked_for() -> None:
    subscription = subscribing.Subscription(Ears(lambda: None, lambda uri: None))
    agreed = {"resourceSubscriptions": [f"a://{n}" for n in range(100_000)]}
    await subscription.told("notifications/subscriptions/acknowledged", {"notifications": agreed})
    assert len(subscription.honoured.result()) == subscribing.MAX_HONOURED


async def test_no_stream_is_held_to_a_server_of_whom_nobody_wants_to_hear(ask: Ask) -> None:
    with open_library("legacy") as library:
        async with listening(ask, ask.source(library.url)) as listened:
            # Its session was begun, and has ended.
            await until(lambda: library.harbour.verbs("DELETE"))
            assert not library.harbour.verbs("GET")
            listened.want(NEWS)
            await until(lambda: library.listened() == {NEWS})
            assert len(library.harbour.verbs("GET")) == 1


async def test_members_sign_ins_and_commands_are_used_for_no_listening(ask: Ask) -> None:
    with open_library("modern") as library:
        signed = Source(uuid4(), 1, "l", "mcp", 1, {"url": library.url, "auth": "oauth", "sign_in": "member"})
        for source in (signed, Source(uuid4(), 1, "l", "mcp", 1, {"command": "any"})):
            listened = Listened()
            listened.want(NEWS)
            assert not await ask.backend.listen(source, listened.ears)
        assert not library.harbour.seen
