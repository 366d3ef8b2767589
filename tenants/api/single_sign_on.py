"""REST: a team's identity providers, whom they know, and whether it takes nothing else. Parses, calls, answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import InvalidInput
from tenants.api.base import StrictSerializer, TenantView, list_of, results, uuid_of
from tenants.api.problems import problems
from tenants.models import IdentityProvider
from tenants.models_sso import GIVEN_ROLES
from tenants.roles import Role
from tenants.services import sso_diagnosis, sso_providers
from tenants.services.sso_exchange import redirect_uri

GIVEN_ROLE_NAMES = [role.value for role in GIVEN_ROLES]


class GroupRole(StrictSerializer):
    """A group of the provider's, and the role that it gives."""

    group = serializers.CharField(max_length=200)
    role = serializers.ChoiceField(choices=GIVEN_ROLE_NAMES)


class IdentityProviderSerializer(serializers.Serializer[Any]):
    """An identity provider of a team. Its client secret is stored encrypted, and shown to nobody."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    issuer = serializers.CharField()
    client_id = serializers.CharField()
    has_secret = serializers.BooleanField()
    domains = serializers.ListField(
        child=serializers.CharField(), help_text="Of e-mail addresses that are let in."
    )
    makes_members = serializers.BooleanField(
        help_text="Whether people become members at their first sign-in."
    )
    believes_addresses = serializers.BooleanField(
        help_text="Whether an address counts that the provider does not say is verified, or not."
    )
    default_role = serializers.ChoiceField(choices=GIVEN_ROLE_NAMES)
    groups_claim = serializers.CharField()
    group_roles = serializers.SerializerMethodField(
        help_text="The first that fits decides, at every sign-in."
    )
    enabled = serializers.BooleanField()
    redirect_uri = serializers.SerializerMethodField(help_text="To be registered at the provider.")
    created_at = serializers.DateTimeField()

    def get_group_roles(self, row: IdentityProvider) -> list[dict[str, str]]:
        return [{"group": group, "role": role} for group, role in row.group_roles]

    def get_redirect_uri(self, row: IdentityProvider) -> str:
        return redirect_uri(self.context["tenant"])


class IdentityProviderInput(StrictSerializer):
    """An identity provider that is to vouch for a team's members."""

    name = serializers.CharField(max_length=80)
    issuer = serializers.CharField(
        max_length=255, help_text="Letter for letter as the provider names itself."
    )
    client_id = serializers.CharField(max_length=255)
    client_secret = serializers.CharField(
        max_length=sso_providers.MAX_SECRET,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        write_only=True,
        help_text="Left out, it stays as it is; empty: a public client. To be given again with another issuer.",
    )
    domains = serializers.ListField(child=serializers.CharField(max_length=254))
    makes_members = serializers.BooleanField(required=False)
    believes_addresses = serializers.BooleanField(required=False)
    default_role = serializers.ChoiceField(
        choices=GIVEN_ROLE_NAMES, required=False, help_text=f"`{Role.VIEWER}` by default."
    )
    groups_claim = serializers.CharField(max_length=120, required=False, allow_blank=True)
    group_roles = GroupRole(many=True, required=False)
    enabled = serializers.BooleanField(required=False)


class IdentitySerializer(serializers.Serializer[Any]):
    """Somebody whom a provider knows."""

    id = serializers.UUIDField()
    email = serializers.EmailField(source="user.email")
    subject = serializers.CharField()
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)


class ProviderFindingSerializer(serializers.Serializer[Any]):
    """One thing that was looked at of a provider."""

    question = serializers.CharField()
    good = serializers.BooleanField(allow_null=True, help_text="`null`: it works, yet not as it should.")
    words = serializers.CharField()


class SingleSignOnSerializer(serializers.Serializer[Any]):
    """Whether members, owners aside, act in the team by single sign-on alone."""

    required = serializers.BooleanField()  # type: ignore[assignment]


class SingleSignOnInput(StrictSerializer):
    """Whether members, owners aside, are to act in the team by single sign-on alone."""

    required = serializers.BooleanField()  # type: ignore[assignment]


IdentityProviderList = list_of(IdentityProviderSerializer, "IdentityProviderList")
IdentityList = list_of(IdentitySerializer, "IdentityList")
ProviderFindingList = list_of(ProviderFindingSerializer, "ProviderFindingList")
_TAGS = ["single sign-on"]


