"""REST: the records of the log. Parses, calls one service, answers."""

from __future__ import annotations

from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import TenantView, number_of, results
from tenants.api.problems import problems
from tenants.api.serializers import (
    RecordList,
    RecordQuery,
    RecordSerializer,
    public_url,
)
from tenants.services import log

_TAGS = ["audit"]


class RecordsView(TenantView):
    """The records of a team's log."""

    @extend_schema(
        operation_id="list_audit_records",
        parameters=[RecordQuery],
        responses={200: RecordList, **problems(400)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str) -> Response:
        """Search the log, newest first. `next` is the address of the older ones."""
        asked = self.read_query(RecordQuery)
        page = log.search_records(
            caller=self.caller,
            tool=asked.get("tool", ""),
            outcome=asked.get("outcome", ""),
            kind=asked.get("kind", ""),
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
        return results(RecordSerializer(page.records, many=True).data, next_url=following)


class RecordView(TenantView):
    """One record of a team's log."""

    @extend_schema(
        operation_id="get_audit_record", responses={200: RecordSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, seq: str) -> Response:
        """Read one record by its number."""
        return Response(RecordSerializer(log.get_record(number_of(seq), caller=self.caller)).data)
