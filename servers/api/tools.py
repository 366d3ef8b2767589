"""REST: tools, and trying them. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.serializers import (
    CallInput,
    CallResultSerializer,
    ToolChange,
    ToolInput,
    ToolList,
    ToolSerializer,
)
from servers.services import playground, tools
from tenants.api.base import TenantView, results, uuid_of
from tenants.api.problems import problems

CLIENT = "Marina REST API"
_TAGS = ["tools"]


class ToolsView(TenantView):
    """The tools of a team."""

    @extend_schema(operation_id="list_tools", responses={200: ToolList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the tools at their current versions."""
        return results(ToolSerializer(tools.list_tools(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="create_tool",
        request=ToolInput,
        responses={201: ToolSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Make a tool on a data source."""
        created = tools.create_tool(**self.read_input(ToolInput), caller=self.caller)
        return Response(ToolSerializer(created).data, status=201)


class ToolView(TenantView):
    """One tool."""

    @extend_schema(operation_id="get_tool", responses={200: ToolSerializer, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str, tool: str) -> Response:
        """Read a tool at its current version."""
        return Response(ToolSerializer(tools.get_tool(uuid_of(tool), caller=self.caller)).data)

    @extend_schema(
        operation_id="update_tool",
        request=ToolChange,
        responses={200: ToolSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, tool: str) -> Response:
        """Give a tool a new version, or switch it on or off."""
        changed = tools.change_tool(uuid_of(tool), **self.read_input(ToolChange), caller=self.caller)
        return Response(ToolSerializer(changed).data)

    @extend_schema(operation_id="delete_tool", responses={204: None, **problems()}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, tool: str) -> Response:
        """Delete a tool with its versions."""
        tools.delete_tool(uuid_of(tool), caller=self.caller)
        return Response(status=204)


class ToolEnableView(TenantView):
    """Switches one tool on."""

    @extend_schema(
        operation_id="enable_tool", request=None, responses={200: ToolSerializer, **problems()}, tags=_TAGS
    )
    def post(self, request: Request, tenant: str, tool: str) -> Response:
        """Offer a tool again."""
        return Response(ToolSerializer(tools.set_tool_enabled(uuid_of(tool), True, caller=self.caller)).data)


class ToolDisableView(TenantView):
    """Switches one tool off."""

    @extend_schema(
        operation_id="disable_tool", request=None, responses={200: ToolSerializer, **problems()}, tags=_TAGS
    )
    def post(self, request: Request, tenant: str, tool: str) -> Response:
        """Take a tool off every server without losing it."""
        return Response(ToolSerializer(tools.set_tool_enabled(uuid_of(tool), False, caller=self.caller)).data)


class ToolCallView(TenantView):
    """A call of one tool through the one decision path."""

    refusals_recorded_below = True

    @extend_schema(
        operation_id="call_tool",
        request=CallInput,
        responses={200: CallResultSerializer, **problems(400, 413, 503)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, tool: str) -> Response:
        """Try a tool: the same rules and the same record as over MCP. A tool's own failure is a 200."""
        given = self.read_input(CallInput)
        name = tools.get_tool_name(uuid_of(tool), caller=self.caller)
        result = playground.try_tool(
            name,
            given.get("arguments", {}),
            caller=self.caller,
            server_slug=given["server"],
            client=CLIENT,
            version=given["version"],
            priority=given.get("priority"),
        )
        if result.outcome == "invalid" and result.error is not None:
            raise result.error
        return Response(CallResultSerializer(result).data)
