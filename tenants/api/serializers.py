"""The shapes of teams, members, keys and the log in REST: input is checked for form here, rules are in services."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from tenants.api.base import StrictSerializer, list_of
from tenants.audit.query import OUTCOME_FILTERS
from tenants.audit.records import OUTCOMES
from tenants.keyrights import bound_of, reduced_scopes, successor_of
from tenants.models import MAX_PREVIEW, ApiKey, AuditExport, Membership, Tenant
from tenants.oauth_addresses import base_url, resource
from tenants.roles import Role
from tenants.services.exports import DEFAULT_LINK_MINUTES, FORMATS, MAX_LINK_MINUTES, Link, describe_export
from tenants.services.keys import DEFAULT_DAYS, MAX_DAYS, MAX_OVERLAP_HOURS, OVERLAP_HOURS
from tenants.services.log import DEFAULT_LIMIT, MAX_LIMIT
from tenants.services.networks import MAX_NETWORKS

ROLES: Final = [role.value for role in Role]
KEY_STATUSES: Final = ["live", "expired", "revoked"]


def public_url(path: str) -> str:
    """An absolute URL under the configured base, whatever Host the request named."""
    return f"{base_url()}{path}"


class TenantSerializer(serializers.Serializer[Any]):
    """A team."""

    slug = serializers.CharField()
    name = serializers.CharField()
    mcp_url = serializers.SerializerMethodField(help_text="Where MCP clients connect to its default server.")
    require_second_factor = serializers.BooleanField(
        help_text="Whether sessions of members without a second factor open nothing of the team."
    )
    preview_characters = serializers.IntegerField(
        help_text="So many characters of a result's beginning the log keeps; 0: none."
    )
    created_at = serializers.DateTimeField()

    def get_mcp_url(self, tenant: Tenant) -> str:
        return resource(tenant.slug)


class TenantInput(StrictSerializer):
    """What can be changed of a team: what is left out stays."""

    name = serializers.CharField(required=False, max_length=120)
    require_second_factor = serializers.BooleanField(required=False)
    preview_characters = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_PREVIEW,
        help_text="So many characters of a result's beginning the log keeps; 0: none.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Something has to change."""
        if not attrs:
            raise serializers.ValidationError(
                {"name": ["Give name, require_second_factor or preview_characters."]}
            )
        return attrs


class MemberSerializer(serializers.Serializer[Any]):
    """A person's role in a team. Their name is not shown: other teams may have given it."""

    id = serializers.IntegerField()
    email = serializers.EmailField(source="user.email")
    role = serializers.ChoiceField(choices=ROLES)
    access_ends_at = serializers.DateTimeField(
        source="ends_at",
        allow_null=True,
        help_text="From then on the membership opens nothing; null: no end.",
    )
    payloads = serializers.BooleanField(
        help_text="Of an auditor: whether they see in the log what calls were given and gave."
    )
    created_at = serializers.DateTimeField()


class ListedMemberSerializer(MemberSerializer):
    """A member as the list shows them. The context has ``lacking``: the ids of people without a second factor."""

    second_factor = serializers.SerializerMethodField(
        help_text="Whether they sign in with two factors; null where you may neither change members nor read the log."
    )

    def get_second_factor(self, member: Membership) -> bool | None:
        lacking = self.context["lacking"]
        return None if lacking is None else member.user_id not in lacking


class MemberInput(StrictSerializer):
    """A person to make a member."""

    email = serializers.CharField(max_length=254)
    role = serializers.CharField(max_length=16, help_text=", ".join(ROLES))
    access_ends_at = serializers.DateTimeField(required=False, allow_null=True, help_text="RFC 3339.")


