"""REST: checkpoints of the log, and verifications of it. Parses, calls one service, answers; a worker verifies."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import StrictSerializer, TenantView, list_of, results, uuid_of
from tenants.api.problems import problems
from tenants.api.serializers import public_url
from tenants.checkpoint_tasks import enqueue_verification
from tenants.models import AuditVerification
from tenants.services import checkpoints, verifications

_TAGS: Final = ["audit"]


class CheckpointSerializer(serializers.Serializer[Any]):
    """A signed statement of how far the log was."""

    number = serializers.IntegerField(help_text="Counted from 1.")
    records = serializers.IntegerField(help_text="The number of the newest record that it covers.")
    at = serializers.DateTimeField(help_text="When it was signed.")
    hash = serializers.CharField(help_text="Of that record, in hexadecimal.")
    note = serializers.CharField(help_text="What was signed and its signature: a C2SP signed note.")


class CheckpointQuery(StrictSerializer):
    """Which checkpoints."""

    before = serializers.IntegerField(
        required=False, min_value=1, max_value=2**63 - 1, help_text="From the previous page's `next`."
    )
    limit = serializers.IntegerField(
        default=checkpoints.DEFAULT_LIMIT, min_value=1, max_value=checkpoints.MAX_LIMIT
    )


class VerificationInput(StrictSerializer):
    """Nothing is to be said."""


class VerificationSerializer(serializers.Serializer[Any]):
    """Whether the log is whole. ``whole`` is null until the status is ``done``."""

    id = serializers.UUIDField()
    status = serializers.CharField(help_text=f"One of {', '.join(AuditVerification.Status.values)}.")
    requested_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    whole = serializers.BooleanField(allow_null=True)
    records = serializers.IntegerField(allow_null=True, help_text="How far the log fits: a record's number.")
    checkpoints = serializers.IntegerField(allow_null=True, help_text="Stored checkpoints that were read.")
    message = serializers.SerializerMethodField(help_text="Where it stands, or what was found, in sentences.")

    def get_message(self, row: AuditVerification) -> str:
        return verifications.describe_verification(row)


CheckpointList = list_of(CheckpointSerializer, "CheckpointList")
VerificationList = list_of(VerificationSerializer, "VerificationList")


class CheckpointsView(TenantView):
    """The checkpoints of a team's log."""

    @extend_schema(
        operation_id="list_audit_checkpoints",
        parameters=[CheckpointQuery],
        responses={200: CheckpointList, **problems(400)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List the signed checkpoints of the log, newest first. `next` is the address of the older ones."""
        asked = self.read_query(CheckpointQuery)
        page = checkpoints.list_checkpoints(
            caller=self.caller, before=asked.get("before"), limit=asked["limit"]
        )
        following = None
        if page.next_before is not None:
            query = urlencode({**request.query_params.dict(), "before": str(page.next_before)})
            following = public_url(f"/api/v1/tenants/{tenant}/audit/checkpoints?{query}")
        return results(CheckpointSerializer(page.checkpoints, many=True).data, next_url=following)


class VerificationsView(TenantView):
    """The verifications of a team's log."""

    @extend_schema(
        operation_id="list_audit_verifications",
        responses={200: VerificationList, **problems()},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List the newest verifications."""
        rows = verifications.list_verifications(caller=self.caller)
        return results(VerificationSerializer(rows, many=True).data)

    @extend_schema(
        operation_id="start_audit_verification",
        request=VerificationInput,
        responses={202: VerificationSerializer, **problems(400)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Have a worker walk the whole log and hold it against its checkpoints. One that waits still is given again."""
        self.read_input(VerificationInput)
        row = verifications.start_verification(caller=self.caller)
        enqueue_verification(row)
        return Response(VerificationSerializer(row).data, status=202)


class VerificationView(TenantView):
    """One verification of a team's log."""

    @extend_schema(
        operation_id="get_audit_verification",
        responses={200: VerificationSerializer, **problems()},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, verification: str) -> Response:
        """Read where a verification stands, and what was found."""
        row = verifications.get_verification(uuid_of(verification), caller=self.caller)
        return Response(VerificationSerializer(row).data)
