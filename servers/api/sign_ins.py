"""REST: how a data source is signed in to. Signing in itself wants a browser: ``page`` says where."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.services.sign_ins.browsing import find_sign_in, sign_out
from tenants.api.base import TenantView, uuid_of
from tenants.api.problems import problems

_TAGS = ["data-sources"]


class SignInSerializer(serializers.Serializer[Any]):
    """A sign-in to what a data source stands on, without its tokens."""

    by = serializers.ChoiceField(
        choices=["nobody", "team", "member"],
        help_text="Who signs in: one person for the team, or each member. nobody: the settings say how Marina does.",
    )
    state = serializers.ChoiceField(choices=["none", "ready", "needed"])
    reason = serializers.CharField(help_text="Why somebody has to sign in again.")
    page = serializers.CharField(help_text="Where to sign in, by a browser.")
    issuer = serializers.CharField(help_text="The authorization server.")
    scopes = serializers.ListField(child=serializers.CharField())
    missing = serializers.ListField(
        child=serializers.CharField(),
        help_text="Scopes that the server wanted besides: sign in again to give them.",
    )
    signed_in_by = serializers.CharField()
    signed_in_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text="When the token ends, if that is known."
    )


class SignedOutSerializer(serializers.Serializer[Any]):
    """What came of ending a sign-in."""

    given_back = serializers.BooleanField(help_text="Whether the authorization server took the token back.")


class SourceSignInView(TenantView):
    """The team's sign-in to a data source, or the caller's own."""

    @extend_schema(
        operation_id="get_data_source_sign_in",
        responses={200: SignInSerializer, **problems()},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, source: str) -> Response:
        """Say how the team, or where each member signs in the caller, is signed in to a data source."""
        found = find_sign_in(uuid_of(source), caller=self.caller)
        return Response(SignInSerializer(found).data)

    @extend_schema(
        operation_id="end_data_source_sign_in",
        responses={200: SignedOutSerializer, **problems(409)},
        tags=_TAGS,
    )
    def delete(self, request: Request, tenant: str, source: str) -> Response:
        """Sign out: delete the tokens, and have the authorization server take them back where it does that."""
        given_back = sign_out(uuid_of(source), caller=self.caller)
        return Response(SignedOutSerializer({"given_back": given_back}).data)
