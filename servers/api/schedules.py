"""REST: schedules of tools, and their runs. Parses, calls one service, answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.models import ScheduledRun, ToolSchedule
from servers.services import tool_schedules
from servers.services.tasks.priorities import PRIORITIES
from servers.services.tool_schedules import RunView
from servers.services.tool_schedules import ScheduleView as Shown
from tenants.api.base import StrictSerializer, TenantView, list_of, results, uuid_of
from tenants.api.problems import problems
from tenants.api.serializers import public_url

_TAGS = ["schedules"]


class ToolScheduleInput(StrictSerializer):
    """A schedule to set up, or what to change of one."""

    name = serializers.CharField(max_length=80)
    server = serializers.CharField(
        max_length=40, required=False, help_text="The last part of the server's URL; default unless told."
    )
    tool = serializers.CharField(max_length=140, help_text="The tool's name on that server.")
    arguments = serializers.DictField(required=False)
    cron = serializers.CharField(
        max_length=120, help_text="Minute, hour, day of the month, month, day of the week: 30 2 * * 1."
    )
    time_zone = serializers.CharField(
        max_length=64, required=False, help_text="Such as Europe/Zurich; UTC unless told."
    )
    overlap = serializers.CharField(
        max_length=8,
        required=False,
        help_text="What becomes of a run that is due while the last one has not ended: skip (unless told) or queue.",
    )
    missed = serializers.CharField(
        max_length=8,
        required=False,
        help_text="Of runs that were due while Marina was down: once (unless told) makes one, skip none.",
    )
    priority = serializers.CharField(
        max_length=8, required=False, help_text=f"Among the team's tasks: {', '.join(PRIORITIES)}."
    )
    enabled = serializers.BooleanField(required=False)
    key = serializers.UUIDField(
        required=False,
        allow_null=True,
        help_text="The id of the API key that it runs as, for who may issue keys; null: as who asks.",
    )


class ToolRunSerializer(serializers.Serializer[Any]):
    """One run of a schedule."""

    id = serializers.UUIDField()
    due_at = serializers.DateTimeField()
    state = serializers.ChoiceField(choices=ScheduledRun.State.values)
    by = serializers.CharField(help_text="Who had it made out of turn, or empty.")
    passed_over = serializers.IntegerField(help_text="How many times before this one were missed.")
    finished_at = serializers.DateTimeField(allow_null=True)
    duration_us = serializers.IntegerField(allow_null=True, help_text="Microseconds.")
    reason = serializers.CharField(help_text="Why it has no result.")
    task_id = serializers.UUIDField(allow_null=True, help_text="Its task, while that is kept.")
    seq = serializers.IntegerField(allow_null=True, help_text="The number of its record in the log.")


class ToolScheduleSerializer(serializers.Serializer[Any]):
    """A schedule of a tool."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    server = serializers.CharField()
    tool = serializers.CharField()
    arguments = serializers.DictField(
        allow_null=True, help_text="Secrets are masked; null for who may not manage tasks."
    )
    cron = serializers.CharField()
    time_zone = serializers.CharField()
    words = serializers.CharField(help_text="When it is due, in words.")
    next_at = serializers.ListField(
        child=serializers.DateTimeField(), help_text="The next five times; none while it is not enabled."
    )
    overlap = serializers.ChoiceField(choices=ToolSchedule.Overlap.values)
    missed = serializers.ChoiceField(choices=ToolSchedule.Missed.values)
    priority = serializers.CharField()
    enabled = serializers.BooleanField()
    paused_because = serializers.CharField(
        help_text="Why Marina paused it: the code and rule of the last refusal. Or empty."
    )
    key = serializers.UUIDField(allow_null=True, help_text="The id of the key that it runs as.")
    runs_as = serializers.CharField(help_text="Whom it runs as, as the log names them.")
    last_state = serializers.CharField(help_text="What became of the last run, or empty.")


class ScheduleTimesQuery(StrictSerializer):
    """A line of cron to be looked at."""

    cron = serializers.CharField(max_length=120)
    time_zone = serializers.CharField(max_length=64, default="UTC")


class ScheduleTimesSerializer(serializers.Serializer[Any]):
    """When a line of cron is due."""

    words = serializers.CharField()
    next_at = serializers.ListField(child=serializers.DateTimeField())


ToolScheduleList = list_of(ToolScheduleSerializer, "ToolScheduleList")
ToolRunList = list_of(ToolRunSerializer, "ToolScheduleRunList")