class MemberChange(StrictSerializer):
    """What can be changed of a membership: what is left out stays."""

    role = serializers.CharField(required=False, max_length=16, help_text=", ".join(ROLES))
    access_ends_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="RFC 3339; null: no end."
    )
    payloads = serializers.BooleanField(
        required=False, help_text="Of an auditor: whether they see in the log what calls were given and gave."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError({"role": ["Give role, access_ends_at or payloads."]})
        return attrs


class OwnershipInput(StrictSerializer):
    """To whom a team is handed over."""

    member = serializers.IntegerField(min_value=1, help_text="The id of the new owner's membership.")


class ScopeStandingSerializer(serializers.Serializer[Any]):
    """A scope that the key's maker could not give any more."""

    scope = serializers.CharField()
    lost = serializers.ListField(child=serializers.CharField(), help_text="Actions that it allows no longer.")
    void = serializers.BooleanField(help_text="Whether nothing of it is left.")


class KeySerializer(serializers.Serializer[Any]):
    """An API key, without its text."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.SerializerMethodField(help_text="How the key begins.")
    last_four = serializers.CharField()
    mode = serializers.ChoiceField(choices=ApiKey.Mode.values)
    scopes = serializers.ListField(child=serializers.CharField())
    reduced_scopes = serializers.SerializerMethodField(
        help_text="Scopes that allow less than they say, or nothing, because the key's maker may do less by now."
    )
    reduced_because = serializers.SerializerMethodField(help_text="Why; empty where no scope is reduced.")
    networks = serializers.ListField(
        child=serializers.CharField(), help_text="Where it may be used from. Empty: anywhere."
    )
    status = serializers.SerializerMethodField()
    created_by = serializers.SerializerMethodField(
        help_text="Whose rights bound it, also where a key of theirs made it."
    )
    team_owned = serializers.BooleanField(help_text="Made by the operator: no person's rights bound it.")
    made_with = serializers.UUIDField(
        source="made_with_id", allow_null=True, help_text="The key that made it."
    )
    predecessor = serializers.UUIDField(
        source="predecessor_id", allow_null=True, help_text="The key that it was rolled from."
    )
    successor = serializers.SerializerMethodField(help_text="The key that it was rolled to.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    replaced_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    last_used_from = serializers.CharField(allow_blank=True, help_text="An address.")

    def get_prefix(self, key: ApiKey) -> str:
        return key.public_part

    @extend_schema_field(serializers.ChoiceField(choices=KEY_STATUSES))
    def get_status(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        return "live" if key.is_live(timezone.now()) else "expired"

    @extend_schema_field(serializers.EmailField(allow_null=True))
    def get_created_by(self, key: ApiKey) -> str | None:
        return None if key.created_by is None else key.created_by.email

    @extend_schema_field(ScopeStandingSerializer(many=True))
    def get_reduced_scopes(self, key: ApiKey) -> Any:
        return ScopeStandingSerializer(reduced_scopes(key), many=True).data

    def get_reduced_because(self, key: ApiKey) -> str:
        return f"{bound_of(key).reason}." if reduced_scopes(key) else ""

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_successor(self, key: ApiKey) -> str | None:
        successor = successor_of(key)
        return None if successor is None else str(successor.pk)


class IssuedKeySerializer(KeySerializer):
    """A new API key: the only answer that ever holds its text."""

    key = serializers.SerializerMethodField(help_text="Store it now: it is not shown again.")

    def get_key(self, _key: ApiKey) -> str:
        text: str = self.context["key"]
        return text


class KeyInput(StrictSerializer):
    """A key to issue."""

    name = serializers.CharField(max_length=80)
    scopes = serializers.ListField(child=serializers.CharField(max_length=140), allow_empty=True)
    expires_in_days = serializers.IntegerField(default=DEFAULT_DAYS, help_text=f"1 to {MAX_DAYS}.")
    mode = serializers.CharField(
        default=ApiKey.Mode.LIVE, help_text="live, or test: it may do the same and shows what it is."
    )
    networks = serializers.ListField(
        child=serializers.CharField(),
        default=list,
        help_text=f"Addresses and networks (IPv4, IPv6, CIDR) that it may be used from, at most {MAX_NETWORKS}. "
        "Empty: anywhere.",
    )


class KeyChangeInput(StrictSerializer):
    """What can be changed of a key."""

    networks = serializers.ListField(
        child=serializers.CharField(), help_text="As when it is issued. Empty: anywhere."
    )


class RollInput(StrictSerializer):
    """How to roll a key."""

    overlap_hours = serializers.IntegerField(
        default=OVERLAP_HOURS,
        help_text=f"How long the old key goes on, 0 to {MAX_OVERLAP_HOURS}. 0: it ends at once.",
    )


class QueryDateTimeField(serializers.DateTimeField):
    """A time in a query string, where an unescaped ``+00:00`` arrives as a space."""

    def to_internal_value(self, value: Any) -> datetime:
        return super().to_internal_value(value.replace(" ", "+") if isinstance(value, str) else value)


class ReasonSerializer(serializers.Serializer[Any]):
    """Why something was refused or failed."""

    code = serializers.CharField()
    rule = serializers.CharField()
    message = serializers.CharField()


class RecordSerializer(serializers.Serializer[Any]):
    """One record of the log."""

    seq = serializers.IntegerField(help_text="Its number in the team's log.")
    at = serializers.DateTimeField()
    kind = serializers.CharField()
    outcome = serializers.ChoiceField(choices=OUTCOMES)
    actor = serializers.CharField()
    credential_id = serializers.UUIDField(allow_null=True)
    client = serializers.CharField()
    server = serializers.CharField()
    tool = serializers.CharField()
    tool_version = serializers.IntegerField(allow_null=True)
    arguments = serializers.DictField(
        allow_null=True, help_text="Secrets are masked. Null also where `payload_hidden`."
    )
    hmac = serializers.CharField(
        help_text="HMAC-SHA-256 of the arguments before they were masked, under a key of the team's own, in "
        "hexadecimal; or empty. Empty also where `payload_hidden`."
    )
    preview = serializers.CharField(
        help_text="The beginning of the result, secrets masked; or empty. Empty also where `payload_hidden`."
    )
    payload_hidden = serializers.BooleanField(
        help_text="Whether arguments, hmac and preview are left out, because you may not see what calls were given and "
        "gave."
    )
    reason = ReasonSerializer(allow_null=True)
    rows = serializers.IntegerField(allow_null=True)
    size = serializers.IntegerField(allow_null=True, help_text="Bytes.")
    truncated = serializers.BooleanField()
    duration_us = serializers.IntegerField(help_text="Microseconds.")
    request_id = serializers.CharField()
    trace_id = serializers.CharField(
        help_text="The client's distributed trace (W3C Trace Context), or empty: 32 hexadecimal digits."
    )
    hash = serializers.CharField(help_text="Its link in the chain, in hexadecimal.")
    intent_seq = serializers.IntegerField(
        allow_null=True,
        help_text="Of an outcome: the number of the intent that was recorded before the call ran.",
    )
    outcome_seq = serializers.IntegerField(
        allow_null=True, help_text="Of an intent: the number of the record that says how the call ended."
    )
    parent_seq = serializers.IntegerField(
        allow_null=True, help_text="Of a call that another call made: the number of that one's intent."
    )
    served_from = serializers.CharField(
        help_text="Of a call that did not run itself: cache, same_run (another call's, made at the same time), or task "
        "(the one of the same idempotency key)."
    )
    task = serializers.CharField(help_text="The id of the task that the call goes on as, or empty.")
    schedule = serializers.CharField(help_text="The id of the schedule that made the call, or empty.")
    outcome_unknown = serializers.BooleanField(
        help_text="An intent whose outcome is not there: the call runs still, or its process ended before it."
    )


class RecordQuery(StrictSerializer):
    """Which records of the log."""

    tool = serializers.CharField(required=False, allow_blank=True, max_length=140)
    outcome = serializers.ChoiceField(
        required=False,
        allow_blank=True,
        choices=OUTCOME_FILTERS,
        error_messages={"invalid_choice": f"It must be one of: {', '.join(OUTCOME_FILTERS)}."},
        help_text="`unknown`: intents whose outcome is not in the log.",
    )
    kind = serializers.CharField(required=False, allow_blank=True, max_length=40)
    member = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=200,
        help_text="A person's address: what they did, and what apps did for them.",
    )
    credential_id = serializers.UUIDField(required=False)
    text = serializers.CharField(
        required=False, allow_blank=True, max_length=200, help_text="Anywhere in it."
    )
    before = serializers.IntegerField(
        required=False, min_value=1, help_text="From the previous page's `next`."
    )
    limit = serializers.IntegerField(default=DEFAULT_LIMIT, min_value=1, max_value=MAX_LIMIT)

    def get_fields(self) -> dict[str, Any]:
        # "from" is a word of Python, so these two cannot be attributes.
        return {
            **super().get_fields(),
            "from": QueryDateTimeField(required=False, help_text="Inclusive, RFC 3339."),
            "to": QueryDateTimeField(required=False, help_text="Exclusive, RFC 3339."),
        }


class ExportInput(StrictSerializer):
    """A download of the log to make."""

    format = serializers.CharField(default="jsonl", max_length=16, help_text=f"One of {', '.join(FORMATS)}.")
    filters = serializers.DictField(
        child=serializers.CharField(max_length=200),
        required=False,
        help_text="tool, outcome, kind, member, credential_id, text: as for searching.",
    )
    payloads = serializers.BooleanField(
        required=False,
        help_text="Whether it holds what calls were given and gave; left out, as you may see it.",
    )

    def get_fields(self) -> dict[str, Any]:
        return {
            **super().get_fields(),
            "from": serializers.DateTimeField(
                required=False, allow_null=True, default=None, help_text="Inclusive, RFC 3339."
            ),
            "to": serializers.DateTimeField(
                required=False, allow_null=True, default=None, help_text="Exclusive, RFC 3339."
            ),
        }


class ExportProgressSerializer(serializers.Serializer[Any]):
    """How far an export is."""

    looked_at = serializers.IntegerField(help_text="Records looked at so far.")
    in_all = serializers.IntegerField(
        allow_null=True, help_text="Records to look at; null before it is begun."
    )


class ExportSerializer(serializers.Serializer[Any]):
    """A download of the log. ``download_url`` and ``manifest_url`` are there once it is done, until ``expires_at``."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=AuditExport.Status.values)
    format = serializers.CharField()
    filters = serializers.DictField(child=serializers.CharField())
    payloads = serializers.BooleanField(help_text="Whether it holds what calls were given and gave.")
    requested_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="When the file is deleted.")
    progress = ExportProgressSerializer(source="*")
    records = serializers.IntegerField(allow_null=True, help_text="In the file; so far, while it is written.")
    size = serializers.IntegerField(allow_null=True, help_text="Bytes; so far, while it is written.")
    sha256 = serializers.CharField(help_text="Of the file, as 64 hexadecimal digits.")
    message = serializers.SerializerMethodField(help_text="Where it stands, in a sentence.")
    schedule = serializers.UUIDField(source="schedule_id", allow_null=True, help_text="Which one made it.")
    delivery = serializers.CharField(
        help_text="Of what a schedule made: waiting, delivered or failed; empty of all others."
    )
    delivery_error = serializers.CharField(help_text="Why the newest try to put it into its bucket failed.")
    delivery_key = serializers.CharField(help_text="Its name in the bucket.")
    download_url = serializers.SerializerMethodField()
    manifest_url = serializers.SerializerMethodField()

    def get_fields(self) -> dict[str, Any]:
        return {
            **super().get_fields(),
            "from": serializers.DateTimeField(source="from_at", allow_null=True),
            "to": serializers.DateTimeField(source="to_at", allow_null=True),
        }

    def get_message(self, export: AuditExport) -> str:
        return describe_export(export)

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_download_url(self, export: AuditExport) -> str | None:
        return self._below(export, "download")

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_manifest_url(self, export: AuditExport) -> str | None:
        return self._below(export, "manifest")

    def _below(self, export: AuditExport, what: str) -> str | None:
        if export.status != AuditExport.Status.DONE:
            return None
        slug: str = self.context["tenant"]
        return public_url(f"/api/v1/tenants/{slug}/audit/exports/{export.id}/{what}")


