"""Single sign-on: a team's identity providers, and whom they know their people as. Fields and constraints."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from tenants.roles import Role
from tenants.scoping import TenantOwned

if TYPE_CHECKING:
    from tenants.models import User

GIVEN_ROLES = [role for role in Role if role is not Role.OWNER]
"""What a provider may make of somebody. Owners are made by owners."""


class IdentityProvider(TenantOwned):
    """An OpenID Connect provider that one team lets vouch for its members.

    ``sealed`` is the client's secret, bound to this row; none for a public client. ``group_roles`` are pairs of a
    value of the claim ``groups_claim`` and a role: the first that fits decides. The issuer is compared letter by
    letter. ``believes_addresses``: an address counts although the provider does not say whether it is verified.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    issuer = models.CharField(max_length=500)
    client_id = models.CharField(max_length=255)
    sealed = models.BinaryField(null=True)
    domains = ArrayField(models.CharField(max_length=253))
    default_role = models.CharField(max_length=16, default=Role.VIEWER.value)
    makes_members = models.BooleanField(default=True)
    believes_addresses = models.BooleanField(default=False)
    groups_claim = models.CharField(max_length=120, blank=True, default="")
    group_roles = models.JSONField(default=list)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="tenants_identityprovider_name_unique"),
            models.CheckConstraint(
                condition=models.Q(default_role__in=[role.value for role in GIVEN_ROLES]),
                name="tenants_identityprovider_role_given",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.issuer})"

    @property
    def has_secret(self) -> bool:
        """Whether the client has a secret: without one it is a public client."""
        return self.sealed is not None

    @property
    def seal_context(self) -> str:
        """What the secret is bound to: moved to another row, it does not open."""
        return f"identity-provider:{self.tenant_id}:{self.pk}"


class ProviderIdentity(TenantOwned):
    """That one provider's ``subject`` is this person, in this team. An e-mail address alone never says so.

    Composite keys hold it to its provider's tenant.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.ForeignKey(IdentityProvider, on_delete=models.CASCADE, related_name="identities")
    user: models.ForeignKey[User, User] = models.ForeignKey(
        "tenants.User", on_delete=models.CASCADE, related_name="+"
    )
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "subject"], name="tenants_provideridentity_subject_unique"
            ),
            models.UniqueConstraint(fields=["provider", "user"], name="tenants_provideridentity_user_unique"),
        ]

    def __str__(self) -> str:
        return f"identity {self.id} of {self.user_id}"
