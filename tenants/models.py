"""Who: users and their sign-ins, tenants, memberships, invitations, credentials, the log. Fields and constraints."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Collate, Lower
from django.utils import timezone

from tenants.roles import Role
from tenants.scoping import TenantManager, TenantOwned

SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$"
"""A slug stands in URLs: lower-case letters, digits and inner hyphens, at most 40."""


DEFAULT_PREVIEW = 500
MAX_PREVIEW = 2_000
"""Characters of a result's beginning that a new team's log keeps, and the most that it may."""


class UserManager(BaseUserManager["User"]):
    """Creates users by e-mail address, kept in lower case so that one address is one account."""

    def create_user(self, email: str, password: str | None = None, **values: Any) -> User:
        user = self.model(email=email.strip().lower(), **values)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **values: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **values)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Belongs to tenants through memberships; signs in by e-mail."""

    email = models.EmailField(max_length=254)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="tenants_user_email_unique")]

    def __str__(self) -> str:
        return self.email


class Tenant(models.Model):
    """A team. ``surface_version`` grows with each change of what its servers offer.

    Where ``require_second_factor`` holds, a session opens nothing of it while its person has no second factor.
    ``preview_characters``: so much of a result's beginning the log keeps; 0 of teams that were there before it did.
    ``sso_required``: its members, owners aside, act in it only when one of its identity providers vouched for them.
    """

    slug = models.CharField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    surface_version = models.BigIntegerField(default=1)
    require_second_factor = models.BooleanField(default=False, db_default=False)
    sso_required = models.BooleanField(default=False, db_default=False)
    preview_characters = models.IntegerField(default=DEFAULT_PREVIEW, db_default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(slug__regex=SLUG_PATTERN), name="tenants_tenant_slug_valid"
            ),
            models.CheckConstraint(
                condition=models.Q(preview_characters__range=(0, MAX_PREVIEW)),
                name="tenants_tenant_preview_valid",
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class Membership(TenantOwned):
    """A user's role in a tenant, for good or until ``ends_at``, from which on it opens nothing.

    ``visited_at`` is when its person last came with a new session; never, for whom somebody added and who has not come.
    ``payloads``: an auditor sees what calls were given and gave, too. ``end_noted_at`` is when the log got its end.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=16, choices=[(role.value, role.value.title()) for role in Role])
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ends_at = models.DateTimeField(null=True)
    visited_at = models.DateTimeField(null=True)
    payloads = models.BooleanField(default=False, db_default=False)
    end_noted_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="tenants_membership_unique"),
            models.CheckConstraint(
                condition=models.Q(role__in=[role.value for role in Role]),
                name="tenants_membership_role_valid",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.tenant_id}"

    def is_live(self, now: datetime) -> bool:
        """Whether the membership opens anything at ``now``."""
        return self.ends_at is None or now < self.ends_at


def lasting() -> models.Q:
    """True for memberships that open something now."""
    return models.Q(ends_at__isnull=True) | models.Q(ends_at__gt=timezone.now())


class Invitation(TenantOwned):
    """An offer of a role to whoever reads the mail of one address. Of the link's token only the SHA-256 is kept.

    ``sent_at`` is when the newest mail left; ``access_ends_at`` becomes the membership's end. Somebody stands behind
    it: ``invited_by``, or the team itself (``vouched_by_team``) where a key of its own sent it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=16, choices=[(role.value, role.value.title()) for role in Role])
    access_ends_at = models.DateTimeField(null=True)
    digest = models.BinaryField(unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    vouched_by_team = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-created_at", "id"]
        indexes = [models.Index(fields=["email"], name="tenants_invitation_email")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "email"],
                condition=models.Q(accepted_at__isnull=True, withdrawn_at__isnull=True),
                name="tenants_invitation_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(email=Lower("email")), name="tenants_invitation_email_lower"
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=[role.value for role in Role]),
                name="tenants_invitation_role_valid",
            ),
            models.CheckConstraint(
                condition=models.Q(accepted_at__isnull=True) | models.Q(withdrawn_at__isnull=True),
                name="tenants_invitation_ends_once",
            ),
        ]

    def __str__(self) -> str:
        return f"invitation {self.id}"

    def state(self, now: datetime) -> str:
        """``open``, ``accepted``, ``withdrawn`` or ``expired``."""
        if self.accepted_at is not None:
            return "accepted"
        if self.withdrawn_at is not None:
            return "withdrawn"
        return "open" if now < self.expires_at else "expired"


