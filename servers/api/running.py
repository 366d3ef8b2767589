"""REST: where a tool's calls run. Parses, calls one service, answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.models import MAX_DEADLINE, Tool
from servers.services import tool_running
from servers.services.tasks.priorities import PRIORITIES
from tenants.api.base import StrictSerializer, TenantView, uuid_of
from tenants.api.problems import problems

_TAGS = ["tools"]
_WHERE = ("inline", "worker", "begins_inline")


class ToolRunningSerializer(serializers.Serializer[Any]):
    """Where a tool's calls run, and why."""

    runs = serializers.CharField(help_text=f"What is set: one of {', '.join(Tool.Runs.values)}.")
    deadline = serializers.IntegerField(
        allow_null=True,
        help_text="Seconds that a run may take; null: as long as one of its way of running may.",
    )
    where = serializers.CharField(
        help_text=f"One of {', '.join(_WHERE)}: within their requests, as tasks, or within their requests until the "
        "tool says that what comes takes long."
    )
    seconds = serializers.FloatField(help_text="How long a run may take as it is now.")
    why = serializers.CharField(help_text="Why they run there.")
    task_only = serializers.BooleanField(help_text="Whether clients that know no tasks are refused.")
    priority = serializers.CharField(
        help_text=f"How urgent its tasks are among the team's, where a call does not say it: {', '.join(PRIORITIES)}."
    )
    repeatable = serializers.BooleanField(
        help_text="Whether a run that its worker's end cut off is made again: the tool only reads, or is idempotent."
    )


class ToolRunningChange(StrictSerializer):
    """What can be changed of it. What is left out stays."""

    runs = serializers.CharField(required=False, help_text=f"One of {', '.join(Tool.Runs.values)}.")
    deadline = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=MAX_DEADLINE, help_text="Seconds; null: none."
    )
    priority = serializers.CharField(required=False, help_text=f"One of {', '.join(PRIORITIES)}.")


class ToolRunningView(TenantView):
    """Where one tool's calls run."""

    @extend_schema(
        operation_id="get_tool_running", responses={200: ToolRunningSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, tool: str) -> Response:
        """Say whether calls run within their requests or at a worker, and why."""
        return Response(
            ToolRunningSerializer(tool_running.get_running(uuid_of(tool), caller=self.caller)).data
        )

    @extend_schema(
        operation_id="update_tool_running",
        request=ToolRunningChange,
        responses={200: ToolRunningSerializer, **problems(400, 413)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, tool: str) -> Response:
        """Set where calls run, and how long a run may take. It holds for calls that begin from now on."""
        given = self.read_input(ToolRunningChange)
        if "deadline" in given:
            given["deadline"] = given["deadline"] or 0
        changed = tool_running.change_running(uuid_of(tool), **given, caller=self.caller)
        return Response(ToolRunningSerializer(changed).data)
