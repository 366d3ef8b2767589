"""Pages of exports: start one, watch it, download it with its checksum."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_safe

from core.errors import InvalidInput
from core.threads import run_sync
from frontend.access import tenant_page
from frontend.pages import fragment, page
from frontend.views.log import filter_choices, labelled_faults, read_query
from tenants.access import Caller
from tenants.models import AuditExport
from tenants.roles import Action
from tenants.services.log import (
    describe_export,
    get_export,
    list_exports,
    name_export,
    open_export,
    start_export,
)
from tenants.tasks import enqueue_export

_CHUNK: Final = 256 * 1024
_UNFINISHED: Final = (AuditExport.Status.QUEUED, AuditExport.Status.RUNNING)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.AUDIT_READ)
def exports(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The list, and the form that starts an export of what the filters match."""
    error = None
    if request.method == "POST":
        try:
            with labelled_faults():
                query = asdict(read_query(request.POST))
                from_at, to_at = query.pop("from_at"), query.pop("to_at")
                chosen = {name: value for name, value in query.items() if value}
                export = start_export("jsonl", from_at, to_at, chosen, caller=caller)
        except InvalidInput as refusal:
            error = refusal
        else:
            enqueue_export(export)
            return redirect("frontend:exports", caller.tenant_slug)
    rows = _rows(caller)
    context = {
        "rows": rows,
        "unfinished": _any_unfinished(rows),
        **filter_choices(caller),
        "given": request.POST or request.GET,
        "error": error,
    }
    return page(request, caller, "exports.html", "exports", context, status=200 if error is None else 400)


@require_safe
@tenant_page(Action.AUDIT_READ)
def exports_part(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The list alone, asked for again while something is unfinished."""
    rows = _rows(caller)
    return fragment(request, caller, "exports.html", {"rows": rows, "unfinished": _any_unfinished(rows)})


@require_safe
@tenant_page(Action.AUDIT_READ)
def export_download(request: HttpRequest, caller: Caller, export_id: UUID) -> StreamingHttpResponse:
    """The file, in pieces: an export can be larger than memory."""
    export = get_export(export_id, caller=caller)
    path = open_export(export_id, caller=caller)
    response = StreamingHttpResponse(_pieces(path), content_type="application/x-ndjson")
    response["Content-Length"] = str(path.stat().st_size)
    name = name_export(export, caller.tenant_slug)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _rows(caller: Caller) -> list[tuple[AuditExport, str]]:
    return [(export, describe_export(export)) for export in list_exports(caller=caller)]


def _any_unfinished(rows: list[tuple[AuditExport, str]]) -> bool:
    return any(export.status in _UNFINISHED for export, _ in rows)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    file = await run_sync(path.open, "rb")
    try:
        while piece := await run_sync(file.read, _CHUNK):
            yield piece
    finally:
        file.close()