class SignIn(models.Model):
    """One browser that a person signed in with. The session names the row; an ended row ends the session.

    Of people, not of tenants: no scope applies, so every query names its user. ``proofs`` are what teams' identity
    providers said of them there (``tenants.arrivals.Proof``); ``by_password`` is false where nothing else was shown.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    address = models.CharField(max_length=64)
    browser = models.CharField(max_length=300, blank=True)
    by_password = models.BooleanField(default=True, db_default=True)
    proofs = models.JSONField(default=list, null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    seen_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-seen_at", "id"]

    def __str__(self) -> str:
        return f"sign-in {self.id} of {self.user_id}"


class ApiKey(TenantOwned):
    """A credential. The key itself is shown once; only its SHA-256 is kept.

    A plain hash is right here: a key holds 256 random bits, so there is nothing to guess.

    ``created_by`` is the person whose rights bound it, also where a key of theirs (``made_with``) made it. A key with
    nobody there may do nothing, unless it is ``team_owned``. ``networks`` are canonical; none: it may come from
    anywhere. ``predecessor`` is the key that it was rolled from, ``replaced_at`` when it was rolled itself.
    """

    class Mode(models.TextChoices):
        LIVE = "live"
        TEST = "test"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12)
    last_four = models.CharField(max_length=4)
    digest = models.BinaryField(unique=True)
    scopes = ArrayField(models.CharField(max_length=140))
    mode = models.CharField(max_length=4, choices=Mode.choices, db_default=Mode.LIVE, default=Mode.LIVE)
    networks = ArrayField(models.CharField(max_length=43), default=list, db_default=[])
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    team_owned = models.BooleanField(default=False, db_default=False)
    made_with = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="+")
    predecessor = models.OneToOneField("self", on_delete=models.SET_NULL, null=True, related_name="successor")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    replaced_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    last_used_from = models.CharField(max_length=45, default="", db_default="")

    class Meta(TenantOwned.Meta):
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "prefix"], name="tenants_apikey_prefix_unique"),
            models.CheckConstraint(
                condition=models.Q(mode__in=["live", "test"]), name="tenants_apikey_mode_valid"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def public_part(self) -> str:
        """How the key begins, as logs and lists show it."""
        return f"mcp_{self.mode}_{self.prefix}"

    def is_live(self, now: datetime) -> bool:
        """Whether the key opens anything at ``now``."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class AuditHead(models.Model):
    """The end of a tenant's chain: the sequence number and hash of its newest record.

    Its row is the lock that makes writers of one tenant take turns.
    """

    tenant = models.OneToOneField(Tenant, on_delete=models.PROTECT, primary_key=True, related_name="+")
    seq = models.BigIntegerField(default=0)
    hash = models.BinaryField()

    objects = TenantManager()
    directory = models.Manager()

    class Meta:
        base_manager_name = "directory"

    def __str__(self) -> str:
        return f"head of {self.tenant_id} at {self.seq}"


PERSON = "user:"
"""How the ``actor`` of a record begins that a person made."""

ACTOR_BY_BYTES = Collate("actor", "C")
"""The actor in an order in which all that begins alike stands together. Indexed, so a search must say it so; and as a
column, since row-level security lets no function of our choice near an index."""


