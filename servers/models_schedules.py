"""Calls of tools that a team has made again and again, and each of their runs. Fields and constraints."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned


class ToolSchedule(TenantOwned):
    """Which tool is called, with what, when, and as whom: a key (``credential_id``) or a member (``user_id``).

    ``cron`` has five fields, in the time zone ``zone``. ``next_at`` is when it is due next. ``refusals`` counts the
    runs in a row that a rule refused. ``sealed`` is what the tool is called with.
    """

    class Overlap(models.TextChoices):
        """What becomes of a run that is due while the one before has not ended."""

        SKIP = "skip"
        QUEUE = "queue"

    class Missed(models.TextChoices):
        """What becomes of runs that were due while nothing here ran: one is made up for, or none."""

        ONCE = "once"
        SKIP = "skip"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    server = models.CharField(max_length=40)
    tool = models.CharField(max_length=140)
    sealed = models.BinaryField()
    cron = models.CharField(max_length=120)
    zone = models.CharField(max_length=64)
    overlap = models.CharField(max_length=8, choices=Overlap.choices, default=Overlap.SKIP)
    missed = models.CharField(max_length=8, choices=Missed.choices, default=Missed.ONCE)
    priority = models.SmallIntegerField(default=0)
    enabled = models.BooleanField(default=True)
    paused_because = models.CharField(max_length=300, blank=True)
    """Why Marina paused it; empty where a person did, or nobody."""
    refusals = models.SmallIntegerField(default=0)
    credential_id = models.UUIDField(null=True)
    user_id = models.BigIntegerField(null=True)
    actor = models.CharField(max_length=200)
    """Whom it runs as, as the log names them."""
    next_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="servers_toolschedule_name_unique"),
            models.CheckConstraint(
                condition=models.Q(overlap__in=["skip", "queue"], missed__in=["once", "skip"])
                & models.Q(priority__range=(-1, 1)),
                name="servers_toolschedule_choices_valid",
            ),
            # Without either it would run as nobody, who may call what is public.
            models.CheckConstraint(
                condition=models.Q(credential_id__isnull=False, user_id__isnull=True)
                | models.Q(credential_id__isnull=True, user_id__isnull=False),
                name="servers_toolschedule_somebody",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_at"], condition=models.Q(enabled=True), name="servers_toolschedule_due"
            ),
        ]

    def __str__(self) -> str:
        return f"schedule {self.name}"

    @property
    def seal_context(self) -> str:
        """Where the sealed arguments belong: they open nowhere else."""
        return f"tool-schedule:{self.tenant_id}:{self.id}"


class ScheduledRun(TenantOwned):
    """One run of a schedule: there is one at most for each time that it was due at.

    ``task_id`` is its task, which may have expired since; ``seq`` the log's record of it. ``passed_over`` counts the
    times before this one that were missed.
    """

    class State(models.TextChoices):
        """What became of it. ``waiting``: it has not begun; ``running``: its task has not ended.

        The rest are ends: ``skipped`` for the run before, which had not ended; ``missed`` because nothing ran here
        then; the others are the log's outcomes of the call.
        """

        WAITING = "waiting"
        RUNNING = "running"
        SKIPPED = "skipped"
        MISSED = "missed"
        OK = "ok"
        ERROR = "error"
        REFUSED = "refused"
        INVALID = "invalid"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    schedule = models.ForeignKey(ToolSchedule, on_delete=models.CASCADE, related_name="runs")
    due_at = models.DateTimeField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    by = models.CharField(max_length=200, blank=True)
    """Who had it made out of turn; empty of one that was due."""
    passed_over = models.IntegerField(default=0)
    begun_at = models.DateTimeField(null=True)
    """When somebody last set out to begin it."""
    finished_at = models.DateTimeField(null=True)
    duration_us = models.BigIntegerField(null=True)
    task_id = models.UUIDField(null=True)
    seq = models.BigIntegerField(null=True)
    reason = models.CharField(max_length=300, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-due_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["schedule", "due_at"], name="servers_scheduledrun_due_unique"),
            models.CheckConstraint(
                condition=models.Q(
                    state__in=[
                        *("waiting", "running", "skipped", "missed"),
                        *("ok", "error", "refused", "invalid", "cancelled"),
                    ]
                ),
                name="servers_scheduledrun_state_valid",
            ),
        ]
        indexes = [
            models.Index(
                fields=["schedule"],
                condition=models.Q(state__in=["waiting", "running"]),
                name="servers_scheduledrun_open",
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.id} ({self.state})"
