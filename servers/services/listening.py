"""Listens to data sources that say by themselves that they changed: then they are checked at once, and not in a minute.
What they say of single resources is told to those who want to hear of them (``wanted``).

One process of the installation listens to a source, as long as it holds the lease in Redis. Nothing is decided by it:
what was not heard the next check finds. The scheduled check says which sources are to be listened to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Final
from uuid import UUID

from redis.exceptions import RedisError

from core.bus import Bus
from core.errors import MarinaError
from core.finishing import stop
from core.threads import run_sync_within
from servers.execution.contract import Source
from servers.execution.listening import Ears
from servers.services import said_changes
from servers.services.results.plans import FindBackend
from servers.services.updates import Updates
from servers.services.wanted import CHANNEL, read_wanted

MAX_LISTENED: Final = 200
"""Sources that one process listens to."""
TEAM_LISTENED: Final = 20
"""Of one team, where half of the places are taken."""
LEASE_SECONDS: Final = 30
WANTED_SECONDS: Final = 180.0
"""For how long a source is listened to that no check named again: it is gone, or another process checks."""
FIRST_BACKOFF: Final = 1.0
LAST_BACKOFF: Final = 300.0
SETTLED_SECONDS: Final = 60.0
"""A stream that lasted as long begins with the first backoff again."""
QUIET_SECONDS: Final = 5.0
"""Between two checks that one source asked for, however much it says."""
PUT_OFF_SECONDS: Final = 60.0
"""After so long a source is checked that was not to be checked yet."""
CHECKS_AT_ONCE: Final = 2
"""Of all sources together, in one process: each has one of its threads for as long as it takes."""
CHECK_SECONDS: Final = 60.0
STREAM_SECONDS: Final = 7_200.0
"""Of one stream, then it is begun anew: one whose far end went without a word would be waited for for ever."""
SILENT_SECONDS: Final = 3_600.0
"""For how long a server that tells of no changes is not asked to again."""
GATHER_SECONDS: Final = 0.5
"""Between the word that other resources are wanted and the look at which: a client names several."""

Check = Callable[[int, UUID], object]
"""Checks the source of this team, in a thread. Gives 0 where it is not to be checked now."""

_RENEW: Final = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('expire', KEYS[1], ARGV[2]) end
return 0
"""
_RELEASE: Final = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
)

logger = logging.getLogger(__name__)


