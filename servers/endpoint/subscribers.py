"""Who listens to changes of what servers offer, in this process, and telling them. Knows no transport.

A change is found by comparing what the lists look like before and after, so that nobody is told of changes that they
cannot see, and nobody misses one whose announcement was lost: what is compared is the present.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import orjson
from redis.exceptions import RedisError

from core.errors import MarinaError
from servers.endpoint.load import Load
from servers.endpoint.view import PROMPTS, RESOURCES, TOOLS, Views
from servers.endpoint.wanting import Wanting
from servers.services.runtime import Runtime
from servers.services.surfaces import Surface
from servers.services.updates import CHANNEL, announce_update
from servers.services.visibility import tools_left
from tenants.access import Caller

LISTS: Final = (TOOLS, RESOURCES, PROMPTS)

MAX_URIS: Final = 1_000
"""Resources that one stream or session is told of."""

_AGAIN_SECONDS: Final = 5.0
"""How soon a comparison is tried again that the database did not answer."""

_AT_ONCE: Final = 200
"""Subscribers that are told in one go."""

_Place = tuple[int, str]

logger = logging.getLogger(__name__)


class Subscriber:
    """One open stream: what it wants to hear of, and what it has not been told yet.

    Changes wait as a set, not a queue: two changes of one list that were not told yet are one.
    """

    __slots__ = ("caller", "ended", "lists", "pending", "server", "uris", "woken")

    def __init__(
        self, caller: Caller, server: str, *, lists: Iterable[str] = (), uris: Iterable[str] = ()
    ) -> None:
        self.caller = caller
        self.server = server
        self.lists = frozenset(lists)
        self.uris = set(uris)
        self.pending: dict[tuple[str, str], None] = {}
        self.woken = asyncio.Event()
        self.ended = False
        """Nothing more will come: the server is gone, or this process is going."""

    def tell(self, kind: str, uri: str = "") -> None:
        """Note a change and wake who serves the stream."""
        self.pending[kind, uri] = None
        self.woken.set()

    def end(self) -> None:
        """Wake who serves the stream, to end it."""
        self.ended = True
        self.woken.set()

    def take(self) -> list[tuple[str, str]]:
        """What is to be told now: list changes as ``(list, "")``, resources as ``("updated", uri)``."""
        taken = list(self.pending)
        self.pending.clear()
        self.woken.clear()
        return taken


class Hub:
    """The subscribers of one process."""

    def __init__(self, runtime: Runtime, views: Views, *, streams: Load, requests: Load) -> None:
        self._runtime = runtime
        self._views = views
        self._streams = streams
        self.requests = requests
        """What is being served, beside what stands open."""
        self._subscribers: dict[_Place, set[Subscriber]] = {}
        self._compared: dict[_Place, Surface] = {}
        self._comparing: dict[_Place, asyncio.Task[None]] = {}
        self._again: set[_Place] = set()
        self.wanting = Wanting(runtime, self._subscribers, self._compared)
        self._over = False
        runtime.changed.append(self._changed)
        runtime.bus.listen(CHANNEL, self._heard, _nothing)

    @property
    def over(self) -> bool:
        """Whether this process is going."""
        return self._over

    @property
    def count(self) -> int:
        """Open streams of this process."""
        return self._streams.count

    def admit(self, caller: Caller, *, listening: bool = False) -> None:
        """Count one more open stream. Raises ``RpcError`` (429). ``dismiss`` must follow.

        ``listening``: it is a request that stands open, and counts as a stream from now on instead.
        """
        self._streams.take(caller)
        if listening:
            self.requests.give(self.requests.cells(caller))

    def dismiss(self, caller: Caller, *, listening: bool = False) -> None:
        """A stream that was admitted has ended."""
        self._streams.give(self._streams.cells(caller))
        if listening:
            self.requests.again(self.requests.cells(caller))

    def join(self, subscriber: Subscriber, surface: Surface) -> None:
        """Listen from now on. ``surface`` is what the client was shown, or is about to ask for."""
        place = (subscriber.caller.tenant_id, subscriber.server)
        self._subscribers.setdefault(place, set()).add(subscriber)
        compared = self._compared.setdefault(place, surface)
        if compared is not surface:
            for name in subscriber.lists & self._changed_lists(surface, compared, subscriber.caller):
                subscriber.tell(name)
        # They may be older than the present, and nobody compared while nobody listened.
        self._compare_soon(place)
        if subscriber.uris:
            self.wanting.changed()
        if self._over:
            subscriber.end()

    def leave(self, subscriber: Subscriber) -> None:
        """Listen no more."""
        place = (subscriber.caller.tenant_id, subscriber.server)
        subscribers = self._subscribers.get(place, set())
        subscribers.discard(subscriber)
        if not subscribers:
            self._subscribers.pop(place, None)
            self._compared.pop(place, None)
        if subscriber.uris:
            self.wanting.changed()

    def end_all(self) -> None:
        """This process is going: every stream is to be ended by whoever serves it."""
        self._over = True
        for subscribers in self._subscribers.values():
            for subscriber in subscribers:
                subscriber.end()

    async def announce_resource(self, tenant_id: int, uri: str) -> None:
        """Tell the subscribers of a resource, on every replica, that it changed, and keep that for who comes later."""
        try:
            await announce_update(self._runtime.bus.redis, tenant_id, uri)
        except (RedisError, OSError):
            # Those of this process hear it all the same.
            self._updated(tenant_id, uri)

    def _heard(self, message: bytes) -> None:
        try:
            tenant_id, uri = orjson.loads(message)
        except (ValueError, TypeError):
            return
        self._updated(tenant_id, uri)

    def _updated(self, tenant_id: int, uri: str) -> None:
        for (tenant, _), subscribers in self._subscribers.items():
            if tenant == tenant_id:
                for subscriber in subscribers:
                    if uri in subscriber.uris:
                        subscriber.tell("updated", uri)

    def _changed(self, tenant_id: int | None) -> None:
        for place in list(self._subscribers):
            if tenant_id is None or place[0] == tenant_id:
                self._compare_soon(place)

    def _compare_soon(self, place: _Place) -> None:
        if place in self._comparing:
            # What it compares may be older than this change.
            self._again.add(place)
            return
        task = asyncio.get_running_loop().create_task(self._compare(place))
        self._comparing[place] = task
        task.add_done_callback(lambda _: self._done(place))

    def _done(self, place: _Place) -> None:
        del self._comparing[place]
        if place in self._again:
            self._again.discard(place)
            self._compare_soon(place)

    async def _compare(self, place: _Place) -> None:
        try:
            surface = await self._runtime.surfaces.get(*place)
        except MarinaError:
            logger.warning("a change is told later: the database is away", extra={"tenant_id": place[0]})
            if place in self._subscribers:
                asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._compare_soon, place)
            return
        subscribers = self._subscribers.get(place, set())
        if surface is None:
            for subscriber in subscribers:
                subscriber.end()
            return
        before = self._compared.get(place)
        if before is None or before is surface:
            return
        # Before anything else is let in: who joins meanwhile is compared with this one.
        self._compared[place] = surface
        changes: dict[tuple[frozenset[str] | None, Surface, Surface], frozenset[str]] = {}
        for number, subscriber in enumerate(list(subscribers), start=1):
            caller = subscriber.caller
            alike = (tools_left(caller), before.seen_by(caller), surface.seen_by(caller))
            changed = changes.get(alike)
            if changed is None:
                changed = changes[alike] = self._changed_lists(before, surface, caller)
                # A long list takes a while to look at: others have their turn in between.
                await asyncio.sleep(0)
            elif number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            for name in subscriber.lists & changed:
                subscriber.tell(name)

    def _changed_lists(self, before: Surface, now: Surface, caller: Caller) -> frozenset[str]:
        old, new = self._views.digests(before, caller), self._views.digests(now, caller)
        return frozenset(name for name in LISTS if old[name] != new[name])


def change_bytes(kind: str, uri: str, meta: bytes | None = None) -> bytes:
    """The notification of a change. ``meta``: the JSON of its ``_meta``."""
    if kind == "updated":
        params = b'"uri":' + orjson.dumps(uri)
        method = "notifications/resources/updated"
    else:
        params = b""
        method = f"notifications/{kind}/list_changed"
    if meta is not None:
        params = b'"_meta":' + meta + (b"," + params if params else b"")
    content = b',"params":{%s}' % params if params else b""
    return b'{"jsonrpc":"2.0","method":"%s"%s}' % (method.encode(), content)


def _nothing() -> None:
    """What sessions missed they ask for (``updates``). Other streams hear the next update."""