class LinkInput(StrictSerializer):
    """A link to make."""

    expires_in_minutes = serializers.IntegerField(
        default=DEFAULT_LINK_MINUTES,
        min_value=1,
        max_value=MAX_LINK_MINUTES,
        help_text="From one minute to seven days.",
    )


class LinkSerializer(serializers.Serializer[Any]):
    """A link that downloads an export without a key or a session. Whoever has it may use it until it ends."""

    id = serializers.CharField(help_text="How the log names the link where it is used.")
    expires_at = serializers.DateTimeField()
    url = serializers.SerializerMethodField()
    manifest_url = serializers.SerializerMethodField()

    @extend_schema_field({"type": "string", "format": "uri"})
    def get_url(self, link: Link) -> str:
        return public_url(link_path(link))

    @extend_schema_field({"type": "string", "format": "uri"})
    def get_manifest_url(self, link: Link) -> str:
        return public_url(f"{link_path(link)}/manifest")


def link_path(link: Link) -> str:
    """Where a link leads, below the base."""
    return f"/api/v1/exports/{link.token}"


TenantList = list_of(TenantSerializer, "TenantList")
MemberList = list_of(ListedMemberSerializer, "MemberList")
KeyList = list_of(KeySerializer, "KeyList")


class ReachedSerializer(serializers.Serializer[Any]):
    """How far a search came before its time was over."""

    seq = serializers.IntegerField(help_text="All from this record on was looked at.")
    at = serializers.DateTimeField(allow_null=True, help_text="That record's time.")


class RecordList(list_of(RecordSerializer, "Records")):  # type: ignore[misc]
    """A page of records; `next` is where it goes on."""

    searched_back_to = ReachedSerializer(
        allow_null=True,
        help_text="Not null: the page's time was over there. `next` goes on, though nothing may be in this page.",
    )


ExportList = list_of(ExportSerializer, "ExportList")
