"""Outside issuers: whose tokens a tenant trusts, and what they are worth. Fields, constraints, pure properties."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned


class TrustedIssuer(TenantOwned):
    """An issuer of access tokens that a tenant trusts for its servers.

    Tokens are checked by the issuer's published keys (``jwks``) or by asking it (``introspection``, RFC 7662), where
    ``sealed`` is Marina's secret. An empty ``audience`` stands for the MCP URL of whatever server is called.
    ``mapping`` is the table of what the values of ``scopes_claim`` are worth: a list of
    ``{"value", "scopes", "role"}``; what is not in it is worth nothing.
    """

    class Method(models.TextChoices):
        JWKS = "jwks"
        INTROSPECTION = "introspection"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=40)
    issuer = models.CharField(max_length=255)
    method = models.CharField(max_length=16, choices=Method.choices, default=Method.JWKS)
    jwks_uri = models.CharField(max_length=500, blank=True, default="")
    introspection_endpoint = models.CharField(max_length=500, blank=True, default="")
    client_id = models.CharField(max_length=255, blank=True, default="")
    sealed = models.BinaryField(default=b"")
    audience = models.CharField(max_length=500, blank=True, default="")
    subject_claim = models.CharField(max_length=120, default="sub")
    email_claim = models.CharField(max_length=120, blank=True, default="email")
    scopes_claim = models.CharField(max_length=120, default="scope")
    mapping = models.JSONField(default=list)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="tenants_trustedissuer_name_unique"),
            models.UniqueConstraint(fields=["tenant", "issuer"], name="tenants_trustedissuer_issuer_unique"),
            # A token that names no issuer is shown to one far side at most.
            models.UniqueConstraint(
                fields=["tenant"],
                condition=models.Q(method="introspection", enabled=True),
                name="tenants_trustedissuer_one_asked",
            ),
            models.CheckConstraint(
                condition=models.Q(method__in=["jwks", "introspection"]),
                name="tenants_trustedissuer_method_valid",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def seal_context(self) -> str:
        """What the sealed secret is bound to."""
        return f"trusted-issuer:{self.tenant_id}:{self.id}"

    @property
    def has_secret(self) -> bool:
        """Whether Marina has a secret at the issuer."""
        return bool(self.sealed)
