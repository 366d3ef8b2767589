"""REST: the log and its exports. Parses, calls one service, answers; a worker makes the exports."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import tasks
from tenants.api.base import TenantView, number_of, results, uuid_of
from tenants.api.problems import problems
from tenants.api.serializers import (
    ExportInput,
    ExportList,
    ExportSerializer,
    RecordList,
    RecordQuery,
    RecordSerializer,
    public_url,
)
from tenants.services import log

JSON_LINES: Final = "application/x-ndjson"
_CHUNK_BYTES: Final = 256 * 1024
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


class ExportsView(TenantView):
    """The exports of a team's log."""

    @extend_schema(operation_id="list_audit_exports", responses={200: ExportList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the newest exports."""
        rows = log.list_exports(caller=self.caller)
        return results(ExportSerializer(rows, many=True, context={"tenant": tenant}).data)

    @extend_schema(
        operation_id="start_audit_export",
        request=ExportInput,
        responses={202: ExportSerializer, **problems(400)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Start an export. A worker writes the file; ask for the export until its status is done or failed."""
        given = self.read_input(ExportInput)
        export = log.start_export(
            format=given["format"],
            from_at=given["from"],
            to_at=given["to"],
            filters=given.get("filters"),
            caller=self.caller,
        )
        tasks.enqueue_export(export)
        return Response(ExportSerializer(export, context={"tenant": tenant}).data, status=202)


class ExportView(TenantView):
    """One export of a team's log."""

    @extend_schema(
        operation_id="get_audit_export", responses={200: ExportSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, export: str) -> Response:
        """Read where an export stands."""
        row = log.get_export(uuid_of(export), caller=self.caller)
        return Response(ExportSerializer(row, context={"tenant": tenant}).data)


class DownloadView(TenantView):
    """The file of one export."""

    @extend_schema(
        operation_id="download_audit_export",
        responses={(200, JSON_LINES): OpenApiTypes.BINARY, **problems(409)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, export: str) -> StreamingHttpResponse:
        """Download a finished export. `Repr-Digest` (RFC 9530) carries its SHA-256."""
        row = log.get_export(uuid_of(export), caller=self.caller)
        path = log.open_export(row.id, caller=self.caller)
        digest = base64.b64encode(bytes.fromhex(row.sha256)).decode()
        return StreamingHttpResponse(
            _chunks(path),
            content_type=JSON_LINES,
            headers={
                "Content-Disposition": f'attachment; filename="{log.name_export(row, tenant)}"',
                "Content-Length": str(path.stat().st_size),
                "Repr-Digest": f"sha-256=:{digest}:",
                "X-Content-SHA256": row.sha256,
                "Cache-Control": "no-store",
            },
        )


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    """The file in pieces: under ASGI a plain iterator would be read into memory whole."""
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk
