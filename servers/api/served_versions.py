"""REST: which versions of tools a server offers otherwise than as current ones. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.version_serializers import ServedVersionInput, ServedVersionList, ServedVersionSerializer
from servers.services import served_versions
from tenants.api.base import TenantView, results, uuid_of
from tenants.api.problems import problems

_TAGS = ["servers"]


class ServedVersionsView(TenantView):
    """What one server offers otherwise."""

    @extend_schema(
        operation_id="list_served_versions", responses={200: ServedVersionList, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, server: str) -> Response:
        """List the versions that a server pins, offers beside the current ones, or to some as canaries."""
        rows = served_versions.list_served(uuid_of(server), caller=self.caller)
        return results(ServedVersionSerializer(rows, many=True).data)

    @extend_schema(
        operation_id="serve_version",
        request=ServedVersionInput,
        responses={201: ServedVersionSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, server: str) -> Response:
        """Pin a version, offer it beside the current one, or to some as a canary."""
        served = served_versions.serve_version(
            uuid_of(server), **self.read_input(ServedVersionInput), caller=self.caller
        )
        return Response(ServedVersionSerializer(served).data, status=201)


class ServedVersionView(TenantView):
    """One version that a server offers otherwise."""

    @extend_schema(operation_id="stop_serving_version", responses={204: None, **problems()}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, server: str, served: str) -> Response:
        """End it: the server follows the tool's current version again."""
        served_versions.stop_serving(uuid_of(server), uuid_of(served), caller=self.caller)
        return Response(status=204)
