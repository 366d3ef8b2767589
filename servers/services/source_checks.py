"""Checks of data sources: on request, each minute, and when one says that it changed. What they found is stored.

Nothing of a source is changed. The check of each minute also says which sources are listened to until the next one.

No connection to a source is opened while a transaction of ours is open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from core.errors import MarinaError
from core.loop import run_async
from servers.execution.authorizing.faults import NEEDED, needs_scopes
from servers.execution.contract import Health, Source
from servers.models import DataSource
from servers.services.changes import publish_change
from servers.services.hosted_runs import SAID_RESTS, due_for_check
from servers.services.kinds import backend_of
from servers.services.quarantine import store_health
from servers.services.runtime import get_runtime
from servers.services.sign_ins.rows import wanting
from servers.services.sources import execution_source, get_source, source_shown
from tenants.access import Caller, marina_of
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.recording import record_change

CHECKS_AT_ONCE: Final = 8
"""How many sources of one tenant the scheduled check connects to at the same time."""


def test_source(source_id: UUID, *, caller: Caller) -> Health:
    """Connect to a stored source now, store how that went, and say what is wrong. Raises ``NotFound``."""
    caller.require(Action.SOURCES_CHANGE)
    row = get_source(source_id, caller=caller)
    [health] = _check_now(caller.tenant_id, [row])
    with tenant_scope(caller.tenant_id):
        store_health(row, health, caller=caller)
        record_change(
            "source.tested",
            caller=caller,
            after={**source_shown(row), "health": health.state, "reason": health.reason},
        )
    return health


def check_and_listen(tenant_id: int) -> int:
    """Check one tenant's sources, and listen to those that may say that they changed. Gives how many it checked."""
    count = check_sources_of(tenant_id)
    sources = _telling(tenant_id)
    if sources:
        run_async(get_runtime().listeners.want(sources, check_sources_of))
    return count


def check_sources_of(tenant_id: int, only: UUID | None = None) -> int:
    """The scheduled check of one tenant's sources, or of ``only`` one, which said that it changed. Gives how many it
    checked."""
    with tenant_scope(tenant_id):
        if only is None:
            rows = due_for_check(DataSource.objects.all())
        else:
            rows = due_for_check(DataSource.objects.filter(pk=only), rests=SAID_RESTS)
    if not rows:
        return 0
    found = _check_now(tenant_id, rows)
    # What the schedule finds, nobody of the team did.
    marina = marina_of(tenant_id)
    # Each for itself: the record of one would keep the log from everybody until the last is stored.
    for row, health in zip(rows, found, strict=True):
        with tenant_scope(tenant_id):
            if store_health(row, health, caller=marina):
                publish_change(tenant_id)
    return len(rows)


def _telling(tenant_id: int) -> list[Source]:
    """The sources of kinds that may say by themselves that they changed, but for those that do not answer."""
    engine = get_runtime().engine
    found = []
    with tenant_scope(tenant_id):
        for row in DataSource.objects.exclude(health=DataSource.HealthState.UNHEALTHY):
            backend = engine.find(row.kind)
            if backend is not None and backend.tells_of_changes:
                # Where its settings do not open, its health says why.
                with contextlib.suppress(MarinaError):
                    found.append(execution_source(row))
    return found


def _check_now(tenant_id: int, rows: Sequence[DataSource]) -> list[Health]:
    """Connect to each source and say how that went, a few at a time, in the order given."""
    found = run_async(_check_all([_prepared(row) for row in rows]))
    lacking = wanting(tenant_id)
    return [
        _with_sign_in(row, health, lacking.get(row.pk, ())) for row, health in zip(rows, found, strict=True)
    ]


def _with_sign_in(row: DataSource, health: Health, lacking: Sequence[str]) -> Health:
    """A source that answers, and refused something for want of rights, is not healthy until somebody gave them."""
    if health.state not in {"healthy", "degraded"} or not lacking:
        return health
    fault = needs_scopes(row.name, lacking)
    return replace(health, state="needs_sign_in", reason=fault.message, code=NEEDED)


def _prepared(row: DataSource) -> Source | Health:
    try:
        backend_of(row.kind)
        return execution_source(row)
    except MarinaError as error:
        return Health("unhealthy", reason=error.message, code=error.code)


async def _check_all(prepared: Sequence[Source | Health]) -> list[Health]:
    engine = get_runtime().engine
    turns = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def check(each: Source | Health) -> Health:
        if isinstance(each, Health):
            return each
        async with turns:
            return await engine.check(each)

    return list(await asyncio.gather(*(check(each) for each in prepared)))
