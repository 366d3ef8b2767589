"""Exports that a team has made again and again, and put into a bucket. Fields and constraints."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned


class ExportSchedule(TenantOwned):
    """What is exported, when, and which bucket it is put into. Times are UTC.

    ``weekday`` (0 is Monday) counts of weekly ones, ``day`` of monthly ones, ``hour`` of none that are hourly.
    ``covered_seq`` is the last record that a run of it was for: the next begins behind it. ``sealed`` is the bucket's
    secret key, bound to this row.
    """

    class Every(models.TextChoices):
        HOURLY = "hourly"
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    format = models.CharField(max_length=16)
    filters = models.JSONField(default=dict)
    every = models.CharField(max_length=8, choices=Every.choices)
    hour = models.SmallIntegerField(default=0)
    minute = models.SmallIntegerField(default=0)
    weekday = models.SmallIntegerField(default=0)
    day = models.SmallIntegerField(default=1)
    endpoint = models.CharField(max_length=300)
    region = models.CharField(max_length=64)
    bucket = models.CharField(max_length=63)
    prefix = models.CharField(max_length=512, blank=True)
    access_key = models.CharField(max_length=128)
    sealed = models.BinaryField()
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    covered_seq = models.BigIntegerField(default=0)
    next_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="tenants_exportschedule_name_unique"),
            models.CheckConstraint(
                condition=models.Q(every__in=["hourly", "daily", "weekly", "monthly"])
                & models.Q(hour__range=(0, 23), minute__range=(0, 59))
                & models.Q(day__range=(1, 28), weekday__range=(0, 6)),
                name="tenants_exportschedule_time_valid",
            ),
        ]

    def __str__(self) -> str:
        return f"schedule {self.name}"

    @property
    def seal_context(self) -> str:
        """What the secret key is bound to: moved to another row, it does not open."""
        return f"export-schedule:{self.tenant_id}:{self.pk}"
