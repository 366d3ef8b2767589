"""REST: exports of the log. Parses, calls one service, answers; a worker makes the files."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from django.conf import settings
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.clientaddress import address_of_meta
from tenants import tasks
from tenants.api.base import ApiView, TenantView, results, shown_once, uuid_of
from tenants.api.problems import problems
from tenants.api.serializers import ExportInput, ExportList, ExportSerializer, LinkInput, LinkSerializer
from tenants.exports.formats import FORMATS
from tenants.models import AuditExport
from tenants.services import exports

MANIFEST_TYPE: Final = "application/json"
_CHUNK_BYTES: Final = 256 * 1024
_TAGS = ["audit"]
_FILES = {(200, form.media_type): OpenApiTypes.BINARY for form in FORMATS.values()}
_MANIFEST = {(200, MANIFEST_TYPE): OpenApiTypes.OBJECT}


class ExportsView(TenantView):
    """The exports of a team's log."""

    @extend_schema(operation_id="list_audit_exports", responses={200: ExportList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the newest exports."""
        rows = exports.list_exports(caller=self.caller)
        return results(ExportSerializer(rows, many=True, context={"tenant": tenant}).data)

    @extend_schema(
        operation_id="start_audit_export",
        request=ExportInput,
        responses={202: ExportSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Start an export. A worker writes the file; ask for the export until it is done, failed or cancelled.

        At most five of a team are unfinished at a time.
        """
        given = self.read_input(ExportInput)
        export = exports.start_export(
            format=given["format"],
            from_at=given["from"],
            to_at=given["to"],
            filters=given.get("filters"),
            payloads=given.get("payloads"),
            caller=self.caller,
        )
        tasks.enqueue_export(export)
        return _told(export, tenant, status=202)


class ExportView(TenantView):
    """One export of a team's log."""

    @extend_schema(
        operation_id="get_audit_export", responses={200: ExportSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, export: str) -> Response:
        """Read where an export stands."""
        return _told(exports.get_export(uuid_of(export), caller=self.caller), tenant)


class ExportCancelView(TenantView):
    """The end of an export that is not finished."""

    @extend_schema(
        operation_id="cancel_audit_export",
        request=None,
        responses={200: ExportSerializer, **problems(409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, export: str) -> Response:
        """Cancel an export that waits or is being written. Its files are deleted."""
        return _told(exports.cancel_export(uuid_of(export), caller=self.caller), tenant)


class ExportAgainView(TenantView):
    """An export once more."""

    @extend_schema(
        operation_id="repeat_audit_export",
        request=None,
        responses={202: ExportSerializer, **problems(409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, export: str) -> Response:
        """Start a new export of the same range, filters and format."""
        row = exports.repeat_export(uuid_of(export), caller=self.caller)
        tasks.enqueue_export(row)
        return _told(row, tenant, status=202)


class ExportDownloadView(TenantView):
    """The file of one export."""

    @extend_schema(
        operation_id="download_audit_export", responses={**_FILES, **problems(409, 410)}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, export: str) -> StreamingHttpResponse:
        """Download a finished export. `Repr-Digest` (RFC 9530) carries its SHA-256."""
        opened = exports.download_export(uuid_of(export), caller=self.caller)
        return file_response(opened.export, tenant, opened.path)


class ExportManifestView(TenantView):
    """The manifest of one export."""

    @extend_schema(
        operation_id="get_audit_export_manifest", responses={**_MANIFEST, **problems(409, 410)}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, export: str) -> StreamingHttpResponse:
        """Download the manifest of a finished export: what its file holds, and what it leaves out."""
        row = exports.get_export(uuid_of(export), caller=self.caller)
        return manifest_response(row, tenant, exports.open_manifest(row.id, caller=self.caller))


class ExportLinksView(TenantView):
    """Links to one export."""

    @extend_schema(
        operation_id="make_audit_export_link",
        request=LinkInput,
        responses={201: LinkSerializer, **problems(400, 409, 410)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, export: str) -> Response:
        """Make a link that downloads a finished export until it ends, without a key. Each use is in the log."""
        given = self.read_input(LinkInput)
        link = exports.make_link(uuid_of(export), given["expires_in_minutes"], caller=self.caller)
        return shown_once(LinkSerializer(link))


class LinkedDownloadView(ApiView):
    """What a link downloads. The link is all that is asked for."""

    authentication_classes = []
    permission_classes = []

    @extend_schema(
        operation_id="download_linked_export", auth=[], responses={**_FILES, **problems(410)}, tags=_TAGS
    )
    def get(self, request: Request, token: str) -> StreamingHttpResponse:
        """Download the export that a link was made for."""
        opened = exports.open_link(token, address=_address(request))
        return file_response(opened.export, opened.tenant_slug, opened.path)


class LinkedManifestView(ApiView):
    """The manifest of what a link downloads."""

    authentication_classes = []
    permission_classes = []

    @extend_schema(
        operation_id="get_linked_export_manifest",
        auth=[],
        responses={**_MANIFEST, **problems(410)},
        tags=_TAGS,
    )
    def get(self, request: Request, token: str) -> StreamingHttpResponse:
        """Download the manifest of the export that a link was made for."""
        opened = exports.open_link(token, address=_address(request), manifest=True)
        return manifest_response(opened.export, opened.tenant_slug, opened.path)


def file_response(export: AuditExport, tenant: str, path: Path) -> StreamingHttpResponse:
    """The file of an export, in pieces: it can be larger than memory."""
    digest = base64.b64encode(bytes.fromhex(export.sha256)).decode()
    more = {"Repr-Digest": f"sha-256=:{digest}:", "X-Content-SHA256": export.sha256}
    name = exports.name_export(export, tenant)
    return _streamed(path, name, FORMATS[export.format].media_type, more)


def manifest_response(export: AuditExport, tenant: str, path: Path) -> StreamingHttpResponse:
    """The manifest of an export, as a file."""
    return _streamed(path, exports.name_manifest(export, tenant), MANIFEST_TYPE, {})


def _told(export: AuditExport, tenant: str, *, status: int = 200) -> Response:
    return Response(ExportSerializer(export, context={"tenant": tenant}).data, status=status)


def _address(request: Request) -> str:
    return address_of_meta(request.META, settings.ENV.trusted_proxies)


def _streamed(path: Path, name: str, media_type: str, more: dict[str, str]) -> StreamingHttpResponse:
    return StreamingHttpResponse(
        _chunks(path),
        content_type=media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Length": str(path.stat().st_size),
            "Cache-Control": "no-store",
            **more,
        },
    )


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    """The file in pieces: under ASGI a plain iterator would be read into memory whole."""
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk
