"""Who signed in to what data sources stand on, and what Marina is to authorization servers. Fields, constraints."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from tenants.models import User
from tenants.scoping import TenantOwned

MAX_ADDRESS = 2_048


class UpstreamClient(TenantOwned):
    """Marina as a client that one authorization server knows, for one source. ``sealed`` is the client's secret.

    Never used for another issuer: where the source's sign-ins are elsewhere, Marina makes itself known there anew.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.ForeignKey(
        "servers.DataSource", on_delete=models.CASCADE, related_name="upstream_clients"
    )
    issuer = models.CharField(max_length=MAX_ADDRESS)
    how = models.CharField(max_length=16)
    client_id = models.CharField(max_length=MAX_ADDRESS)
    method = models.CharField(max_length=32)
    sealed = models.BinaryField(null=True)
    redirect_uri = models.CharField(max_length=MAX_ADDRESS)
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(how__in=["entered", "document", "registered"]),
                name="servers_upstreamclient_how_valid",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.how} client of {self.issuer}"

    @property
    def seal_context(self) -> str:
        """Where the sealed secret belongs: it opens nowhere else."""
        return f"upstream-client:{self.tenant_id}:{self.id}"


class UpstreamSignIn(TenantOwned):
    """That somebody signed in to a source: for the team, or, with ``member``, for themselves alone.

    ``sealed`` are the tokens: of ``issuer``, for ``resource``, sent to ``url`` and nowhere else. ``number`` grows with
    each other pair of them. ``asked`` are the scopes that were asked for, ``granted`` those that were given, and
    ``missing`` what the server wanted besides. Who renews them holds ``lease`` until ``leased_until``.
    """

    class State(models.TextChoices):
        READY = "ready"
        NEEDED = "needed"
        """Somebody has to sign in again: ``reason`` says why."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.ForeignKey("servers.DataSource", on_delete=models.CASCADE, related_name="sign_ins")
    member = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")
    client = models.ForeignKey(UpstreamClient, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=8, choices=State.choices)
    reason = models.CharField(max_length=500, blank=True)
    url = models.CharField(max_length=MAX_ADDRESS)
    issuer = models.CharField(max_length=MAX_ADDRESS)
    resource = models.CharField(max_length=MAX_ADDRESS)
    token_endpoint = models.CharField(max_length=MAX_ADDRESS)
    revocation_endpoint = models.CharField(max_length=MAX_ADDRESS, blank=True)
    sealed = models.BinaryField()
    number = models.IntegerField(default=1)
    asked = models.JSONField(default=list)
    granted = models.JSONField(default=list)
    missing = models.JSONField(default=list)
    signed_in_by = models.CharField(max_length=200)
    signed_in_at = models.DateTimeField()
    renewed_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    lease = models.UUIDField(null=True)
    leased_until = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        ordering = ["signed_in_at"]
        constraints = [
            models.UniqueConstraint(fields=["source", "member"], name="servers_upstreamsignin_member_once"),
            models.UniqueConstraint(
                fields=["source"],
                condition=models.Q(member__isnull=True),
                name="servers_upstreamsignin_team_once",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["ready", "needed"]), name="servers_upstreamsignin_state_valid"
            ),
        ]

    def __str__(self) -> str:
        return f"sign-in to {self.source_id} by {self.signed_in_by}"

    @property
    def seal_context(self) -> str:
        """Where the sealed tokens belong: they open nowhere else."""
        return f"upstream-sign-in:{self.tenant_id}:{self.id}:{self.url}"