class SingleSignOnView(TenantView):
    """What a team requires."""

    @extend_schema(
        operation_id="get_single_sign_on", responses={200: SingleSignOnSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str) -> Response:
        """Read whether the team requires single sign-on."""
        return Response({"required": sso_providers.is_required(caller=self.caller)})

    @extend_schema(
        operation_id="update_single_sign_on",
        request=SingleSignOnInput,
        responses={200: SingleSignOnSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str) -> Response:
        """Require single sign-on, or require it no more. Owners, keys and connected apps go on."""
        given = self.read_input(SingleSignOnInput)
        required = sso_providers.require_single_sign_on(given["required"], caller=self.caller)
        return Response({"required": required})


class ProvidersView(TenantView):
    """A team's identity providers."""

    @extend_schema(
        operation_id="list_identity_providers",
        responses={200: IdentityProviderList, **problems()},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List the team's identity providers."""
        rows = sso_providers.list_providers(caller=self.caller)
        return results(IdentityProviderSerializer(rows, many=True, context={"tenant": tenant}).data)

    @extend_schema(
        operation_id="create_identity_provider",
        request=IdentityProviderInput,
        responses={201: IdentityProviderSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Let a provider vouch for the team's members."""
        given = _settings(self.read_input(IdentityProviderInput))
        row = sso_providers.create_provider(sso_providers.ProviderSettings(**given), caller=self.caller)
        return Response(IdentityProviderSerializer(row, context={"tenant": tenant}).data, status=201)


class ProviderView(TenantView):
    """One identity provider of a team."""

    @extend_schema(
        operation_id="get_identity_provider",
        responses={200: IdentityProviderSerializer, **problems()},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, provider: str) -> Response:
        """Read an identity provider, without its secret."""
        row = sso_providers.get_provider(uuid_of(provider), caller=self.caller)
        return Response(IdentityProviderSerializer(row, context={"tenant": tenant}).data)

    @extend_schema(
        operation_id="update_identity_provider",
        request=IdentityProviderInput,
        responses={200: IdentityProviderSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, provider: str) -> Response:
        """Change what is given. With another issuer the provider knows nobody any more."""
        given = _settings(self.read_input(IdentityProviderInput, partial=True))
        row = sso_providers.change_provider(uuid_of(provider), given, caller=self.caller)
        return Response(IdentityProviderSerializer(row, context={"tenant": tenant}).data)

    @extend_schema(
        operation_id="delete_identity_provider", responses={204: None, **problems(409)}, tags=_TAGS
    )
    def delete(self, request: Request, tenant: str, provider: str) -> Response:
        """Let a provider vouch for nobody any more. Members stay members."""
        sso_providers.delete_provider(uuid_of(provider), caller=self.caller)
        return Response(status=204)


class ProviderTestView(TenantView):
    """The test of an identity provider."""

    @extend_schema(
        operation_id="test_identity_provider",
        request=None,
        responses={200: ProviderFindingList, **problems()},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, provider: str) -> Response:
        """Fetch the provider's metadata and keys now, and say what is wrong with them."""
        if request.data:
            raise InvalidInput("This address takes no body. Send none, or an empty object.")
        findings = sso_diagnosis.diagnose_provider(uuid_of(provider), caller=self.caller)
        return results(ProviderFindingSerializer(findings, many=True).data)


class IdentitiesView(TenantView):
    """Whom a provider knows."""

    @extend_schema(
        operation_id="list_provider_identities", responses={200: IdentityList, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, provider: str) -> Response:
        """List whom a provider knows: bound when they first signed in through it."""
        rows = sso_providers.list_identities(uuid_of(provider), caller=self.caller)
        return results(IdentitySerializer(rows, many=True).data)


class IdentityView(TenantView):
    """Somebody whom a provider knows."""

    @extend_schema(operation_id="forget_provider_identity", responses={204: None, **problems()}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, provider: str, identity: str) -> Response:
        """Have the provider no longer know somebody. They stay a member; their sessions through it end."""
        sso_providers.forget_identity(uuid_of(provider), uuid_of(identity), caller=self.caller)
        return Response(status=204)


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Input as the service takes it: lists as tuples, groups as pairs."""
    found = dict(given)
    if "domains" in found:
        found["domains"] = tuple(found["domains"])
    if "group_roles" in found:
        found["group_roles"] = tuple((each["group"], each["role"]) for each in found["group_roles"])
    return found
