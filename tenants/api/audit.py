"""REST: the records of the log. Parses, calls one service, answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import StrictSerializer, TenantView, number_of, results
from tenants.api.problems import problems
from tenants.api.serializers import (
    ReachedSerializer,
    RecordList,
    RecordQuery,
    RecordSerializer,
    public_url,
)
from tenants.services import log, originals

_TAGS = ["audit"]


class RevealInput(StrictSerializer):
    """Why somebody wants to see what a call was given and gave."""

    reason = serializers.CharField(max_length=log.MAX_REASON, help_text="It is recorded.")


class ConfirmInput(StrictSerializer):
    """Arguments that somebody says a call was given."""

    arguments = serializers.DictField(help_text="The whole of them, as they were before anything was masked.")


class ConfirmationSerializer(serializers.Serializer[Any]):
    """Whether a call was given just these arguments."""

    seq = serializers.IntegerField()
    matches = serializers.BooleanField()


class RecordsView(TenantView):
    """The records of a team's log."""

    @extend_schema(
        operation_id="list_audit_records",
        parameters=[RecordQuery],
        responses={200: RecordList, **problems(400)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str) -> Response:
        """Search the log, newest first. `next` is the address of the older ones; where `searched_back_to` is not null,
        they were not looked for yet, for want of time.
        """
        asked = self.read_query(RecordQuery)
        page = log.search_records(
            caller=self.caller,
            tool=asked.get("tool", ""),
            outcome=asked.get("outcome", ""),
            kind=asked.get("kind", ""),
            member=asked.get("member", ""),
            credential_id=asked.get("credential_id"),
            text=asked.get("text", ""),
            from_at=asked.get("from"),
            to_at=asked.get("to"),
            before_seq=asked.get("before"),
            limit=asked["limit"],
        )
        following = None
        if page.next_before is not None:
            query = {**request.query_params.dict(), "before": str(page.next_before)}
            following = public_url(f"/api/v1/tenants/{tenant}/audit/records?{urlencode(query)}")
        answer = results(RecordSerializer(page.records, many=True).data, next_url=following)
        reached = None if page.reached is None else {"seq": page.reached, "at": page.reached_at}
        answer.data["searched_back_to"] = reached and ReachedSerializer(reached).data
        return answer


class RecordView(TenantView):
    """One record of a team's log."""

    @extend_schema(
        operation_id="get_audit_record", responses={200: RecordSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, seq: str) -> Response:
        """Read one record by its number."""
        return Response(RecordSerializer(log.get_record(number_of(seq), caller=self.caller)).data)


class RevealView(TenantView):
    """What the call of one record was given and gave."""

    @extend_schema(
        operation_id="reveal_audit_record",
        request=RevealInput,
        responses={200: RecordSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, seq: str) -> Response:
        """Read one record with what is hidden of it from you. That you did is recorded, with the reason."""
        given = self.read_input(RevealInput)
        return Response(
            RecordSerializer(log.reveal_record(number_of(seq), given["reason"], caller=self.caller)).data
        )


class ConfirmView(TenantView):
    """Whether a call was given what somebody says."""

    @extend_schema(
        operation_id="confirm_audit_record",
        request=ConfirmInput,
        responses={200: ConfirmationSerializer, **problems(400, 409, 429)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, seq: str) -> Response:
        """Compare arguments that you were told with those that a call was given, before masking. It is recorded."""
        given = self.read_input(ConfirmInput)
        told = originals.confirm_original(number_of(seq), given["arguments"], caller=self.caller)
        return Response(ConfirmationSerializer(told).data)
