"""Long work: tasks, and their turns at the workers."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned


class Task(TenantOwned):
    """A call that goes on without the request that made it. The row is the truth; queues and messages are hints.

    ``sealed`` is what is to be run, for whom: see ``servers.services.tasks.payload``. The other sealed columns belong
    to the same context, and are sealed anew with it.
    """

    class Status(models.TextChoices):
        """MCP's words (SEP-2663, "Task Status")."""

        WORKING = "working"
        INPUT_REQUIRED = "input_required"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"

    sealed_columns = ("sealed", "sealed_answers", "sealed_result", "sealed_said")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.WORKING)
    server = models.CharField(max_length=40)
    tool = models.CharField(max_length=140)
    tool_version = models.IntegerField()
    actor = models.CharField(max_length=200)
    principal = models.CharField(max_length=200, blank=True)
    """Whose it is: nobody else's client hears of it. Empty of anyone who has no credential."""
    credential_id = models.UUIDField(null=True)
    client = models.CharField(max_length=200, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    idempotency_key = models.CharField(max_length=200, null=True)
    sealed = models.BinaryField()
    repeatable = models.BooleanField(default=False)
    """Whether it may run again after a run that nobody knows the end of: it only reads, or does the same again."""
    begun = models.BooleanField(default=False)
    """Whether a run has begun that may have done something."""
    runs = models.SmallIntegerField(default=0)
    intent_seq = models.BigIntegerField(null=True)
    """The record of the run that is under way, or is next; ``None``: the next run makes its own."""
    seconds = models.FloatField()
    """How long a run may take."""
    progress = models.FloatField(null=True)
    total = models.FloatField(null=True)
    message = models.CharField(max_length=500, blank=True)
    asks = models.JSONField(default=dict)
    """What the client is asked and has not answered, by key: ``method`` and ``params``."""
    sealed_answers = models.BinaryField(null=True)
    sealed_result = models.BinaryField(null=True)
    """What the last run came to, from before it is in the log. It counts once the status says so."""
    sealed_said = models.BinaryField(null=True)
    """What its tool reported and logged, the newest of it: see ``servers.services.tasks.saying``."""
    priority = models.SmallIntegerField(default=0, db_default=0)
    """How urgent it is among its team's: -1, 0 or 1."""
    scheduled_run = models.UUIDField(null=True)
    """The run of a schedule that it is."""
    cancel_reason = models.CharField(max_length=300, blank=True, default="", db_default="")
    """Why it is being cancelled, and by whom, for whoever ends it."""
    ttl_ms = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "principal", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="servers_task_idempotency_unique",
            ),
            # Its schedule may be changed between two tries to begin it, and with it whose the task is.
            models.UniqueConstraint(
                fields=["tenant", "scheduled_run"],
                condition=models.Q(scheduled_run__isnull=False),
                name="servers_task_scheduled_run_unique",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["working", "input_required", "completed", "failed", "cancelled"]
                ),
                name="servers_task_status_valid",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="servers_task_newest"),
            models.Index(
                fields=["tenant"],
                condition=models.Q(status__in=["working", "input_required"]),
                name="servers_task_open",
            ),
            models.Index(fields=["expires_at"], name="servers_task_expires"),
        ]

    def __str__(self) -> str:
        return f"task {self.id} ({self.status})"

    @property
    def seal_context(self) -> str:
        """Where the sealed columns belong: they open nowhere else."""
        return f"task:{self.tenant_id}:{self.id}"

    @property
    def ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ENDED


ENDED = (Task.Status.COMPLETED, Task.Status.FAILED, Task.Status.CANCELLED)


class Turn(models.Model):
    """A task that waits for a worker, or has one. It holds nothing of what the task is about.

    So that one look serves all teams, it is no team's own row: who claims learns whose task is next, and opens it in
    that team's scope.
    """

    task_id = models.UUIDField(primary_key=True)
    of_tenant = models.BigIntegerField()
    priority = models.SmallIntegerField(default=0)
    since = models.DateTimeField(default=timezone.now)
    claim = models.UUIDField(null=True)
    """The fencing token of the worker that has it; each claim has a new one. ``None``: it waits."""
    worker = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True)
    cancelled = models.BooleanField(default=False)

    class Meta:
        indexes = [
            models.Index(
                fields=["of_tenant", "-priority", "since"],
                condition=models.Q(claim__isnull=True),
                name="servers_turn_waiting",
            ),
            models.Index(
                fields=["of_tenant"], condition=models.Q(claim__isnull=False), name="servers_turn_taken"
            ),
        ]

    def __str__(self) -> str:
        return f"turn of {self.task_id}"
