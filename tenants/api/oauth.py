"""REST: connected apps and the clients behind them. Parses, calls one service, answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import StrictSerializer, TenantView, list_of, results, shown_once, uuid_of
from tenants.api.problems import problems
from tenants.models import OAuthAuthorization, OAuthClient
from tenants.services import oauth_apps


class ConnectionSerializer(serializers.Serializer[Any]):
    """What a client may do, and in whose name."""

    id = serializers.UUIDField()
    client_id = serializers.CharField(source="client.client_id")
    name = serializers.CharField(source="client.shown_name")
    member = serializers.SerializerMethodField(help_text="`null`: the client acts for itself.")
    server = serializers.CharField()
    resource = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(help_text="It ends then unless the client comes back before.")

    @extend_schema_field(serializers.EmailField(allow_null=True))
    def get_member(self, row: OAuthAuthorization) -> str | None:
        return None if row.user is None else row.user.email


class OAuthClientSerializer(serializers.Serializer[Any]):
    """A client that the team knows, without its secret."""

    id = serializers.UUIDField()
    client_id = serializers.CharField()
    name = serializers.CharField(source="shown_name")
    came_by = serializers.ChoiceField(
        source="registration_source",
        choices=["manual", "dcr", "cimd"],
        help_text="`manual`: made here; `dcr`: it registered itself; `cimd`: a document at its address.",
    )
    redirect_uris = serializers.SerializerMethodField()
    scopes = serializers.ListField(
        child=serializers.CharField(), help_text="The most that it may ask for in its own name."
    )
    created_at = serializers.DateTimeField(source="created")
    revoked_at = serializers.DateTimeField(allow_null=True)

    def get_redirect_uris(self, row: OAuthClient) -> list[str]:
        return list(row.redirect_uris.split())


class IssuedOAuthClientSerializer(OAuthClientSerializer):
    """A new client: the only answer that ever holds its secret."""

    client_secret = serializers.SerializerMethodField(help_text="Store it now: it is not shown again.")

    def get_client_secret(self, _row: OAuthClient) -> str:
        text: str = self.context["client_secret"]
        return text


class OAuthClientInput(StrictSerializer):
    """A client that acts for itself (client credentials)."""

    name = serializers.CharField(max_length=80)
    scopes = serializers.ListField(child=serializers.CharField(max_length=140), allow_empty=True)


ConnectionList = list_of(ConnectionSerializer, "ConnectionList")
OAuthClientList = list_of(OAuthClientSerializer, "OAuthClientList")


class ConnectionsView(TenantView):
    """Connected apps of a team."""

    @extend_schema(
        operation_id="list_connections", responses={200: ConnectionList, **problems()}, tags=["oauth"]
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List connected apps: all of the team, or your own where you may not read its keys."""
        rows = oauth_apps.list_connections(caller=self.caller)
        return results(ConnectionSerializer(rows, many=True).data)


class ConnectionView(TenantView):
    """One connected app."""

    @extend_schema(operation_id="end_connection", responses={204: None, **problems()}, tags=["oauth"])
    def delete(self, request: Request, tenant: str, connection: str) -> Response:
        """End what a client may do, everywhere."""
        oauth_apps.end_connection(uuid_of(connection), caller=self.caller)
        return Response(status=204)


class OAuthClientsView(TenantView):
    """The clients that a team knows."""

    @extend_schema(
        operation_id="list_oauth_clients", responses={200: OAuthClientList, **problems()}, tags=["oauth"]
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List clients, but for registrations that nobody consented to."""
        return results(OAuthClientSerializer(oauth_apps.list_clients(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="create_oauth_client",
        request=OAuthClientInput,
        responses={201: IssuedOAuthClientSerializer, **problems(400)},
        tags=["oauth"],
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Make a client that acts for itself, with its maker's rights at most; a signed-in member's alone."""
        given = self.read_input(OAuthClientInput)
        issued = oauth_apps.create_client(**given, caller=self.caller)
        context = {"client_secret": issued.secret}
        return shown_once(IssuedOAuthClientSerializer(issued.row, context=context))


class OAuthClientView(TenantView):
    """One client that a team knows."""

    @extend_schema(operation_id="revoke_oauth_client", responses={204: None, **problems(409)}, tags=["oauth"])
    def delete(self, request: Request, tenant: str, client: str) -> Response:
        """Shut a client out for good, with everything that members let it do."""
        oauth_apps.revoke_client(uuid_of(client), caller=self.caller)
        return Response(status=204)
