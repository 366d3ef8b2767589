"""Says of which resources this process's subscribers want to hear, where a data source is listened to for them.

Only sources that tell of changes themselves are told. It looks at all subscribers when one of them wants others, and
again before what was said is forgotten; it takes a small part of the process's time at most, however many they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final
from uuid import UUID

from redis.exceptions import RedisError

from servers.endpoint.turns import Turns
from servers.services.runtime import Runtime
from servers.services.surfaces import Surface
from servers.services.wanted import WANTED_SECONDS, bounded, let_go, want

if TYPE_CHECKING:
    from servers.endpoint.sessions import Session
    from servers.endpoint.subscribers import Subscriber

RENEW_SECONDS: Final = WANTED_SECONDS / 6
PAUSE_SECONDS: Final = 0.1
"""Between two looks at least, for subscribers come and go in numbers."""
SHARE: Final = 20
"""A look that took long is followed by a pause of so many times as long, and of ``MAX_PAUSE_SECONDS`` at most."""
MAX_PAUSE_SECONDS: Final = 10.0
AGAIN_SECONDS: Final = 5.0
"""How soon it is said again what Redis did not take."""

PLACE_SECONDS: Final = 0.2
"""For so long it is looked for the resources of one server, before the next server has its turn."""

_Wanted = Mapping[UUID, Set[str]]
_Places = Mapping[tuple[int, str], Set["Subscriber"]]
_Surfaces = Mapping[tuple[int, str], Surface]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """Of which sources the resources of a server are, by URI. ``stale``: as far as was known of the server before."""

    surface: Surface
    sources: dict[str, UUID | None] = field(default_factory=dict)
    stale: dict[str, UUID | None] = field(default_factory=dict)


class Wanting:
    """What the subscribers of one process want. ``subscribers`` and ``surfaces`` are by server, and change."""

    def __init__(self, runtime: Runtime, subscribers: _Places, surfaces: _Surfaces) -> None:
        self._runtime = runtime
        self._subscribers = subscribers
        self._surfaces = surfaces
        self._name = secrets.token_hex(8)
        self._said: _Wanted = {}
        self._known: dict[tuple[int, str], _Known] = {}
        """By server, of those that were wanted when it looked last."""
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """Somebody wants to hear of others than before: it is said soon."""
        self._woken.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._say_all(), name="say-what-is-wanted")

    async def keep(self, session: Session, uris: Iterable[str], surface: Surface) -> None:
        """Of these a session wants to hear, though it has no open stream now: it may have one soon."""
        with contextlib.suppress(RedisError, OSError):
            for source_id, each in (await self._by_source(uris, surface)).items():
                await want(self._runtime.bus.redis, source_id, session.id, each)

    async def forget(self, session: Session, uri: str, surface: Surface) -> None:
        """Of this it does not."""
        with contextlib.suppress(RedisError, OSError):
            for source_id, each in (await self._by_source([uri], surface)).items():
                await let_go(self._runtime.bus.redis, source_id, session.id, each)

    async def _say_all(self) -> None:
        renewed = 0.0
        while True:
            self._woken.clear()
            began = monotonic()
            found = await self._look()
            pause = min(MAX_PAUSE_SECONDS, max(PAUSE_SECONDS, SHARE * (monotonic() - began)))
            anew = began - renewed >= RENEW_SECONDS
            try:
                await self._say(found, anew=anew)
            except (RedisError, OSError):
                logger.info("what is subscribed to is said later: Redis does not answer")
                renewed = 0.0
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if anew:
                renewed = began
            if not self._said and not self._woken.is_set():
                self._known.clear()
                return
            await asyncio.sleep(pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._woken.wait()

    async def _say(self, found: _Wanted, *, anew: bool) -> None:
        redis, before, self._said = self._runtime.bus.redis, self._said, found
        for source_id, uris in found.items():
            new = uris if anew else uris - before.get(source_id, frozenset())
            await want(redis, source_id, self._name, new)
        for source_id, uris in before.items():
            gone = uris - found.get(source_id, frozenset())
            if gone:
                await let_go(redis, source_id, self._name, gone)

    async def _look(self) -> _Wanted:
        """What is wanted of each source now."""
        found: dict[UUID, set[str]] = {}
        known, self._known = self._known, {}
        turns = Turns()
        for place, subscribers in list(self._subscribers.items()):
            surface = self._surfaces.get(place)
            wanted: set[str] = set()
            for subscriber in list(subscribers):
                wanted |= subscriber.uris
                await turns.give_way()
            if surface is None or not wanted:
                continue
            before = known.get(place) or _Known(surface)
            now = self._known[place] = await self._sources_of(wanted, surface, before)
            if now.stale:
                # The others have their time first.
                self._woken.set()
            _add(found, now.sources)
            _add(found, now.stale)
        return {id_: bounded(uris, self._said.get(id_, frozenset())) for id_, uris in found.items()}

    async def _by_source(self, uris: Iterable[str], surface: Surface) -> _Wanted:
        """Those of a source that tells of changes itself."""
        found: dict[UUID, set[str]] = {}
        before = self._known.get((surface.tenant_id, surface.slug)) or _Known(surface)
        _add(found, (await self._sources_of(uris, surface, before)).sources)
        return found

    async def _sources_of(self, uris: Iterable[str], surface: Surface, before: _Known) -> _Known:
        """The source of each that tells of changes itself, where it has one. What is not known ``before`` is looked for
        ``PLACE_SECONDS`` long, and what is not found out by then is ``stale``: a server may have thousands of
        templates, each of which is tried."""
        now = _Known(surface)
        fresh = before.sources if before.surface is surface else {}
        turns, until = Turns(), monotonic() + PLACE_SECONDS
        for uri in sorted(uris):
            if uri in fresh:
                now.sources[uri] = fresh[uri]
            elif monotonic() < until:
                now.sources[uri] = self._source_of(uri, surface)
            else:
                now.stale[uri] = before.sources.get(uri, before.stale.get(uri))
            await turns.give_way()
        return now

    def _source_of(self, uri: str, surface: Surface) -> UUID | None:
        found = surface.find_resource(uri)
        source = None if found is None else found[0].source
        if source is None:
            return None
        backend = self._runtime.engine.find(source.kind)
        return source.id if backend is not None and backend.tells_of_changes else None


def _add(found: dict[UUID, set[str]], sources: Mapping[str, UUID | None]) -> None:
    for uri, source_id in sources.items():
        if source_id is not None:
            found.setdefault(source_id, set()).add(uri)
