"""OAuth 2.1: clients, what members agreed to, codes and tokens. Fields, constraints, pure properties.

The tables stand in for django-oauth-toolkit's own (settings ``OAUTH2_PROVIDER_*_MODEL``) and differ in three things:
each row belongs to a tenant; codes and tokens are kept as SHA-256 only; and everything that came of one consent hangs
on one ``OAuthAuthorization``, which is the credential that the log names and the family that a replay ends.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from oauth2_provider.models import (
    AbstractAccessToken,
    AbstractApplication,
    AbstractGrant,
    AbstractRefreshToken,
)

from tenants.scoping import TenantOwned

MAX_CLIENT_ID = 255
"""Characters of a client's id; a Client ID Metadata Document's address is one."""


def digest_of(secret: str) -> str:
    """What is stored of a code, a token or a client's secret: SHA-256, in hex.

    A plain hash is right here: each holds 128 random bits or more, so there is nothing to guess.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class OAuthClient(TenantOwned, AbstractApplication):  # type: ignore[misc]
    """A program that asks for tokens of one tenant. The same program at another tenant is another row.

    ``client_secret`` holds the secret's hash, empty for public clients. ``scopes`` is the most that a client may ask
    for by itself (client credentials). ``expires_at`` ends a registration that nobody consented to; ``registered_from``
    is the address block that it came from.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    client_id = models.CharField(max_length=MAX_CLIENT_ID)
    client_secret = models.CharField(max_length=64, blank=True, default="")
    hash_client_secret = models.BooleanField(default=False)
    scopes = ArrayField(models.CharField(max_length=140), default=list)
    registered_from = models.CharField(max_length=50, default="", db_default="")
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-created", "id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "client_id"], name="tenants_oauthclient_id_unique"),
        ]

    def __str__(self) -> str:
        return self.shown_name

    @property
    def shown_name(self) -> str:
        """What people read: the name that the client gave itself, or its id."""
        return str(self.name or self.client_id)[:80]

    def is_live(self, now: datetime) -> bool:
        """Whether the client may ask for anything at ``now``."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def is_usable(self, request: object) -> bool:
        """django-oauth-toolkit's question, at every request of the client."""
        return self.is_live(timezone.now())


class OAuthAuthorization(TenantOwned):
    """That a member let a client act for them at one server, or that a client acts there for itself.

    Its id is the credential's in the log and the family of its refresh tokens; revoking it ends them all.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    client = models.ForeignKey(OAuthClient, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey("tenants.User", on_delete=models.CASCADE, null=True, related_name="+")
    server = models.CharField(max_length=40)
    resource = models.CharField(max_length=500)
    scopes = ArrayField(models.CharField(max_length=140))
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_for = models.CharField(max_length=40, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "client", "server"],
                condition=models.Q(user__isnull=True, revoked_at__isnull=True),
                name="tenants_oauthauthorization_own_unique",
            ),
        ]

    def __str__(self) -> str:
        return f"authorization {self.id}"

    def is_live(self, now: datetime) -> bool:
        """Whether its tokens open anything at ``now``."""
        return self.revoked_at is None and now < self.expires_at


class OAuthCode(TenantOwned, AbstractGrant):  # type: ignore[misc]
    """An authorization code. ``code`` is its hash; a used one stays until it expires, so that a replay is known."""

    code = models.CharField(max_length=64)
    authorization = models.ForeignKey(OAuthAuthorization, on_delete=models.CASCADE, related_name="+")
    used_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        constraints = [
            models.UniqueConstraint(fields=["tenant", "code"], name="tenants_oauthcode_unique"),
        ]

    def __str__(self) -> str:
        return f"code {self.pk}"


class OAuthAccessToken(TenantOwned, AbstractAccessToken):  # type: ignore[misc]
    """An access token, by its hash (``token_checksum``); ``token`` is always empty."""

    token_checksum = models.CharField(max_length=64)
    authorization = models.ForeignKey(OAuthAuthorization, on_delete=models.CASCADE, related_name="+")
    # One row, the authorization, ties tokens together; OpenID Connect is not offered.
    source_refresh_token = None
    id_token = None

    class Meta(TenantOwned.Meta):
        constraints = [
            models.UniqueConstraint(fields=["tenant", "token_checksum"], name="tenants_oauthaccess_unique"),
        ]

    def __str__(self) -> str:
        return f"access token {self.pk}"


class OAuthRefreshToken(TenantOwned, AbstractRefreshToken):  # type: ignore[misc]
    """A refresh token, by its hash. ``revoked`` is when it was used up; a use after that is a replay."""

    token_checksum = models.CharField(max_length=64)
    authorization = models.ForeignKey(OAuthAuthorization, on_delete=models.CASCADE, related_name="+")
    scope = models.TextField(blank=True)
    access_token = None

    class Meta(TenantOwned.Meta):
        constraints = [
            models.UniqueConstraint(fields=["tenant", "token_checksum"], name="tenants_oauthrefresh_unique"),
        ]

    def __str__(self) -> str:
        return f"refresh token {self.pk}"
