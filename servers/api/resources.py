"""REST: resources and resource templates. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.serializers import EnabledChange, ResourceList, ResourceSerializer
from servers.services import resources
from tenants.api.base import TenantView, results, uuid_of
from tenants.api.problems import problems

_TAGS = ["resources"]


class ResourcesView(TenantView):
    """The resources and resource templates of a team."""

    @extend_schema(operation_id="list_resources", responses={200: ResourceList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the resources and resource templates, switched on or off."""
        return results(ResourceSerializer(resources.list_resources(caller=self.caller), many=True).data)


class ResourceView(TenantView):
    """One resource."""

    @extend_schema(operation_id="get_resource", responses={200: ResourceSerializer, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str, resource: str) -> Response:
        """Show a resource, not what it holds."""
        row = resources.get_resource(uuid_of(resource), caller=self.caller)
        return Response(ResourceSerializer(row).data)

    @extend_schema(
        operation_id="update_resource",
        request=EnabledChange,
        responses={200: ResourceSerializer, **problems(400)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, resource: str) -> Response:
        """Offer a resource, or take it off every server without losing it."""
        given = self.read_input(EnabledChange)
        row = resources.set_resource_enabled(uuid_of(resource), given["enabled"], caller=self.caller)
        return Response(ResourceSerializer(row).data)
