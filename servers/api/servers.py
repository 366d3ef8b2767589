"""REST: servers. Parses, calls one service, answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.serializers import ServerChange, ServerInput, ServerList, ServerSerializer
from servers.services import servers
from servers.services.withheld import list_withheld
from tenants.api.base import TenantView, list_of, results, uuid_of
from tenants.api.problems import problems

_TAGS = ["servers"]


class ServersView(TenantView):
    """The servers of a team."""

    @extend_schema(operation_id="list_servers", responses={200: ServerList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the servers."""
        rows = servers.list_servers(caller=self.caller)
        return results(ServerSerializer(rows, many=True, context={"tenant": tenant}).data)

    @extend_schema(
        operation_id="create_server",
        request=ServerInput,
        responses={201: ServerSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Make a server at a URL of its own."""
        created = servers.create_server(**self.read_input(ServerInput), caller=self.caller)
        return Response(ServerSerializer(created, context={"tenant": tenant}).data, status=201)


class WithheldSerializer(serializers.Serializer[Any]):
    """A tool that a server does not offer."""

    name = serializers.CharField()
    source = serializers.CharField(help_text="The name of its data source.")  # type: ignore[assignment]
    reason = serializers.CharField()


WithheldList = list_of(WithheldSerializer, "WithheldList")


class ServerWithheldView(TenantView):
    """What a server does not offer."""

    @extend_schema(operation_id="list_not_offered", responses={200: WithheldList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str, server: str) -> Response:
        """List the tools of the server's data sources that it does not offer, each with the reason."""
        found = list_withheld(uuid_of(server), caller=self.caller)
        return results(WithheldSerializer(found, many=True).data)


class ServerView(TenantView):
    """One server."""

    @extend_schema(operation_id="get_server", responses={200: ServerSerializer, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str, server: str) -> Response:
        """Read a server."""
        row = servers.get_server(uuid_of(server), caller=self.caller)
        return Response(ServerSerializer(row, context={"tenant": tenant}).data)

    @extend_schema(
        operation_id="update_server",
        request=ServerChange,
        responses={200: ServerSerializer, **problems(400)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, server: str) -> Response:
        """Change a server; its URL stays."""
        changed = servers.update_server(uuid_of(server), **self.read_input(ServerChange), caller=self.caller)
        return Response(ServerSerializer(changed, context={"tenant": tenant}).data)

    @extend_schema(operation_id="delete_server", responses={204: None, **problems(409)}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, server: str) -> Response:
        """Delete a server; its data sources and tools stay."""
        servers.delete_server(uuid_of(server), caller=self.caller)
        return Response(status=204)
