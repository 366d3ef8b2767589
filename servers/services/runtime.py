"""What a process keeps while it serves: engine, log writer, sealer, snapshots, grants. One a process, on one loop.

Web processes start and stop it in their lifespan; workers and commands start it on first use, on the
background loop of ``core.loop``. It makes no decision.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final

from django.conf import settings

from core.bus import Bus
from core.crypto import Sealer
from core.outbound import AddressRule
from core.sealing import sealer
from core.talks import Talks
from servers.execution.contract import Backend
from servers.execution.engine import Engine
from servers.services.grants import GrantCache, KeyUses
from servers.services.hosted_notes import HostedNotes
from servers.services.limits import Limiter, Pace
from servers.services.listening import Listeners
from servers.services.live import WATCHING, note_watched
from servers.services.lockout import LOCK_SECONDS, Lockout
from servers.services.oauth_notes import StepNotes
from servers.services.reading import look_up
from servers.services.refusals import RefusalLog
from servers.services.results.counts import Counter
from servers.services.results.memory import Memory
from servers.services.results.runs import SharedRuns
from servers.services.results.store import Store
from servers.services.said_changes import SaidChanges
from servers.services.sign_ins.keeper import StoredSignIns
from servers.services.slow_statements import SlowStatements
from servers.services.surface_cache import RECHECK_SECONDS, SurfaceCache
from servers.services.surfaces import find_tenant
from servers.services.tasks.seen import SeenTasks
from servers.services.upstream_states import UpstreamStates
from tenants.audit.writer import AuditWriter
from tenants.changes import CHANNEL

FLUSH_SECONDS: Final = 10.0
"""How often the keys' last uses are written, and counts added up."""

MAX_TENANTS: Final = 10_000

TOKEN_PACE: Final = Pace(600, 60)
"""What one address may ask of one team's token, revocation and introspection endpoints. A client asks once an hour, so
this is room for many behind one address."""


class Runtime:
    """The parts a call needs. Building it opens nothing; ``start`` does, on the loop that runs it."""

    def __init__(self) -> None:
        self.sealer: Sealer = sealer()
        self.writer = AuditWriter(settings.ENV.writer_database_url)
        self.bus = Bus(settings.ENV.redis_url)
        self.slow_statements = SlowStatements(self.bus)
        self.hosted_notes = HostedNotes(self.bus)
        self.talks = Talks(self.bus)
        self.upstream_states = UpstreamStates(self.bus)
        self.said_changes = SaidChanges(self.bus)
        allow = AddressRule(settings.ENV.outbound_allow).allows
        self.engine = Engine(
            allow_address=allow,
            files_roots=settings.ENV.files_roots,
            hosted_commands=settings.ENV.hosted_commands,
            note_slow=self.slow_statements.note,
            note_hosted=self.hosted_notes.note,
            note_upstream=self.upstream_states.note,
            note_changed=self.said_changes.note,
            talks=self.talks,
            sign_ins=StoredSignIns(self.sealer, allow=allow),
        )
        self.bus.listen(CHANNEL, self._heard, self._missed)
        self.bus.listen(WATCHING, note_watched, _nothing)
        self.changed: list[Callable[[int | None], None]] = []
        """Called after what is held of a tenant was dropped, with its id; with ``None`` when any may have changed."""
        self.surfaces = SurfaceCache(self.sealer, self._find_backend)
        self.listeners = Listeners(self.bus, self._find_backend)
        self.counter = Counter(self.bus)
        self.shared_runs = SharedRuns(Memory(), Store(settings.ENV.redis_url, self.sealer), self.counter)
        self.grants = GrantCache()
        self.tasks = SeenTasks(self.bus)
        self.uses = KeyUses()
        self.refusals = RefusalLog(self.writer)
        self.oauth_steps = StepNotes()
        self.tenants = TenantIds()
        rate = settings.ENV.public_rate
        self.limiter = Limiter(settings.ENV.redis_url, Pace(rate.requests, rate.seconds))
        self.token_limiter = Limiter(settings.ENV.redis_url, TOKEN_PACE)
        failures = settings.ENV.key_failures
        self.lockout = Lockout(
            Limiter(
                settings.ENV.redis_url,
                Pace(failures.requests, failures.seconds, burst=failures.requests, penalty=LOCK_SECONDS),
            )
        )
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the log and listen for changes. Starting again waits for the first start, and does no more."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """Write what is pending, then let go of every connection. After it the runtime is spent.

        Also one that was never started: REST counts failures and asks sources without starting it.
        """
        if self._starting is not None:
            await self._starting
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        await self.listeners.close()
        await self.slow_statements.settle()
        await self.hosted_notes.close()
        await self.upstream_states.settle()
        await self.said_changes.settle()
        await self.shared_runs.close()
        await self.talks.close()
        await self.bus.close()
        await self.refusals.close()
        await self.oauth_steps.close()
        await self.uses.flush()
        await self.limiter.close()
        await self.token_limiter.close()
        await self.lockout.close()
        await self.writer.close()
        await self.engine.close()
        _retire(self)

    def _find_backend(self, kind: str) -> Backend | None:
        # Not the engine's own method: tests give the runtime another engine.
        return self.engine.find(kind)

    def _heard(self, message: bytes) -> None:
        if not message.isdigit():
            return
        tenant_id = int(message)
        self.surfaces.drop_tenant(tenant_id)
        self.grants.drop_tenant(tenant_id)
        for callback in self.changed:
            callback(tenant_id)

    def _missed(self) -> None:
        self.surfaces.drop_all()
        self.grants.drop_all()
        for callback in self.changed:
            callback(None)

    async def _start(self) -> None:
        await self.writer.start()
        self.bus.start()
        self._tasks = [
            asyncio.create_task(self._flush_uses(), name="flush-key-uses"),
            asyncio.create_task(self._flush_counts(), name="flush-shared-counts"),
        ]

    async def _flush_uses(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.uses.flush()

    async def _flush_counts(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.counter.flush()


def _nothing() -> None:
    """Pages say again and again that they are there."""


class TenantIds:
    """Slug → tenant id for those who have no credential, held for seconds. A tenant's slug never changes."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, int | None]] = {}

    async def get(self, slug: str) -> int | None:
        """The tenant's id, or ``None`` when there is no such tenant."""
        now = asyncio.get_running_loop().time()
        held = self._held.get(slug)
        if held is not None and now < held[0]:
            return held[1]
        tenant_id = await look_up(find_tenant, slug)
        if len(self._held) >= MAX_TENANTS:
            self._held.clear()
        self._held[slug] = (now + RECHECK_SECONDS, tenant_id)
        return tenant_id


class _Process:
    """Where the one runtime is kept; the lock is for threads that ask for the first time at once."""

    lock = threading.Lock()
    runtime: Runtime | None = None


def get_runtime() -> Runtime:
    """The process's runtime. A stopped one is replaced by the next call."""
    runtime = _Process.runtime
    if runtime is None:
        with _Process.lock:
            runtime = _Process.runtime
            if runtime is None:
                runtime = _Process.runtime = Runtime()
    return runtime


def _retire(runtime: Runtime) -> None:
    with _Process.lock:
        if _Process.runtime is runtime:
            _Process.runtime = None
