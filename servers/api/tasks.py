"""REST: a team's long work. Parses, calls one service, answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.tools import CLIENT
from servers.services import long_work
from servers.services.long_work import DEFAULT_LIMIT, MAX_LIMIT, STATUSES
from tenants.api.base import StrictSerializer, TenantView, list_of, results, uuid_of
from tenants.api.problems import problems
from tenants.api.serializers import public_url

_TAGS = ["tasks"]


class TaskSerializer(serializers.Serializer[Any]):
    """A call that goes on, or went on, at a worker."""

    id = serializers.UUIDField()
    status = serializers.CharField(
        help_text="working, input_required, completed, failed or cancelled (SEP-2663)."
    )
    standing = serializers.CharField(
        help_text="The status in words: waiting, running, asks its client, being cancelled, or how it ended."
    )
    tool = serializers.CharField()
    tool_version = serializers.IntegerField()
    server = serializers.CharField(help_text="The last part of the server's URL.")
    actor = serializers.CharField(help_text="Who called, as the log names them.")
    client = serializers.CharField()
    credential_id = serializers.UUIDField(allow_null=True)
    request_id = serializers.CharField()
    progress = serializers.FloatField(allow_null=True)
    total = serializers.FloatField(
        allow_null=True, help_text="What progress counts up to, where that is known."
    )
    message = serializers.CharField(help_text="What the tool said last, or why it failed.")
    runs = serializers.IntegerField(help_text="How often it was begun.")
    seconds = serializers.FloatField(help_text="How long a run may take.")
    priority = serializers.CharField(help_text="Among the team's tasks that wait: low, normal or high.")
    place = serializers.IntegerField(
        allow_null=True, help_text="Its place in the team's line while it waits for a worker, from 1."
    )
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True, help_text="When a worker took it first.")
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(
        help_text="From then on it is forgotten; what is in the log stays."
    )
    intent_seq = serializers.IntegerField(
        allow_null=True, help_text="The number of its intent in the log: of the run under way, or the last."
    )


class TaskErrorSerializer(serializers.Serializer[Any]):
    """Why a task has no result, or what its tool reported."""

    code = serializers.CharField()
    message = serializers.CharField()


class TaskResultSerializer(serializers.Serializer[Any]):
    """What a task gave, with secrets masked as in the log."""

    structured = serializers.JSONField(allow_null=True, help_text="Any JSON value.")
    text = serializers.CharField()
    content = serializers.ListField(
        child=serializers.DictField(), allow_null=True, help_text="MCP content blocks, where text is not all."
    )


class TaskLineSerializer(serializers.Serializer[Any]):
    """One thing that a tool said: a log message, or how far it was."""

    at = serializers.DateTimeField()
    level = serializers.CharField(help_text="Of a log message, such as info; else empty.")
    logger = serializers.CharField()
    text = serializers.CharField(help_text="Secrets are masked.")
    progress = serializers.FloatField(allow_null=True)
    total = serializers.FloatField(allow_null=True)


class TaskDetailSerializer(TaskSerializer):
    """A task, and how it ended. What it was called with and gave is null for who may not manage tasks."""

    asked = serializers.ListField(
        child=serializers.CharField(), help_text="The methods by which its client is asked something."
    )
    asks = serializers.DictField(
        allow_null=True, help_text="What its client is asked, by key, without answers."
    )
    arguments = serializers.DictField(allow_null=True, help_text="Secrets are masked.")
    result = TaskResultSerializer(allow_null=True)
    said = TaskLineSerializer(
        many=True, allow_null=True, help_text="What the tool said, oldest first: the newest of it."
    )
    said_before = serializers.IntegerField(
        allow_null=True, help_text="How many lines came before those, and are not kept."
    )
    schedule_id = serializers.UUIDField(allow_null=True, help_text="The schedule whose run it is.")
    rows = serializers.IntegerField(allow_null=True)
    size = serializers.IntegerField(allow_null=True, help_text="Of the result, in bytes.")
    truncated = serializers.BooleanField()
    duration_us = serializers.IntegerField(allow_null=True, help_text="Of the last run, in microseconds.")
    error = TaskErrorSerializer(allow_null=True)


class TaskBegun(serializers.Serializer[Any]):
    """The task that a call goes on as."""

    id = serializers.UUIDField()


TaskList = list_of(TaskSerializer, "TaskList")


class TaskQuery(StrictSerializer):
    """Which tasks."""

    status = serializers.CharField(
        required=False, allow_blank=True, help_text=f"One of {', '.join(STATUSES)}."
    )
    tool = serializers.CharField(required=False, allow_blank=True, max_length=140)
    before = serializers.UUIDField(required=False, help_text="From the previous page's `next`.")
    limit = serializers.IntegerField(default=DEFAULT_LIMIT, min_value=1, max_value=MAX_LIMIT)


class TasksView(TenantView):
    """The tasks of a team."""

    @extend_schema(
        operation_id="list_tasks",
        parameters=[TaskQuery],
        responses={200: TaskList, **problems(400)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List the team's tasks, newest first. `next` is the address of the older ones."""
        page = long_work.list_work(caller=self.caller, **self.read_query(TaskQuery))
        following = None
        if page.next_before is not None:
            query = {**request.query_params.dict(), "before": str(page.next_before)}
            following = public_url(f"/api/v1/tenants/{tenant}/tasks?{urlencode(query)}")
        return results(TaskSerializer(page.items, many=True).data, next_url=following)


class TaskView(TenantView):
    """One task."""

    @extend_schema(operation_id="get_task", responses={200: TaskDetailSerializer, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str, task: str) -> Response:
        """Read where a task stands, and once it has ended, what came of it."""
        found = long_work.get_work(uuid_of(task), caller=self.caller)
        given = found.given
        told = {name: getattr(found, name) for name in ("asked", "rows", "size", "truncated", "duration_us")}
        shown = {
            **asdict(found.item),
            "standing": found.item.standing,
            **told,
            "asks": None if given is None else given.asks,
            "arguments": None if given is None else given.arguments,
            "result": given if given is not None and found.size is not None else None,
            "error": found.error,
            "said": None if found.said is None else found.said.lines,
            "said_before": None if found.said is None else found.said.dropped,
            "schedule_id": found.schedule_id,
        }
        return Response(TaskDetailSerializer(shown).data)


class TaskCancelView(TenantView):
    """Cancels one task."""

    @extend_schema(
        operation_id="cancel_task", request=None, responses={202: None, **problems(409, 503)}, tags=_TAGS
    )
    def post(self, request: Request, tenant: str, task: str) -> Response:
        """Have a task stopped. One that runs ends as soon as its worker heard of it: ask for it again."""
        long_work.cancel_work(uuid_of(task), caller=self.caller)
        return Response(status=202)


class TaskAgainView(TenantView):
    """Runs one task again."""

    @extend_schema(
        operation_id="run_task_again",
        request=None,
        responses={201: TaskBegun, **problems(400, 409, 503)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, task: str) -> Response:
        """Make an ended task's call once more, as the caller's own: decided anew, on the tool as it is now."""
        begun = long_work.run_again(uuid_of(task), caller=self.caller, client=CLIENT)
        return Response(TaskBegun({"id": begun}).data, status=201)
