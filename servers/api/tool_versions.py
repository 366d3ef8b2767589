"""REST: the versions of tools, publishing them and rolling back. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import NotFound
from servers.api.serializers import ToolSerializer
from servers.api.version_serializers import (
    ComparisonSerializer,
    RollbackInput,
    ToolVersionList,
    ToolVersionSerializer,
)
from servers.services import tool_versions
from tenants.api.base import TenantView, results, uuid_of
from tenants.api.problems import problems

_TAGS = ["tools"]


class ToolVersionsView(TenantView):
    """The versions of one tool."""

    @extend_schema(
        operation_id="list_tool_versions", responses={200: ToolVersionList, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, tool: str) -> Response:
        """List every version of a tool, newest first."""
        versions = tool_versions.list_versions(uuid_of(tool), caller=self.caller)
        return results(ToolVersionSerializer(versions, many=True).data)


class ToolVersionView(TenantView):
    """One version of a tool."""

    @extend_schema(
        operation_id="get_tool_version", responses={200: ToolVersionSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, tool: str, number: str) -> Response:
        """Read one version of a tool."""
        version = tool_versions.get_version(uuid_of(tool), number_of(number), caller=self.caller)
        return Response(ToolVersionSerializer(version).data)

    @extend_schema(
        operation_id="discard_tool_version",
        responses={200: ToolVersionSerializer, **problems(409)},
        tags=_TAGS,
    )
    def delete(self, request: Request, tenant: str, tool: str, number: str) -> Response:
        """Discard a draft. It stays in the list, and can be published no more."""
        version = tool_versions.discard_draft(uuid_of(tool), number_of(number), caller=self.caller)
        return Response(ToolVersionSerializer(version).data)


class ToolPublishView(TenantView):
    """Publishes one version of a tool."""

    @extend_schema(
        operation_id="publish_tool_version",
        request=None,
        responses={200: ToolSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, tool: str, number: str) -> Response:
        """Make a draft, or a version that the tool was rolled back from, the current one."""
        changed = tool_versions.publish_version(uuid_of(tool), number_of(number), caller=self.caller)
        return Response(ToolSerializer(changed).data)


class ToolRollbackView(TenantView):
    """Rolls one tool back."""

    @extend_schema(
        operation_id="roll_back_tool",
        request=RollbackInput,
        responses={200: ToolSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, tool: str) -> Response:
        """Make the version current that was published before the current one, or an earlier one."""
        changed = tool_versions.roll_back(uuid_of(tool), **self.read_input(RollbackInput), caller=self.caller)
        return Response(ToolSerializer(changed).data)


class ToolComparisonView(TenantView):
    """Compares two versions of a tool."""

    @extend_schema(
        operation_id="compare_tool_versions",
        parameters=[
            OpenApiParameter(
                "other", int, OpenApiParameter.PATH, description="The version to compare it with."
            )
        ],
        responses={200: ComparisonSerializer, **problems()},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, tool: str, number: str, other: str) -> Response:
        """Say how a version of a tool differs from another one."""
        found = tool_versions.compare_versions(
            uuid_of(tool), number_of(other), number_of(number), caller=self.caller
        )
        return Response(ComparisonSerializer(found).data)


def number_of(text: str) -> int:
    """A version's number in an address. What is none names no version: raises ``NotFound``."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise NotFound("This tool has no version of that number.", code="version_not_found")
