"""The commands that Marina runs for data sources: how they fare, and whether they can run here at all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from core.hostedcommands import HostedCommand
from core.loop import run_async
from core.sandboxed import try_sandbox
from servers.models import HOSTED_RESTS, DataSource
from servers.services.hosted_notes import HostedSource
from servers.services.runtime import get_runtime
from servers.services.sources import get_source
from tenants.access import Caller
from tenants.roles import Action

TRIED_SECONDS: Final = 60.0
SAID_RESTS: Final = timedelta(minutes=1)
"""After a look at a command that is well it is not looked at for so long, whatever it says."""


def show_hosted(source_id: UUID, *, caller: Caller) -> HostedSource:
    """How a source's command fares, in every process. Raises ``NotFound``, and ``Unavailable`` without Redis.

    What it wrote is for who may change sources: it may hold what others called it with.
    """
    row = get_source(source_id, caller=caller)
    if not row.is_hosted:
        return HostedSource()
    found = run_async(get_runtime().hosted_notes.read(caller.tenant_id, source_id))
    command = next((each for each in allowed_commands() if each.name == row.settings.get("command")), None)
    return HostedSource(
        found.runs,
        found.lines if caller.may(Action.SOURCES_CHANGE) else (),
        network="" if command is None else command.reach,
        hosts=() if command is None else command.reaches,
    )


def due_for_check(rows: Iterable[DataSource], *, rests: timedelta = HOSTED_RESTS) -> list[DataSource]:
    """Those of a team's sources that a check looks at now. ``rests``: a command is begun for each look at it."""
    since = timezone.now() - rests
    return [
        row
        for row in rows
        if not (
            row.is_hosted
            and row.health == DataSource.HealthState.HEALTHY
            and row.health_checked_at is not None
            and row.health_checked_at > since
        )
    ]


def allowed_commands() -> Sequence[HostedCommand]:
    """What the operator allows to be run."""
    commands: Sequence[HostedCommand] = settings.ENV.hosted_commands
    return commands


class _Tried:
    """What was found out of sandboxes, and when."""

    at: float = -TRIED_SECONDS
    why: str = ""


def hosting_fault() -> str | None:
    """Which commands cannot be run here and why, empty where all can; ``None`` where the operator allows none."""
    if not allowed_commands():
        return None
    if _Tried.at <= time.monotonic() - TRIED_SECONDS:
        _Tried.why = run_async(_try(listed=any(command.hosts for command in allowed_commands())), timeout=15)
        _Tried.at = time.monotonic()
    return _Tried.why


async def _try(*, listed: bool) -> str:
    why = await try_sandbox(door=listed)
    if not why:
        return ""
    if listed and not await try_sandbox(door=False):
        return f"Commands with listed hosts are not run: {why}."
    return f"Commands of data sources are not run: {why}."
