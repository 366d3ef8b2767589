"""REST: resources and resource templates. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.offering_serializers import (
    OneResourceSerializer,
    ResourceChange,
    ResourceInput,
    ResourceList,
    ResourceSerializer,
)
from servers.services import handmade, resources
from tenants.api.base import TenantView, results, uuid_of
from tenants.api.problems import problems

_TAGS = ["resources"]


class ResourcesView(TenantView):
    """The resources and resource templates of a team."""

    @extend_schema(operation_id="list_resources", responses={200: ResourceList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the resources and resource templates, switched on or off."""
        return results(ResourceSerializer(resources.list_resources(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="create_resource",
        request=ResourceInput,
        responses={201: OneResourceSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Make a resource of the team's own."""
        given = self.read_input(ResourceInput)
        source = given.pop("source", None)
        made = handmade.create_resource(given, source=source, caller=self.caller)
        return Response(OneResourceSerializer(made).data, status=201)


class ResourceView(TenantView):
    """One resource."""

    @extend_schema(
        operation_id="get_resource", responses={200: OneResourceSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, resource: str) -> Response:
        """Show a resource, and how it was defined where it is the team's own."""
        row = resources.get_resource(uuid_of(resource), caller=self.caller)
        return Response(OneResourceSerializer(row).data)

    @extend_schema(
        operation_id="update_resource",
        request=ResourceChange,
        responses={200: OneResourceSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, resource: str) -> Response:
        """Change a resource of the team's own, or offer one, or take it off every server without losing it."""
        given = self.read_input(ResourceChange)
        enabled = given.pop("enabled", None)
        row = handmade.change_resource(uuid_of(resource), given, enabled=enabled, caller=self.caller)
        return Response(OneResourceSerializer(row).data)

    @extend_schema(operation_id="delete_resource", responses={204: None, **problems(409)}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, resource: str) -> Response:
        """Delete a resource of the team's own."""
        handmade.delete_resource(uuid_of(resource), caller=self.caller)
        return Response(status=204)
