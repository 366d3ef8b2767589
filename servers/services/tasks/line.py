"""The line at the workers: which task is next, who has it, and until when. Knows nothing of what tasks are about.

Whoever claims gets a token. What they write of the task counts only as long as the token is that of its turn: a worker
that was taken for dead, and is not, changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import connection
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from core.errors import MarinaError
from servers.models import Turn

LEASE: Final = timedelta(seconds=10)
"""How long a turn is a worker's without a sign of it."""

RENEW_SECONDS: Final = 2.5

_LOCK: Final = 0x6D61_7269_6E61
"""Of those who claim: they take turns, which takes a millisecond each."""

WINDOW: Final = 64
"""Teams that one claim looks at on either side of the one that was claimed from last, where more wait."""

# The teams that have something waiting are found one by one along the index, so it does not matter how much each has.
# Not all of them: of ten thousand, each claim would take a tenth of a second. They are gone round instead. The round
# also decides among teams that have equally many running: by age, those with a backlog would always come first. It is
# a sequence of the database, so that all processes go the same round, and one that starts anew goes on with it.
_NEXT: Final = """
WITH RECURSIVE last AS MATERIALIZED (SELECT last_value AS of_tenant FROM servers_turn_round), ahead AS (
    (SELECT of_tenant, 1 AS nth FROM servers_turn
     WHERE claim IS NULL AND of_tenant > (SELECT of_tenant FROM last) ORDER BY of_tenant LIMIT 1)
    UNION ALL
    SELECT (
        SELECT of_tenant FROM servers_turn
        WHERE claim IS NULL AND of_tenant > ahead.of_tenant ORDER BY of_tenant LIMIT 1
    ), nth + 1 FROM ahead WHERE ahead.of_tenant IS NOT NULL AND nth < %(window)s
), behind AS (
    (SELECT of_tenant, 1 AS nth FROM servers_turn
     WHERE claim IS NULL AND of_tenant <= (SELECT of_tenant FROM last) ORDER BY of_tenant LIMIT 1)
    UNION ALL
    SELECT (
        SELECT of_tenant FROM servers_turn
        WHERE claim IS NULL AND of_tenant > behind.of_tenant AND of_tenant <= (SELECT of_tenant FROM last)
        ORDER BY of_tenant LIMIT 1
    ), nth + 1 FROM behind WHERE behind.of_tenant IS NOT NULL AND nth < %(window)s
), teams AS (
    SELECT of_tenant, false AS again FROM ahead WHERE of_tenant IS NOT NULL
    UNION ALL SELECT of_tenant, true FROM behind WHERE of_tenant IS NOT NULL
), busy AS (
    SELECT of_tenant, count(*) AS running FROM servers_turn WHERE claim IS NOT NULL GROUP BY of_tenant
), chosen AS MATERIALIZED (
    SELECT first.task_id, teams.of_tenant
    FROM teams
    JOIN LATERAL (
        SELECT task_id FROM servers_turn
        WHERE claim IS NULL AND of_tenant = teams.of_tenant
        ORDER BY of_tenant, priority DESC, since LIMIT 1
    ) AS first ON true
    LEFT JOIN busy ON busy.of_tenant = teams.of_tenant
    WHERE coalesce(busy.running, 0) < %(most)s
    ORDER BY coalesce(busy.running, 0), teams.again, teams.of_tenant
    LIMIT 1
), taken AS (
    UPDATE servers_turn
    SET claim = %(token)s, worker = %(worker)s, lease_until = clock_timestamp() + %(lease)s
    FROM chosen
    -- Who cancels it takes it, too, and does not wait for those who claim.
    WHERE servers_turn.task_id = chosen.task_id AND servers_turn.claim IS NULL
    RETURNING servers_turn.task_id
)
SELECT chosen.task_id, chosen.of_tenant, seen.teams, taken.task_id, setval('servers_turn_round', chosen.of_tenant)
FROM (SELECT count(*) AS teams FROM teams) AS seen LEFT JOIN chosen ON true LEFT JOIN taken ON true
"""

# Sent together with what claims: whoever is paused or killed keeps nobody from claiming.
# Not on disk before it is acted upon: what a run may do comes after a commit that is (``runs.mark_begun``), and that
# takes this along. Where the database ends in between, the turn waits again, and the token that was given is nobody's.
_CLAIMING: Final = (
    # Who waits for longer has given up (``reading.LOOK_UP_SECONDS``): what is claimed then would be nobody's.
    "SELECT set_config('synchronous_commit', 'off', true), set_config('statement_timeout', '3s', true); "
    "SELECT pg_advisory_xact_lock(%(lock)s); " + _NEXT
)

_ALL: Final = 1_000_000_000


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


def claim_next(worker: str, *, most_of_team: int, hinted: bool = False) -> Claim | None:
    """Take the next task: of the team that has the fewest running, its most urgent and oldest one.

    Teams that have equally many take turns: the next one after that which was claimed from last. A team with
    ``most_of_team`` running has to wait. Where more than ``WINDOW`` teams have something waiting, it is of those whose
    turn it is. ``None``: there is nothing to run now. Who was not ``hinted`` at something asks first whether anything
    waits, which keeps nobody else from claiming.
    """
    if not hinted and not Turn.objects.filter(claim__isnull=True).exists():
        return None
    window = WINDOW
    while True:
        token = uuid4()
        given: dict[str, Any] = {
            "lock": _LOCK,
            "most": most_of_team,
            "window": window,
            "token": token,
            "worker": worker[:80],
            "lease": LEASE,
        }
        with connection.cursor() as cursor:
            cursor.execute(_CLAIMING, given)
            cursor.nextset()
            cursor.nextset()
            task_id, tenant_id, teams, taken, _ = cursor.fetchone()
        if taken is not None:
            return Claim(tenant_id, task_id, token)
        if task_id is None:
            if teams < window:
                return None
            # None of those may have more now: perhaps one that was not looked at may.
            window = _ALL


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
    """Keep these turns for another while. By token, those that are still held, and whether each is to be cancelled."""
    held = Turn.objects.filter(claim__in=[claim.token for claim in claims])
    held.update(lease_until=lease_end())
    return {
        token: cancelled for token, cancelled in held.values_list("claim", "cancelled") if token is not None
    }


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


def count_waiting() -> int:
    """How many tasks wait for a worker."""
    return Turn.objects.filter(claim__isnull=True).count()


def leave_line(task_ids: Iterable[UUID]) -> None:
    """Take tasks out of the line, whoever has them."""
    Turn.objects.filter(task_id__in=list(task_ids)).delete()
