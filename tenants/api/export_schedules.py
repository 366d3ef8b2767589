"""REST: exports that are made again and again and put into a bucket. Parses, calls one service, answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import tasks
from tenants.api.base import StrictSerializer, TenantView, list_of, results, uuid_of
from tenants.api.problems import problems
from tenants.api.serializers import ExportSerializer
from tenants.models import ExportSchedule
from tenants.services import export_schedules as schedules
from tenants.services.export_times import describe_times
from tenants.services.exports import FORMATS

_TAGS = ["audit"]


class ScheduleInput(StrictSerializer):
    """A scheduled export to set up, or what to change of one."""

    name = serializers.CharField(max_length=80)
    format = serializers.CharField(max_length=16, required=False, help_text=f"One of {', '.join(FORMATS)}.")
    filters = serializers.DictField(child=serializers.CharField(max_length=200), required=False)
    every = serializers.CharField(
        max_length=8, required=False, help_text="hourly, daily, weekly or monthly; daily unless told."
    )
    hour = serializers.IntegerField(required=False, help_text="0 to 23, UTC.")
    minute = serializers.IntegerField(required=False, help_text="0 to 59.")
    weekday = serializers.IntegerField(required=False, help_text="Of weekly ones: 0 is Monday.")
    day = serializers.IntegerField(required=False, help_text="Of monthly ones: 1 to 28.")
    endpoint = serializers.CharField(
        max_length=300,
        required=False,
        allow_blank=True,
        help_text="Such as https://minio.example.com:9000. Empty: Amazon's, of the region.",
    )
    region = serializers.CharField(max_length=64, required=False, allow_blank=True)
    bucket = serializers.CharField(max_length=63)
    prefix = serializers.CharField(max_length=512, required=False, allow_blank=True)
    access_key = serializers.CharField(max_length=128)
    secret_key = serializers.CharField(
        max_length=schedules.MAX_SECRET, required=False, allow_blank=True, write_only=True
    )
    enabled = serializers.BooleanField(required=False)


class ScheduleSerializer(serializers.Serializer[Any]):
    """A scheduled export. Of its secret key nothing is told."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    format = serializers.CharField()
    filters = serializers.DictField(child=serializers.CharField())
    every = serializers.ChoiceField(choices=ExportSchedule.Every.values)
    hour = serializers.IntegerField()
    minute = serializers.IntegerField()
    weekday = serializers.IntegerField()
    day = serializers.IntegerField()
    endpoint = serializers.CharField()
    region = serializers.CharField()
    bucket = serializers.CharField()
    prefix = serializers.CharField()
    access_key = serializers.CharField()
    enabled = serializers.BooleanField()
    covered_seq = serializers.IntegerField(help_text="The last record that a run was for.")
    next_at = serializers.DateTimeField(help_text="When the next run is due, if it is enabled.")
    words = serializers.SerializerMethodField(help_text="When it is due, in words.")

    @extend_schema_field({"type": "string"})
    def get_words(self, row: ExportSchedule) -> str:
        return describe_times(row)


ScheduleList = list_of(ScheduleSerializer, "ExportScheduleList")
RunList = list_of(ExportSerializer, "ExportRunList")


class SchedulesView(TenantView):
    """The scheduled exports of a team."""

    @extend_schema(
        operation_id="list_export_schedules", responses={200: ScheduleList, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List them by name."""
        return results(ScheduleSerializer(schedules.list_schedules(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="create_export_schedule",
        request=ScheduleInput,
        responses={201: ScheduleSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Set one up. Its first run is of the whole log so far."""
        row = schedules.create_schedule(self.read_input(ScheduleInput), caller=self.caller)
        return Response(ScheduleSerializer(row).data, status=201)


class ScheduleView(TenantView):
    """One scheduled export."""

    @extend_schema(
        operation_id="get_export_schedule", responses={200: ScheduleSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, schedule: str) -> Response:
        """Read one."""
        return Response(
            ScheduleSerializer(schedules.get_schedule(uuid_of(schedule), caller=self.caller)).data
        )

    @extend_schema(
        operation_id="change_export_schedule",
        request=ScheduleInput,
        responses={200: ScheduleSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, schedule: str) -> Response:
        """Change what is given. The secret key is given again where it would go to somewhere else."""
        given = self.read_input(ScheduleInput, partial=True)
        row = schedules.change_schedule(uuid_of(schedule), given, caller=self.caller)
        return Response(ScheduleSerializer(row).data)

    @extend_schema(operation_id="delete_export_schedule", responses={204: None, **problems()}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, schedule: str) -> Response:
        """Delete one. What it exported stays."""
        schedules.delete_schedule(uuid_of(schedule), caller=self.caller)
        return Response(status=204)


class ScheduleRunsView(TenantView):
    """The runs of a scheduled export."""

    @extend_schema(
        operation_id="list_export_schedule_runs", responses={200: RunList, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, schedule: str) -> Response:
        """List its newest runs, each an export."""
        rows = schedules.list_runs(uuid_of(schedule), caller=self.caller)
        return results(ExportSerializer(rows, many=True, context={"tenant": tenant}).data)

    @extend_schema(
        operation_id="run_export_schedule",
        request=None,
        responses={202: ExportSerializer, **problems()},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, schedule: str) -> Response:
        """Begin a run now, of what came since the last one."""
        export = schedules.run_schedule(uuid_of(schedule), caller=self.caller)
        tasks.enqueue_export(export)
        return Response(ExportSerializer(export, context={"tenant": tenant}).data, status=202)


class DeliverView(TenantView):
    """The way of a scheduled export into its bucket."""

    @extend_schema(
        operation_id="deliver_audit_export",
        request=None,
        responses={202: ExportSerializer, **problems(409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, export: str) -> Response:
        """Try once more to put a scheduled export into its bucket, after all tries have failed."""
        row = schedules.deliver_again(uuid_of(export), caller=self.caller)
        tasks.enqueue_delivery(row)
        return Response(ExportSerializer(row, context={"tenant": tenant}).data, status=202)
