"""The line at the workers: which task is next, who has it, and until when. Knows nothing of what tasks are about.

Whoever claims gets a token. What they write of the task counts only as long as the token is that of its turn: a worker
that was taken for dead, and is not, changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.utils import timezone

from core.errors import MarinaError
from servers.models import Turn

LEASE: Final = timedelta(seconds=10)
"""How long a turn is a worker's without a sign of it."""

RENEW_SECONDS: Final = 2.5

_LOCK: Final = 0x6D61_7269_6E61
"""Of those who claim: they take turns, which takes a millisecond each."""

# The teams that have something waiting are found one by one along the index, so it does not matter how much each has.
_NEXT: Final = """
WITH RECURSIVE teams AS (
    (SELECT of_tenant FROM servers_turn WHERE claim IS NULL ORDER BY of_tenant LIMIT 1)
    UNION ALL
    SELECT (
        SELECT of_tenant FROM servers_turn
        WHERE claim IS NULL AND of_tenant > teams.of_tenant ORDER BY of_tenant LIMIT 1
    ) FROM teams WHERE teams.of_tenant IS NOT NULL
), busy AS (
    SELECT of_tenant, count(*) AS running FROM servers_turn WHERE claim IS NOT NULL GROUP BY of_tenant
)
SELECT first.task_id, teams.of_tenant
FROM teams
JOIN LATERAL (
    SELECT task_id, since FROM servers_turn
    WHERE claim IS NULL AND of_tenant = teams.of_tenant
    ORDER BY of_tenant, priority DESC, since LIMIT 1
) AS first ON true
LEFT JOIN busy ON busy.of_tenant = teams.of_tenant
WHERE coalesce(busy.running, 0) < %s
ORDER BY coalesce(busy.running, 0), first.since
LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one task, as long as its token is that of the task's turn."""

    tenant_id: int
    task_id: UUID
    token: UUID


class TurnLost(MarinaError):
    """The turn is another worker's now, or nobody's: nothing more may be written of this run."""

    code = "turn_lost"

    def __init__(self) -> None:
        super().__init__("The task was taken over by another worker.")


def join_line(tenant_id: int, task_id: UUID, *, priority: int = 0) -> None:
    """Put a task into the line, within the transaction that makes it ready to run."""
    Turn.objects.create(task_id=task_id, of_tenant=tenant_id, priority=priority)


def claim_next(worker: str, *, most_of_team: int) -> Claim | None:
    """Take the next task: of the team that has the fewest running, its most urgent and oldest one.

    A team with ``most_of_team`` running has to wait. ``None``: there is nothing to run now.
    """
    token = uuid4()
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            cursor.execute(_NEXT, [most_of_team])
            found = cursor.fetchone()
            if found is None:
                return None
            task_id, tenant_id = found
            # Who cancels it takes it, too, and does not wait for those who claim.
            waiting = Turn.objects.filter(task_id=task_id, claim__isnull=True)
            if waiting.update(claim=token, worker=worker[:80], lease_until=lease_end()):
                return Claim(tenant_id, task_id, token)


def lease_end() -> CombinedExpression:
    """When a turn that is taken now is lost without a sign, by the database's clock: workers' may differ."""
    return Now() + LEASE


def hold(claim: Claim) -> Turn:
    """Lock the turn until the transaction ends. Raises ``TurnLost``."""
    turn = Turn.objects.select_for_update().filter(task_id=claim.task_id, claim=claim.token).first()
    if turn is None:
        raise TurnLost
    return turn


def renew(claims: Sequence[Claim]) -> Mapping[UUID, bool]:
    """Keep these turns for another while. By task, those that are still held, and whether each is to be cancelled."""
    held = Turn.objects.filter(claim__in=[claim.token for claim in claims])
    held.update(lease_until=lease_end())
    return dict(held.values_list("task_id", "cancelled"))


def give_back(claim: Claim) -> None:
    """Let another worker have the task, at its old place. Raises ``TurnLost``."""
    free = Turn.objects.filter(task_id=claim.task_id, claim=claim.token)
    if not free.update(claim=None, worker="", lease_until=None):
        raise TurnLost


def find_abandoned(most: int = 1_000) -> list[Claim]:
    """Turns whose worker gave no sign for too long."""
    rows = Turn.objects.filter(claim__isnull=False, lease_until__lt=Now())
    return [
        Claim(row.of_tenant, row.task_id, row.claim)
        for row in rows.order_by("lease_until")[:most]
        if row.claim is not None
    ]


def take_over(claim: Claim, worker: str) -> Claim | None:
    """Take an abandoned turn, to find out what became of its task; ``None`` where somebody was faster."""
    token = uuid4()
    abandoned = Turn.objects.filter(task_id=claim.task_id, claim=claim.token, lease_until__lt=Now())
    if not abandoned.update(claim=token, worker=worker[:80], lease_until=lease_end()):
        return None
    return Claim(claim.tenant_id, claim.task_id, token)


def count_waiting(older_than: timedelta = timedelta(0)) -> int:
    """How many tasks wait for a worker, for longer than this."""
    return Turn.objects.filter(claim__isnull=True, since__lte=timezone.now() - older_than).count()


def leave_line(task_ids: Iterable[UUID]) -> None:
    """Take tasks out of the line, whoever has them."""
    Turn.objects.filter(task_id__in=list(task_ids)).delete()


def when_waiting(task_id: UUID) -> tuple[int, datetime] | None:
    """How many tasks are before this one in its team's line, and since when it waits; ``None``: it does not wait."""
    turn = Turn.objects.filter(task_id=task_id, claim__isnull=True).first()
    if turn is None:
        return None
    before = Q(priority__gt=turn.priority) | Q(priority=turn.priority, since__lt=turn.since)
    waiting = Turn.objects.filter(before, of_tenant=turn.of_tenant, claim__isnull=True)
    return waiting.count(), turn.since
