"""Goes round among tasks: those of lost workers, those that nobody answers, and those whose time is up."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import connection

from core.errors import MarinaError, Unavailable
from core.loop import run_async
from servers.services.runtime import get_runtime
from servers.services.tasks.ending import end_overdue, settle
from servers.services.tasks.line import Claim, TurnLost
from servers.services.tasks.rows import delete_expired, find_overdue
from tenants.scoping import directory_scope

_log = logging.getLogger(__name__)


async def settle_all(abandoned: Iterable[Claim]) -> None:
    """Find out what became of each. Raises ``Unavailable`` when the database or the log is away."""
    for claim in abandoned:
        await get_runtime().start()
        try:
            await settle(claim)
        except TurnLost:
            _log.info("a task was taken over by somebody else", extra={"task_id": str(claim.task_id)})
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - written down; the others go on
            # One that cannot be settled is no other's fault.
            _log.exception("a task of a lost worker was not settled", extra={"task_id": str(claim.task_id)})


def find_teams_of_expired() -> list[int]:
    """Teams with tasks whose time is up, by a function of the database that tells their ids and nothing else."""
    with directory_scope(), connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM marina_teams_of_expired_tasks()")
        return [int(tenant_id) for (tenant_id,) in cursor.fetchall()]


def sweep_tasks_of(tenant_id: int, now: datetime) -> int:
    """End what was asked and not answered in time, and delete what expired. How many were deleted."""
    for task_id in find_overdue(tenant_id, now):
        try:
            run_async(end_overdue(tenant_id, task_id))
        except MarinaError:
            _log.warning("a task is ended later", extra={"task_id": str(task_id)})
    return delete_expired(tenant_id, now)
