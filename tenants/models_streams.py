"""Streams: what of a team's log goes where, how far it has come, and what was handed over. Fields and constraints."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned


class LogStream(TenantOwned):
    """A receiver of a team's log. The row is the truth of what it took; the queue is only a hint.

    ``settings`` are the kind's, ``sealed`` its secrets, bound to this row. ``cursor`` is the number of the last record
    that the receiver took, or that the filters left out; ``pending`` is the end of the batch after it that was begun:
    it is sent again just so. ``fence`` grows with each claim of a worker and each change of where things go: who holds
    an older one must not move the cursor. ``attempts`` counts the deliveries, ``failures`` those in vain since the last
    that was taken; ``error`` says why the last was not. ``paused_because`` is empty where a person paused.
    """

    class Kind(models.TextChoices):
        WEBHOOK = "webhook"
        SYSLOG = "syslog"
        OTLP = "otlp"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    settings = models.JSONField(default=dict)
    sealed = models.BinaryField(null=True)
    filters = models.JSONField(default=dict)
    enabled = models.BooleanField(default=True)
    paused_because = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    cursor = models.BigIntegerField()
    pending = models.BigIntegerField(null=True)
    fence = models.IntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    claimed_at = models.DateTimeField(null=True)
    attempts = models.BigIntegerField(default=0)
    failures = models.IntegerField(default=0)
    failing_since = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True, default="")
    taken_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="tenants_logstream_name_unique"),
            models.CheckConstraint(
                condition=models.Q(kind__in=["webhook", "syslog", "otlp"]),
                name="tenants_logstream_kind_valid",
            ),
            models.CheckConstraint(
                condition=models.Q(cursor__gte=0)
                & (models.Q(pending__isnull=True) | models.Q(pending__gt=models.F("cursor"))),
                name="tenants_logstream_cursor_valid",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"

    @property
    def seal_context(self) -> str:
        """What the secrets are bound to: moved to another row, they do not open."""
        return f"log-stream:{self.tenant_id}:{self.pk}"

    @property
    def state(self) -> str:
        """``healthy``, ``retrying`` or ``paused``."""
        if not self.enabled:
            return "paused"
        return "retrying" if self.failures else "healthy"


class StreamDelivery(TenantOwned):
    """One attempt to hand records over: of the numbers ``first`` to ``last``, those that ``filters`` let through.

    ``cause`` says why: in its turn, again by a person, or a test, which holds no record. ``attempt`` counts from 1,
    ``status`` is HTTP's, where there was an answer. ``words`` say what became of it. Only the newest of a stream are
    kept.
    """

    class Cause(models.TextChoices):
        TURN = "turn"
        AGAIN = "again"
        TEST = "test"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    stream = models.ForeignKey(LogStream, on_delete=models.CASCADE, related_name="deliveries")
    number = models.BigIntegerField()
    cause = models.CharField(max_length=8, choices=Cause.choices)
    at = models.DateTimeField(default=timezone.now)
    first = models.BigIntegerField(null=True)
    last = models.BigIntegerField(null=True)
    filters = models.JSONField(default=dict)
    records = models.IntegerField(default=0)
    size = models.BigIntegerField(default=0)
    attempt = models.IntegerField(default=1)
    taken = models.BooleanField()
    status = models.IntegerField(null=True)
    duration_us = models.BigIntegerField(default=0)
    words = models.CharField(max_length=300, blank=True, default="")

    class Meta(TenantOwned.Meta):
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["stream", "number"], name="tenants_streamdelivery_number_unique"),
            models.CheckConstraint(
                condition=models.Q(cause__in=["turn", "again", "test"]),
                name="tenants_streamdelivery_cause_valid",
            ),
        ]

    def __str__(self) -> str:
        return f"delivery {self.number} of {self.stream_id}"

    @property
    def range_words(self) -> str:
        """Which records it covers, in words; empty for a test."""
        return "" if self.first is None else f"{self.first} to {self.last}"