class SchedulesView(TenantView):
    """The schedules of a team's tools."""

    @extend_schema(
        operation_id="list_tool_schedules", responses={200: ToolScheduleList, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List them by name."""
        return results([_shown(each) for each in tool_schedules.list_schedules(caller=self.caller)])

    @extend_schema(
        operation_id="create_tool_schedule",
        request=ToolScheduleInput,
        responses={201: ToolScheduleSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Set one up. It runs as who asks, or as `key`."""
        row = tool_schedules.create_schedule(self.read_input(ToolScheduleInput), caller=self.caller)
        return Response(_shown(tool_schedules.get_schedule(row.pk, caller=self.caller)), status=201)


class ScheduleTimesView(TenantView):
    """When a line of cron is due."""

    @extend_schema(
        operation_id="describe_schedule_times",
        parameters=[ScheduleTimesQuery],
        responses={200: ScheduleTimesSerializer, **problems(400)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str) -> Response:
        """Say in words when a line of cron is due, and the next five times."""
        words, next_at = tool_schedules.describe_times(**self.read_query(ScheduleTimesQuery))
        return Response(ScheduleTimesSerializer({"words": words, "next_at": next_at}).data)


class ScheduleView(TenantView):
    """One schedule."""

    @extend_schema(
        operation_id="get_tool_schedule", responses={200: ToolScheduleSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, tool_schedule: str) -> Response:
        """Read one."""
        return Response(_shown(tool_schedules.get_schedule(uuid_of(tool_schedule), caller=self.caller)))

    @extend_schema(
        operation_id="change_tool_schedule",
        request=ToolScheduleInput,
        responses={200: ToolScheduleSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, tool_schedule: str) -> Response:
        """Change what is given. Where that is more than its name or `enabled`, it runs as who asks from then on."""
        given = self.read_input(ToolScheduleInput, partial=True)
        row = tool_schedules.change_schedule(uuid_of(tool_schedule), given, caller=self.caller)
        return Response(_shown(tool_schedules.get_schedule(row.pk, caller=self.caller)))

    @extend_schema(operation_id="delete_tool_schedule", responses={204: None, **problems()}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, tool_schedule: str) -> Response:
        """Delete one, with its history. The records of its runs stay."""
        tool_schedules.delete_schedule(uuid_of(tool_schedule), caller=self.caller)
        return Response(status=204)


class ToolRunQuery(StrictSerializer):
    """Which runs."""

    before = serializers.UUIDField(required=False, help_text="From the previous page's `next`.")


class ScheduleRunsView(TenantView):
    """The runs of a schedule."""

    @extend_schema(
        operation_id="list_tool_schedule_runs",
        parameters=[ToolRunQuery],
        responses={200: ToolRunList, **problems(400)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, tool_schedule: str) -> Response:
        """List its runs, newest first. `next` is the address of the older ones."""
        schedule_id = uuid_of(tool_schedule)
        found = tool_schedules.list_runs(schedule_id, caller=self.caller, **self.read_query(ToolRunQuery))
        following = None
        if found.next_before is not None:
            below = f"/api/v1/tenants/{tenant}/schedules/{schedule_id}/runs"
            following = public_url(f"{below}?before={found.next_before}")
        return results([_run(each) for each in found.items], next_url=following)

    @extend_schema(
        operation_id="run_tool_schedule",
        request=None,
        responses={202: None, **problems(409, 503)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, tool_schedule: str) -> Response:
        """Have a run made now, out of turn: the newest of its runs is it."""
        tool_schedules.run_now(uuid_of(tool_schedule), caller=self.caller)
        return Response(status=202)


def _shown(found: Shown) -> Mapping[str, Any]:
    row = found.row
    same = ("id", "name", "server", "tool", "cron", "overlap", "missed", "enabled", "paused_because")
    shown = {
        **{name: getattr(row, name) for name in same},
        "arguments": found.arguments,
        "time_zone": row.zone,
        "words": found.words,
        "next_at": found.next_at,
        "priority": found.priority,
        "key": row.credential_id,
        "runs_as": row.actor,
        "last_state": "" if found.last is None else found.last.state,
    }
    return ToolScheduleSerializer(shown).data


def _run(found: RunView) -> Mapping[str, Any]:
    row = found.row
    same = ("id", "due_at", "state", "by", "passed_over", "finished_at", "duration_us", "reason", "seq")
    shown = {**{name: getattr(row, name) for name in same}, "task_id": found.task_id}
    return ToolRunSerializer(shown).data