class AuditRecord(TenantOwned):
    """One thing that happened. ``body`` is what was hashed, byte for byte; the columns are for searching.

    ``intent_seq`` is the number of the intent whose outcome the record is.
    """

    pk = models.CompositePrimaryKey("tenant_id", "seq")
    # No index and no constraint of its own: the primary key leads with it, and the head row is constrained.
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    kind = models.CharField(max_length=40)
    outcome = models.CharField(max_length=16)
    actor = models.CharField(max_length=200)
    credential_id = models.UUIDField(null=True)
    server = models.CharField(max_length=40)
    tool = models.CharField(max_length=140)
    request_id = models.CharField(max_length=64)
    duration_us = models.BigIntegerField(default=0)
    intent_seq = models.BigIntegerField(null=True)
    body = models.BinaryField()
    hash = models.BinaryField()

    class Meta(TenantOwned.Meta):
        ordering = ["-seq"]
        indexes = [
            models.Index(fields=["tenant", "at"], name="tenants_audit_at"),
            models.Index(fields=["tenant", "tool", "seq"], name="tenants_audit_tool"),
            models.Index(fields=["tenant", "credential_id", "seq"], name="tenants_audit_credential"),
            models.Index(
                fields=["tenant", "intent_seq"],
                name="tenants_audit_intent",
                condition=models.Q(intent_seq__isnull=False),
            ),
            # Only of what went otherwise than well, of what people did, and of what was no call: calls of keys that
            # worked, which are most, are in none of them.
            models.Index(
                fields=["tenant", "outcome", "seq"],
                name="tenants_audit_not_ok",
                condition=~models.Q(outcome="ok"),
            ),
            models.Index(
                "tenant",
                ACTOR_BY_BYTES,
                "seq",
                name="tenants_audit_person",
                condition=models.Q(actor__startswith=PERSON),
            ),
            models.Index(
                fields=["tenant", "kind", "seq"],
                name="tenants_audit_kind",
                condition=~models.Q(kind="tools/call"),
            ),
        ]

    def __str__(self) -> str:
        return f"record {self.seq} of {self.tenant_id}"


from tenants.models_checkpoints import (  # noqa: E402 - as below
    AuditCheckpoint,
    AuditVerification,
    CheckpointCursor,
    CheckpointState,
    LogKey,
)
from tenants.models_exports import AuditExport  # noqa: E402 - likewise
from tenants.models_issuers import TrustedIssuer  # noqa: E402 - likewise
from tenants.models_oauth import (  # noqa: E402 - their own module, of this app; they point at the models above
    OAuthAccessToken,
    OAuthAuthorization,
    OAuthClient,
    OAuthCode,
    OAuthRefreshToken,
)
from tenants.models_originals import OriginalsKey  # noqa: E402 - as above
from tenants.models_retention import AuditTombstone, LegalHold, LogRetention  # noqa: E402 - as above
from tenants.models_schedules import ExportSchedule  # noqa: E402 - as above
from tenants.models_sso import IdentityProvider, ProviderIdentity  # noqa: E402 - as above
from tenants.models_streams import LogStream, StreamDelivery  # noqa: E402 - as above

__all__ = [
    "ACTOR_BY_BYTES",
    "DEFAULT_PREVIEW",
    "MAX_PREVIEW",
    "PERSON",
    "SLUG_PATTERN",
    "ApiKey",
    "AuditCheckpoint",
    "AuditExport",
    "AuditHead",
    "AuditRecord",
    "AuditTombstone",
    "AuditVerification",
    "CheckpointCursor",
    "CheckpointState",
    "ExportSchedule",
    "IdentityProvider",
    "Invitation",
    "LegalHold",
    "LogKey",
    "LogRetention",
    "LogStream",
    "Membership",
    "OAuthAccessToken",
    "OAuthAuthorization",
    "OAuthClient",
    "OAuthCode",
    "OAuthRefreshToken",
    "OriginalsKey",
    "ProviderIdentity",
    "SignIn",
    "StreamDelivery",
    "Tenant",
    "TrustedIssuer",
    "User",
    "UserManager",
    "lasting",
]
