"""Signed statements about the log: the installation's keys, tenants' checkpoints, where they were published, and
verifications that somebody asked for. Fields and constraints.
"""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from tenants.scoping import TenantOwned


class LogKey(models.Model):
    """A key that signs checkpoints, of the installation. ``id`` counts them from 1; the newest signs.

    ``public`` has 32 bytes (Ed25519), ``sealed`` is the private key. ``statement`` is a signed note that says which
    key this is: signed by it and by the one before.
    """

    id = models.SmallIntegerField(primary_key=True)
    public = models.BinaryField(unique=True)
    sealed = models.BinaryField()
    statement = models.BinaryField()
    since = models.DateTimeField(default=timezone.now, editable=False)
    until = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.CheckConstraint(condition=models.Q(id__gte=1), name="tenants_logkey_counted")]

    def __str__(self) -> str:
        return f"log key {self.id}"

    @property
    def seal_context(self) -> str:
        """What the private key is bound to: beside another public key, it does not open."""
        return f"log-key:{self.pk}:{bytes(self.public).hex()}"


class AuditCheckpoint(TenantOwned):
    """A checkpoint of a tenant's log. ``note`` is what was signed, byte for byte; the columns are for searching.

    Append-only, like the records. ``at`` is what was signed; ``stored_at`` is the database's own time, whatever who
    writes says: by it retention goes.
    """

    pk = models.CompositePrimaryKey("tenant_id", "number")
    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    number = models.BigIntegerField()
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    note = models.BinaryField()
    stored_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-number"]
        indexes = [
            models.Index(fields=["tenant", "seq"], name="tenants_checkpoint_seq"),
            models.Index(fields=["tenant", "at"], name="tenants_checkpoint_at"),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(number__gte=1), name="tenants_checkpoint_counted")
        ]

    def __str__(self) -> str:
        return f"checkpoint {self.number} of {self.tenant_id}"


class CheckpointState(TenantOwned):
    """How far a tenant's checkpoints are: what looking for those that are due reads. The checkpoints are the truth.

    ``number`` and ``seq`` are those of the newest; ``still`` is the newest statement that nothing came since, or empty.
    ``said_at`` is the time of the newest of both. ``fault`` says why none can be made.
    """

    number = models.BigIntegerField(default=0)
    seq = models.BigIntegerField(default=0)
    still = models.BinaryField(default=b"")
    said_at = models.DateTimeField(null=True)
    looked_at = models.DateTimeField()
    fault = models.CharField(max_length=500, blank=True, default="")
    fault_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        constraints = [models.UniqueConstraint(fields=["tenant"], name="tenants_checkpointstate_unique")]

    def __str__(self) -> str:
        return f"checkpoints of {self.tenant_id} at {self.number}"


class CheckpointCursor(TenantOwned):
    """How far one tenant's checkpoints are published at one target. ``target`` is the digest of its address.

    ``number`` is that of the newest checkpoint there, ``tombstone`` of the newest tombstone, ``said_at`` the time of
    the newest statement. ``failures`` are those since the last success, the first at ``failing_since``.
    """

    target = models.CharField(max_length=32)
    label = models.CharField(max_length=200)
    number = models.BigIntegerField(default=0)
    tombstone = models.BigIntegerField(default=0, db_default=0)
    said_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)
    failures = models.IntegerField(default=0)
    failing_since = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True, default="")

    class Meta(TenantOwned.Meta):
        ordering = ["label", "target"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "target"], name="tenants_checkpointcursor_unique")
        ]

    def __str__(self) -> str:
        return f"{self.label} of {self.tenant_id} at {self.number}"


class AuditVerification(TenantOwned):
    """Somebody asked whether the log is whole; a worker finds out. The row is the truth; the queue is only a hint.

    ``fence`` grows with each claim, as in exports. ``looked`` counts records that were walked so far.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    requested_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.IntegerField(default=0)
    looked = models.BigIntegerField(default=0)
    whole = models.BooleanField(null=True)
    records = models.BigIntegerField(null=True)
    checkpoints = models.BigIntegerField(null=True)
    result = models.TextField(blank=True, default="")

    class Meta(TenantOwned.Meta):
        ordering = ["-created_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=["queued", "running", "done", "failed"]),
                name="tenants_auditverification_status_valid",
            ),
            models.UniqueConstraint(
                fields=["tenant"],
                condition=models.Q(status__in=["queued", "running"]),
                name="tenants_auditverification_one_open",
            ),
        ]

    def __str__(self) -> str:
        return f"verification {self.id} ({self.status})"
