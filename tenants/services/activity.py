"""How much a tenant is used: counts for its overview, never the contents of its log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Aggregate, BigIntegerField, Count, Q
from django.utils import timezone

from tenants.access import Caller
from tenants.audit.records import INTENT, KIND_CALL
from tenants.models import ApiKey, AuditRecord
from tenants.roles import Action
from tenants.scoping import tenant_scope

WINDOW: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Which of a tenant's first steps have happened."""

    has_key: bool
    first_call_at: datetime | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls within the last 24 hours, each counted once. Times are microseconds of those that ran to an end; ``None``
    for no such call.
    """

    calls: int
    errors: int
    refused: int
    median_us: int | None
    p95_us: int | None


class _Percentile(Aggregate):
    """PostgreSQL's ``percentile_disc``: the value below which a share of the rows lies."""

    function = "percentile_disc"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = BigIntegerField()
    arity = 1

    def __init__(self, field: str, share: float, **extra: Any) -> None:
        super().__init__(field, share=f"{share:.2f}", **extra)


def find_beginnings(*, caller: Caller) -> Beginnings:
    """Whether a usable key exists, and when a client first called a tool with success."""
    caller.require(Action.TENANT_READ)
    now = timezone.now()
    with tenant_scope(caller.tenant_id):
        live = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
        has_key = ApiKey.objects.filter(live, revoked_at__isnull=True).exists()
        first = (
            AuditRecord.objects.filter(kind=KIND_CALL, outcome="ok", credential_id__isnull=False)
            .order_by("seq")
            .first()
        )
    return Beginnings(has_key=has_key, first_call_at=first.at if first else None)


def measure_usage(*, caller: Caller) -> Usage:
    """Count the last 24 hours' calls by outcome, with the median and 95th percentile of their time."""
    caller.require(Action.TENANT_READ)
    since = timezone.now() - WINDOW
    ran = Q(outcome__in=("ok", "error"))
    with tenant_scope(caller.tenant_id):
        row = AuditRecord.objects.filter(kind=KIND_CALL, at__gte=since).aggregate(
            # Neither is a call of its own: the record of how it ended follows, or its client asks again.
            calls=Count("seq", filter=~Q(outcome__in=(INTENT, "input_required"))),
            errors=Count("seq", filter=Q(outcome="error")),
            refused=Count("seq", filter=Q(outcome__in=("refused", "invalid"))),
            median=_Percentile("duration_us", 0.5, filter=ran),
            p95=_Percentile("duration_us", 0.95, filter=ran),
        )
    return Usage(
        calls=row["calls"],
        errors=row["errors"],
        refused=row["refused"],
        median_us=row["median"],
        p95_us=row["p95"],
    )