class Listeners:
    """Those of one process, on the loop that the sources' calls run on."""

    def __init__(self, bus: Bus, find_backend: FindBackend) -> None:
        self._bus = bus
        self._find_backend = find_backend
        self._name = secrets.token_hex(8)
        self._wanted: dict[UUID, tuple[Source, float]] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._heard_of: dict[UUID, int] = {}
        """Sources that said something which no check began after, each with its team."""
        self._checking: dict[UUID, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._silent: dict[UUID, tuple[int, float]] = {}
        """By source: which version of it told of no changes, and when."""
        self._ears: dict[UUID, Ears] = {}
        """By source that is listened to."""
        self._looking: dict[UUID, asyncio.Task[None]] = {}
        self._do_check: Check | None = None
        """As it was given last; none before the first time, and once this is closed."""
        self._taking: set[asyncio.Task[None]] = set()
        self._telling = asyncio.Lock()
        bus.listen(CHANNEL, self._wanted_otherwise, _nothing)
        bus.listen(said_changes.CHANNEL, self._said, _nothing)

    async def want(self, sources: Sequence[Source], check: Check) -> None:
        """Listen to these from now on, unless another process does, and have ``check`` done where one changed."""
        self._do_check = check
        self._bus.start()
        now = monotonic()
        for id_ in [id_ for id_ in self._wanted if id_ not in self._tasks and self._still(id_) is None]:
            del self._wanted[id_]
            self._silent.pop(id_, None)
        for source in sources:
            self._wanted[source.id] = source, now
            version, at = self._silent.get(source.id, (0, 0.0))
            if version == source.version and at > now - SILENT_SECONDS:
                continue
            task = self._tasks.get(source.id)
            if (task is None or task.done()) and self._has_place(source):
                task = asyncio.get_running_loop().create_task(self._run(source.id), name="listen-to-source")
                self._tasks[source.id] = task
                task.add_done_callback(partial(self._ended, source.id))

    def _has_place(self, source: Source) -> bool:
        """Whether one more is listened to: half of the places are for teams that have few."""
        if len(self._tasks) < MAX_LISTENED // 2:
            return True
        of_team = sum(self._wanted[id_][0].tenant_id == source.tenant_id for id_ in self._tasks)
        return len(self._tasks) < MAX_LISTENED and of_team < TEAM_LISTENED

    async def close(self) -> None:
        """Stop listening, and give the leases back."""
        self._do_check = None
        tasks = [
            *self._tasks.values(),
            *self._checking.values(),
            *self._looking.values(),
            *self._taking,
        ]
        await stop(*tasks)

    def _ended(self, id_: UUID, task: asyncio.Task[None]) -> None:
        if self._tasks.get(id_) is task:
            del self._tasks[id_]

    async def _run(self, id_: UUID) -> None:
        key = f"marina:listens:{id_}"
        source = self._still(id_)
        if source is None or not await self._take(key):
            return
        updates = Updates(self._bus, source.tenant_id, self._telling)
        try:
            wait = FIRST_BACKOFF
            while (source := self._still(id_)) is not None:
                began = monotonic()
                if not await self._listen(source, key, updates):
                    return
                if monotonic() - began >= SETTLED_SECONDS:
                    wait = FIRST_BACKOFF
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come at once
                wait = min(LAST_BACKOFF, wait * 2)
                if not await self._renew(key):
                    return
                # What changed while nobody listened was not heard.
                self._heard(source.tenant_id, id_)
        finally:
            await updates.close()
            await self._release(key)

    async def _listen(self, source: Source, key: str, updates: Updates) -> bool:
        """Listen until the stream ends, the source changes, or the lease is lost. Whether it is worth trying again."""
        backend = self._find_backend(source.kind)
        if backend is None:
            return False
        heard = partial(self._heard, source.tenant_id, source.id)
        ears = self._ears[source.id] = Ears(heard, updates.note)
        # What is wanted is looked up while it connects.
        self._look_later(source.id)
        stream = asyncio.get_running_loop().create_task(backend.listen(source, ears))
        began = monotonic()
        try:
            while monotonic() - began < STREAM_SECONDS:
                done, _ = await asyncio.wait([stream], timeout=LEASE_SECONDS / 3)
                if done:
                    tells = stream.result()
                    if not tells:
                        self._silent[source.id] = source.version, monotonic()
                    return tells
                now = self._still(source.id)
                if now is None or not await self._renew(key):
                    return False
                if now.version != source.version:
                    return True
                await self._look(source.id)
            return True
        except MarinaError as fault:
            logger.info(
                "a source is not listened to", extra={"source_id": str(source.id), "code": fault.code}
            )
            return True
        finally:
            del self._ears[source.id]
            await stop(stream)

    def _wanted_otherwise(self, message: bytes) -> None:
        """Of a source others are wanted than before. Not all of these are listened to here."""
        try:
            id_ = UUID(message.decode())
        except ValueError:
            return
        self._look_later(id_)

    def _look_later(self, id_: UUID) -> None:
        if id_ in self._ears and id_ not in self._looking:
            task = asyncio.get_running_loop().create_task(self._look_soon(id_), name="look-what-is-wanted")
            self._looking[id_] = task

    async def _look_soon(self, id_: UUID) -> None:
        try:
            await asyncio.sleep(GATHER_SECONDS)
        finally:
            # What is said from now on may come too late for this look.
            del self._looking[id_]
        await self._look(id_)

    async def _look(self, id_: UUID) -> None:
        """Which resources of the source are wanted now. While Redis is away it is those that were."""
        ears = self._ears.get(id_)
        if ears is not None:
            with contextlib.suppress(RedisError, OSError):
                ears.want(await read_wanted(self._bus.redis, id_, ears.wanted))

    def _still(self, id_: UUID) -> Source | None:
        source, at = self._wanted[id_]
        return source if at > monotonic() - WANTED_SECONDS else None

    def _said(self, message: bytes) -> None:
        """A source said to a caller that it changed. One process of those that check is to look."""
        said = said_changes.read_said(message)
        if said is not None and self._do_check is not None:
            task = asyncio.get_running_loop().create_task(self._take_said(*said))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    async def _take_said(self, tenant_id: int, id_: UUID) -> None:
        key = f"marina:checks:{id_}"
        if await self._take(key) or await self._renew(key):
            self._heard(tenant_id, id_)

    def _heard(self, tenant_id: int, id_: UUID) -> None:
        """It changed, or may have. One check of it is under way at most; all that is said meanwhile is one reason for
        another."""
        self._heard_of[id_] = tenant_id
        if id_ not in self._checking:
            self._checking[id_] = asyncio.get_running_loop().create_task(
                self._check_heard(id_), name="check-heard-source"
            )

    async def _check_heard(self, id_: UUID) -> None:
        put_off = False
        try:
            while id_ in self._heard_of:
                tenant_id = self._heard_of.pop(id_)
                async with self._turns:
                    checked = await self._check(tenant_id, id_)
                # What was looked at a moment ago is looked at once more, later. What is gone is not.
                put_off = not checked and not put_off
                if put_off:
                    self._heard_of[id_] = tenant_id
                await asyncio.sleep(PUT_OFF_SECONDS if put_off else QUIET_SECONDS)
        finally:
            del self._checking[id_]

    async def _check(self, tenant_id: int, id_: UUID) -> bool:
        """Whether it was its time."""
        check = self._do_check
        if check is None:
            return True
        try:
            return await run_sync_within(CHECK_SECONDS, check, tenant_id, id_) != 0
        except Exception:
            # The scheduled check comes anyway.
            logger.exception("a source that said it changed was not checked", extra={"source_id": str(id_)})
            return True

    async def _take(self, key: str) -> bool:
        try:
            return bool(await self._bus.redis.set(key, self._name, nx=True, ex=LEASE_SECONDS))
        except (RedisError, OSError):
            return False

    async def _renew(self, key: str) -> bool:
        try:
            return bool(await self._bus.redis.eval(_RENEW, 1, key, self._name, LEASE_SECONDS))
        except (RedisError, OSError):
            return False

    async def _release(self, key: str) -> None:
        try:
            await self._bus.redis.eval(_RELEASE, 1, key, self._name)
        except (RedisError, OSError):
            logger.info("a lease ends by itself: Redis does not answer")


def _nothing() -> None:
    """What is wanted is read with each renewal of a lease, and each minute sources are looked at."""
