"""REST: how long the log is kept, legal holds, and tombstones of what was removed. Parses, calls one service,
answers.
"""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import StrictSerializer, TenantView, list_of, results, uuid_of
from tenants.api.problems import problems
from tenants.models_retention import MAX_DAYS, MIN_DAYS
from tenants.services import retention

_TAGS: Final = ["audit"]


class RetentionInput(StrictSerializer):
    """How long records are to be kept."""

    days = serializers.IntegerField(
        allow_null=True, help_text=f"{MIN_DAYS} to {MAX_DAYS}; null: for ever. What is older is removed."
    )


class RetentionSerializer(serializers.Serializer[Any]):
    """How the log is kept."""

    days = serializers.IntegerField(allow_null=True, help_text="Null: for ever.")
    removed = serializers.IntegerField(help_text="Records up to this number were removed; 0: none.")
    oldest_at = serializers.DateTimeField(allow_null=True, help_text="The time of the oldest record.")
    waits = serializers.CharField(
        help_text="Why something older than that is still there; empty: nothing is."
    )
    looked_at = serializers.DateTimeField(allow_null=True, help_text="When a worker last looked.")


class HoldInput(StrictSerializer):
    """What is to be kept, and why. Without times, the whole log."""

    reason = serializers.CharField(max_length=500)

    def get_fields(self) -> dict[str, Any]:
        # "from" is a word of Python, so these two cannot be attributes.
        return {
            **super().get_fields(),
            "from": serializers.DateTimeField(
                required=False, allow_null=True, default=None, help_text="Inclusive, RFC 3339."
            ),
            "to": serializers.DateTimeField(
                required=False, allow_null=True, default=None, help_text="Exclusive, RFC 3339."
            ),
        }


class HoldSerializer(serializers.Serializer[Any]):
    """A legal hold: while it stands, nothing of it is removed."""

    id = serializers.UUIDField()
    reason = serializers.CharField()
    placed_by = serializers.CharField()
    placed_at = serializers.DateTimeField()
    lifted_by = serializers.CharField()
    lifted_at = serializers.DateTimeField(allow_null=True, help_text="Null: it stands.")

    def get_fields(self) -> dict[str, Any]:
        return {
            **super().get_fields(),
            "from": serializers.DateTimeField(source="from_at", allow_null=True),
            "to": serializers.DateTimeField(source="to_at", allow_null=True),
        }


class LiftInput(StrictSerializer):
    """Nothing is to be said."""


class TombstoneSerializer(serializers.Serializer[Any]):
    """A signed statement that records were removed."""

    number = serializers.IntegerField(help_text="Counted from 1.")
    first = serializers.IntegerField(help_text="The number of the first record that was removed with it.")
    last = serializers.IntegerField(help_text="And of the last.")
    count = serializers.IntegerField()
    at = serializers.DateTimeField(help_text="When it was signed.")
    days = serializers.IntegerField(help_text="How long records were kept by then.")
    note = serializers.CharField(help_text="What was signed and its signature: a C2SP signed note.")


HoldList = list_of(HoldSerializer, "HoldList")
TombstoneList = list_of(TombstoneSerializer, "TombstoneList")


class RetentionView(TenantView):
    """How long a team's log is kept."""

    @extend_schema(
        operation_id="get_audit_retention", responses={200: RetentionSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str) -> Response:
        """Read how long the log is kept, and what of it was removed."""
        return Response(RetentionSerializer(retention.read_keeping(caller=self.caller)).data)

    @extend_schema(
        operation_id="set_audit_retention",
        request=RetentionInput,
        responses={200: RetentionSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str) -> Response:
        """Say how long the log is kept: by an owner, or a key with `admin` of one."""
        given = self.read_input(RetentionInput)
        retention.set_retention(given["days"], caller=self.caller)
        return Response(RetentionSerializer(retention.read_keeping(caller=self.caller)).data)


class HoldsView(TenantView):
    """The legal holds of a team's log."""

    @extend_schema(operation_id="list_audit_holds", responses={200: HoldList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the legal holds, newest first, with those that were lifted."""
        rows = retention.read_keeping(caller=self.caller).holds
        return results(HoldSerializer(rows, many=True).data)

    @extend_schema(
        operation_id="place_audit_hold",
        request=HoldInput,
        responses={201: HoldSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Place a legal hold on a time range, or on the whole log."""
        given = self.read_input(HoldInput)
        hold = retention.place_hold(given["reason"], given["from"], given["to"], caller=self.caller)
        return Response(HoldSerializer(hold).data, status=201)


class HoldLiftView(TenantView):
    """The end of a legal hold."""

    @extend_schema(
        operation_id="lift_audit_hold",
        request=LiftInput,
        responses={200: HoldSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, hold: str) -> Response:
        """Lift a legal hold. What it kept is removed when its time is over."""
        self.read_input(LiftInput)
        return Response(HoldSerializer(retention.lift_hold(uuid_of(hold), caller=self.caller)).data)


class TombstonesView(TenantView):
    """The tombstones of a team's log."""

    @extend_schema(
        operation_id="list_audit_tombstones", responses={200: TombstoneList, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List the newest signed statements of what was removed, newest first."""
        rows = retention.read_keeping(caller=self.caller).tombstones
        return results(TombstoneSerializer(rows, many=True).data)
