"""Secrets that a tenant names, and where each is used. Fields, constraints, pure properties."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned

SECRET_NAME = r"^[a-z0-9](?:-?[a-z0-9]){0,63}$"  # noqa: S105 - a pattern
"""What a secret may be called: a file, a variable and a path of Vault alike, and no two names are one there."""


class Secret(TenantOwned):
    """A text that nobody reads again, under a name. ``place`` says where it comes from, and may be shown.

    ``sealed`` is its value, or the copy that Marina keeps of what was read elsewhere; none where that cannot be read.
    ``version`` grows with each other value. ``read_at`` is when the value was given, or read the last time.
    """

    class Origin(models.TextChoices):
        STORED = "stored"
        ENVIRONMENT = "environment"
        FILE = "file"
        VAULT = "vault"

    class State(models.TextChoices):
        READY = "ready"
        STALE = "stale"
        UNAVAILABLE = "unavailable"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64)
    origin = models.CharField(max_length=16, choices=Origin.choices)
    place = models.JSONField(default=dict)
    sealed = models.BinaryField(null=True)
    version = models.IntegerField(default=1)
    state = models.CharField(max_length=16, choices=State.choices, default=State.READY)
    reason = models.CharField(max_length=500, blank=True)
    read_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(TenantOwned.Meta):
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="servers_secret_name_unique"),
            models.CheckConstraint(
                condition=models.Q(name__regex=SECRET_NAME), name="servers_secret_name_valid"
            ),
            models.CheckConstraint(
                condition=models.Q(origin__in=["stored", "environment", "file", "vault"]),
                name="servers_secret_origin_valid",
            ),
            models.CheckConstraint(
                condition=models.Q(sealed__isnull=False) | models.Q(state="unavailable"),
                name="servers_secret_state_true",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.origin})"

    @property
    def seal_context(self) -> str:
        """Where the sealed value belongs: it opens nowhere else."""
        return f"secret:{self.tenant_id}:{self.id}"

    @property
    def stored(self) -> bool:
        """Whether Marina has its value, and reads it nowhere."""
        return self.origin == self.Origin.STORED


class SecretUse(TenantOwned):
    """A data source whose setting of this name has a secret for its value. A used secret cannot be deleted."""

    source = models.ForeignKey("servers.DataSource", on_delete=models.CASCADE, related_name="secret_uses")
    setting = models.CharField(max_length=64)
    secret = models.ForeignKey(Secret, on_delete=models.RESTRICT, related_name="uses")

    class Meta(TenantOwned.Meta):
        ordering = ["source", "setting"]
        constraints = [
            models.UniqueConstraint(fields=["source", "setting"], name="servers_secretuse_setting_unique")
        ]

    def __str__(self) -> str:
        return f"{self.setting} of {self.source_id}"
