"""How long a team's log is kept: its policy, holds against it, and tombstones of what was removed. Fields,
constraints.
"""

from __future__ import annotations

import uuid
from typing import Final

from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned

MIN_DAYS: Final = 30
"""Records are kept so long at least, whatever a team sets: what was done can be looked into for a month."""

MAX_DAYS: Final = 36_500


class LogRetention(TenantOwned):
    """How many ``days`` the records of a team are kept; ``None``: for ever. Without a row: for ever.

    ``waits`` says why what is older is still there, ``looked_at`` as of when; a worker writes both.
    """

    days = models.IntegerField(null=True)
    looked_at = models.DateTimeField(null=True)
    waits = models.CharField(max_length=500, blank=True, default="")

    class Meta(TenantOwned.Meta):
        constraints = [
            models.UniqueConstraint(fields=["tenant"], name="tenants_logretention_unique"),
            models.CheckConstraint(
                condition=models.Q(days__isnull=True) | models.Q(days__gte=MIN_DAYS, days__lte=MAX_DAYS),
                name="tenants_logretention_days_valid",
            ),
        ]

    def __str__(self) -> str:
        return f"the log of {self.tenant_id} is kept for {self.days or 'ever'}"


class LegalHold(TenantOwned):
    """While it stands, no record from ``from_at`` on and before ``to_at`` is removed; ``None`` leaves a side open."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reason = models.CharField(max_length=500)
    from_at = models.DateTimeField(null=True)
    to_at = models.DateTimeField(null=True)
    placed_by = models.CharField(max_length=200)
    placed_at = models.DateTimeField(default=timezone.now, editable=False)
    lifted_by = models.CharField(max_length=200, blank=True, default="")
    lifted_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-placed_at", "id"]

    def __str__(self) -> str:
        return f"legal hold {self.id}"


class AuditTombstone(TenantOwned):
    """Says that records ``first`` to ``last`` are removed, from the moment that it is there. ``note`` is what was
    signed.

    Append-only, like the records. ``last_hash`` is what the record after the last one names as the one before it.
    """

    pk = models.CompositePrimaryKey("tenant_id", "number")
    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    number = models.BigIntegerField()
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    last_hash = models.BinaryField()
    days = models.IntegerField()
    at = models.DateTimeField()
    note = models.BinaryField()

    class Meta(TenantOwned.Meta):
        ordering = ["-number"]
        indexes = [models.Index(fields=["tenant", "last"], name="tenants_tombstone_last")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(number__gte=1, first__gte=1, last__gte=models.F("first")),
                name="tenants_tombstone_counted",
            )
        ]

    def __str__(self) -> str:
        return f"tombstone {self.number} of {self.tenant_id}"
