"""REST: the outside issuers that a team trusts. Parses, calls one service, answers; secrets go in and never out."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core.signedtokens import MAX_TOKEN
from tenants.api.base import StrictSerializer, TenantView, list_of, results, uuid_of
from tenants.api.problems import problems
from tenants.models import TrustedIssuer
from tenants.outsiders import ROLES
from tenants.services import outside_issuers
from tenants.services.outside_issuers import MAX_SECRET

_METHODS: Final = TrustedIssuer.Method.values
_ROLES: Final = [role.value for role in ROLES]


class MappingRowSerializer(StrictSerializer):
    """What one value of the claim is worth."""

    value = serializers.CharField(max_length=200, help_text="As it stands in the claim, letter for letter.")
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=140),
        help_text="Scopes of Marina's: those of OAuth, `tool:<name>` and `server:<slug>`; never `admin`.",
    )
    role = serializers.ChoiceField(
        choices=_ROLES,
        required=False,
        help_text="Scopes beyond what this role allows are void. `viewer` unless you say otherwise.",
    )


class OutsideIssuerInput(StrictSerializer):
    """An outside issuer. Changing one, leave out what is to stay."""

    name = serializers.CharField(max_length=40, help_text="How the log calls it: `issuer:<name>:<subject>`.")
    issuer = serializers.CharField(max_length=255, help_text="Its identifier, letter for letter as in `iss`.")
    method = serializers.ChoiceField(
        choices=_METHODS,
        required=False,
        help_text="`jwks` (the default): by its published keys; `introspection`: it is asked about each (RFC 7662).",
    )
    jwks_uri = serializers.CharField(
        max_length=500, required=False, allow_blank=True, help_text="Empty: where its metadata says."
    )
    introspection_endpoint = serializers.CharField(
        max_length=500, required=False, allow_blank=True, help_text="Empty: where its metadata says."
    )
    client_id = serializers.CharField(max_length=255, required=False, allow_blank=True)
    client_secret = serializers.CharField(
        max_length=MAX_SECRET,
        required=False,
        allow_blank=True,
        write_only=True,
        help_text="Marina's secret there, never told again. Give it anew when the place that it goes to changes.",
    )
    audience = serializers.CharField(
        max_length=500,
        required=False,
        allow_blank=True,
        help_text="The one `aud` that tokens must have. Empty: the MCP URL of the server, which they then open alone.",
    )
    subject_claim = serializers.CharField(max_length=120, required=False)
    email_claim = serializers.CharField(max_length=120, required=False, allow_blank=True)
    scopes_claim = serializers.CharField(
        max_length=120,
        required=False,
        help_text="`scope`, `scp`, `roles`, `groups` or any other; a dot leads into an object.",
    )
    mapping = serializers.ListField(
        child=MappingRowSerializer(), required=False, help_text="What is not in it is worth nothing."
    )
    enabled = serializers.BooleanField(required=False)


class OutsideIssuerSerializer(serializers.Serializer[Any]):
    """An outside issuer that the team trusts. Of the secret, only whether there is one."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    issuer = serializers.CharField()
    method = serializers.ChoiceField(choices=_METHODS)
    jwks_uri = serializers.CharField()
    introspection_endpoint = serializers.CharField()
    client_id = serializers.CharField()
    has_secret = serializers.BooleanField()
    audience = serializers.CharField()
    subject_claim = serializers.CharField()
    email_claim = serializers.CharField()
    scopes_claim = serializers.CharField()
    mapping = MappingRowSerializer(many=True)
    enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)


class TokenInput(StrictSerializer):
    """A token to be judged. It is neither stored nor recorded."""

    token = serializers.CharField(max_length=MAX_TOKEN + 1, write_only=True)


class JudgedStepSerializer(serializers.Serializer[Any]):
    """One step of a token's test."""

    name = serializers.CharField()
    question = serializers.CharField()
    passed = serializers.BooleanField(allow_null=True, help_text="`null`: it did not come to that.")
    answer = serializers.CharField()


class JudgementSerializer(serializers.Serializer[Any]):
    """What would become of a token at the team's servers."""

    accepted = serializers.BooleanField()
    steps = JudgedStepSerializer(many=True)
    actor = serializers.CharField(help_text="How the log would name its bearer; empty where it is refused.")
    scopes = serializers.ListField(child=serializers.CharField())


OutsideIssuerList = list_of(OutsideIssuerSerializer, "OutsideIssuerList")


class OutsideIssuersView(TenantView):
    """The outside issuers of a team."""

    @extend_schema(
        operation_id="list_outside_issuers", responses={200: OutsideIssuerList, **problems()}, tags=["oauth"]
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List the issuers whose tokens the team's servers take besides its own."""
        rows = outside_issuers.list_issuers(caller=self.caller)
        return results(OutsideIssuerSerializer(rows, many=True).data)

    @extend_schema(
        operation_id="trust_outside_issuer",
        request=OutsideIssuerInput,
        responses={201: OutsideIssuerSerializer, **problems(400, 409)},
        tags=["oauth"],
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Trust an issuer. Nothing is fetched before a token comes, or a test."""
        given = self.read_input(OutsideIssuerInput)
        row = outside_issuers.create_issuer(given, caller=self.caller)
        return Response(OutsideIssuerSerializer(row).data, status=201)


class OutsideIssuerView(TenantView):
    """One outside issuer."""

    @extend_schema(
        operation_id="get_outside_issuer",
        responses={200: OutsideIssuerSerializer, **problems()},
        tags=["oauth"],
    )
    def get(self, request: Request, tenant: str, issuer: str) -> Response:
        """Show one issuer."""
        row = outside_issuers.get_issuer(uuid_of(issuer), caller=self.caller)
        return Response(OutsideIssuerSerializer(row).data)

    @extend_schema(
        operation_id="change_outside_issuer",
        request=OutsideIssuerInput,
        responses={200: OutsideIssuerSerializer, **problems(400, 409)},
        tags=["oauth"],
    )
    def patch(self, request: Request, tenant: str, issuer: str) -> Response:
        """Change what is given; it holds everywhere within five seconds."""
        given = self.read_input(OutsideIssuerInput, partial=True)
        row = outside_issuers.change_issuer(uuid_of(issuer), given, caller=self.caller)
        return Response(OutsideIssuerSerializer(row).data)

    @extend_schema(operation_id="remove_outside_issuer", responses={204: None, **problems()}, tags=["oauth"])
    def delete(self, request: Request, tenant: str, issuer: str) -> Response:
        """Trust an issuer no more."""
        outside_issuers.remove_issuer(uuid_of(issuer), caller=self.caller)
        return Response(status=204)


class OutsideIssuerTestView(TenantView):
    """Judging a token by one outside issuer."""

    @extend_schema(
        operation_id="test_outside_issuer",
        request=TokenInput,
        responses={200: JudgementSerializer, **problems(400)},
        tags=["oauth"],
    )
    def post(self, request: Request, tenant: str, issuer: str) -> Response:
        """Say step by step what would become of a token, by the code that judges it at the endpoint."""
        # Who names no issuer of the team's learns that first.
        outside_issuers.get_issuer(uuid_of(issuer), caller=self.caller)
        given = self.read_input(TokenInput)
        judged = outside_issuers.judge_token(uuid_of(issuer), given["token"], caller=self.caller)
        return Response(JudgementSerializer(judged).data)
