"""Exports of the log: their rows. Fields and constraints."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned

if TYPE_CHECKING:
    from tenants.models_schedules import ExportSchedule


class AuditExport(TenantOwned):
    """A download of the log, made by a worker. The row is the truth; the queue is only a hint.

    ``fence`` grows with each claim: a worker whose fence is no longer the row's has lost its lease and must not finish
    the row. ``tries`` are the claims since a part of the file was last made durable.

    What is exported is fixed when it is claimed first: ``head_seq`` and ``head_hash`` are the end of the log then,
    ``first_seq`` and ``last_seq`` the records to look at, of which there are none where the first is the greater.
    Of what a schedule began that is so from its beginning, which ``by_numbers`` says, also of the same run again.
    While it runs, ``looked_at``, ``records`` and ``size`` say how far it is.

    Without ``payloads`` it holds of each call what is not data: ``tenants.audit.payloads`` says what is left out.

    What a ``schedule`` made is put into a bucket: ``delivery`` says whether it is there, under ``delivery_key``, and
    ``deliver_at`` when the next of the ``delivery_tries`` may begin. A composite key holds it to its schedule's tenant.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"
        EXPIRED = "expired"

    class Delivery(models.TextChoices):
        WAITING = "waiting"
        DELIVERED = "delivered"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    format = models.CharField(max_length=16, default="jsonl")
    from_at = models.DateTimeField(null=True)
    to_at = models.DateTimeField(null=True)
    filters = models.JSONField(default=dict)
    requested_by = models.CharField(max_length=200)
    payloads = models.BooleanField(default=True, db_default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.IntegerField(default=0)
    tries = models.IntegerField(default=0, db_default=0)
    head_seq = models.BigIntegerField(null=True)
    head_hash = models.BinaryField(null=True)
    first_seq = models.BigIntegerField(null=True)
    last_seq = models.BigIntegerField(null=True)
    by_numbers = models.BooleanField(default=False, db_default=False)
    looked_at = models.BigIntegerField(default=0, db_default=0)
    records = models.BigIntegerField(null=True)
    size = models.BigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)
    path = models.CharField(max_length=200, blank=True)
    error = models.CharField(max_length=300, blank=True)
    schedule: models.ForeignKey[ExportSchedule | None, ExportSchedule | None] = models.ForeignKey(
        "tenants.ExportSchedule", on_delete=models.SET_NULL, null=True, related_name="+"
    )
    delivery = models.CharField(
        max_length=16, choices=Delivery.choices, blank=True, default="", db_default=""
    )
    delivery_tries = models.IntegerField(default=0, db_default=0)
    deliver_at = models.DateTimeField(null=True)
    delivery_error = models.CharField(max_length=300, blank=True, default="", db_default="")
    delivery_key = models.CharField(max_length=800, blank=True, default="", db_default="")

    class Meta(TenantOwned.Meta):
        ordering = ["-created_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["queued", "running", "done", "failed", "cancelled", "expired"]
                ),
                name="tenants_auditexport_status_valid",
            ),
        ]

    def __str__(self) -> str:
        return f"export {self.id} ({self.status})"

    @property
    def in_all(self) -> int | None:
        """How many records are to be looked at; ``None`` before a worker has come."""
        if self.first_seq is None or self.last_seq is None:
            return None
        return max(0, self.last_seq - self.first_seq + 1)

    @property
    def expires_at(self) -> datetime | None:
        """When its file is deleted; ``None`` where it has none, or has none any more."""
        if self.status != self.Status.DONE or self.finished_at is None:
            return None
        kept: timedelta = timedelta(days=settings.ENV.exports_days)
        return self.finished_at + kept


UNFINISHED: Final = (AuditExport.Status.QUEUED, AuditExport.Status.RUNNING)
