"""Pages of exports: start one, watch it, end it, run it again, download it, give it away by a link that ends."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import Conflict, Gone, InvalidInput, NotFound
from frontend.access import tenant_page
from frontend.numbers import read_number
from frontend.pages import fragment, page
from frontend.views.log import filter_choices, labelled_faults, read_query
from tenants.access import Caller
from tenants.api.exports import file_response, manifest_response
from tenants.api.serializers import link_path, public_url
from tenants.models import AuditExport
from tenants.models_exports import UNFINISHED
from tenants.roles import Action
from tenants.services.exports import (
    Link,
    cancel_export,
    describe_export,
    download_export,
    get_export,
    list_exports,
    make_link,
    open_manifest,
    repeat_export,
    start_export,
)
from tenants.tasks import enqueue_export

FORMATS: Final = (
    ("jsonl", "JSON Lines, which can be verified"),
    ("csv", "CSV, for spreadsheets"),
    ("parquet", "Parquet, for analysis"),
)
METADATA: Final = "metadata"
"""Asks for an export without what calls were given and gave."""

LINK_MINUTES: Final = (("15", "15 minutes"), ("60", "1 hour"), ("1440", "1 day"), ("10080", "7 days"))
_SECTION: Final = "exports"


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.AUDIT_READ)
def exports(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The list, and the form that starts an export of what the filters match."""
    error: InvalidInput | Conflict | None = None
    if request.method == "POST":
        try:
            with labelled_faults():
                query = asdict(read_query(request.POST))
                from_at, to_at = query.pop("from_at"), query.pop("to_at")
                chosen = {name: value for name, value in query.items() if value}
                wanted = request.POST.get("format", FORMATS[0][0])
                payloads = False if request.POST.get("contents") == METADATA else None
                export = start_export(wanted, from_at, to_at, chosen, payloads, caller=caller)
        except (InvalidInput, Conflict) as refusal:
            error = refusal
        else:
            enqueue_export(export)
            return redirect("frontend:exports", caller.tenant_slug)
    rows = _rows(caller)
    context = {
        "rows": rows,
        "unfinished": _any_unfinished(rows),
        "formats": FORMATS,
        "days": settings.ENV.exports_days,
        **filter_choices(caller),
        "given": request.POST or request.GET,
        "error": error,
    }
    return page(request, caller, "exports.html", _SECTION, context, status=200 if error is None else 400)


@require_safe
@tenant_page(Action.AUDIT_READ)
def exports_part(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The list alone, asked for again while something is unfinished."""
    rows = _rows(caller)
    return fragment(request, caller, "exports.html", {"rows": rows, "unfinished": _any_unfinished(rows)})


@require_safe
@tenant_page(Action.AUDIT_READ)
def export(request: HttpRequest, caller: Caller, export_id: UUID) -> HttpResponse:
    """One export: how far it is, its file, and what can be done with it."""
    return _export_page(request, caller, get_export(export_id, caller=caller))


@require_safe
@tenant_page(Action.AUDIT_READ)
def export_part(request: HttpRequest, caller: Caller, export_id: UUID) -> HttpResponse:
    """Its state alone, asked for again until it has ended; then the whole page is."""
    row = get_export(export_id, caller=caller)
    answer = fragment(request, caller, "export_state.html", _state(row))
    if row.status not in UNFINISHED:
        answer["HX-Refresh"] = "true"
    return answer


@require_POST
@tenant_page(Action.AUDIT_READ)
def export_cancel(request: HttpRequest, caller: Caller, export_id: UUID) -> HttpResponse:
    """End an export that waits or is being written."""
    try:
        cancel_export(export_id, caller=caller)
    except Conflict as late:
        messages.error(request, late.message)
    else:
        messages.success(request, "The export is cancelled, and what was written of it is deleted.")
    return redirect("frontend:export", caller.tenant_slug, export_id)


@require_POST
@tenant_page(Action.AUDIT_READ)
def export_again(request: HttpRequest, caller: Caller, export_id: UUID) -> HttpResponse:
    """Start a new export of the same."""
    try:
        row = repeat_export(export_id, caller=caller)
    except Conflict as refusal:
        messages.error(request, refusal.message)
        return redirect("frontend:export", caller.tenant_slug, export_id)
    enqueue_export(row)
    messages.success(request, "A new export of the same range, filters and format is started.")
    return redirect("frontend:export", caller.tenant_slug, row.id)


@require_POST
@tenant_page(Action.AUDIT_READ)
def export_link(request: HttpRequest, caller: Caller, export_id: UUID) -> HttpResponse:
    """Make a link, which is shown this once."""
    row = get_export(export_id, caller=caller)
    try:
        link = make_link(row.id, read_number(request.POST.get("minutes")) or 0, caller=caller)
    except (InvalidInput, Conflict, Gone) as refusal:
        return _export_page(request, caller, row, error=refusal, status=400)
    return _export_page(request, caller, row, link=link)


@require_safe
@tenant_page(Action.AUDIT_READ)
def export_download(request: HttpRequest, caller: Caller, export_id: UUID) -> StreamingHttpResponse:
    """The file, in pieces: an export can be larger than memory."""
    opened = download_export(export_id, caller=caller)
    return file_response(opened.export, caller.tenant_slug, opened.path)


@require_safe
@tenant_page(Action.AUDIT_READ)
def export_manifest(request: HttpRequest, caller: Caller, export_id: UUID) -> StreamingHttpResponse:
    """The manifest, as a file."""
    row = get_export(export_id, caller=caller)
    return manifest_response(row, caller.tenant_slug, open_manifest(export_id, caller=caller))


def _export_page(
    request: HttpRequest,
    caller: Caller,
    row: AuditExport,
    *,
    link: Link | None = None,
    error: Exception | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        **_state(row),
        "manifest": _has_manifest(row, caller),
        "minutes": LINK_MINUTES,
        "link": link,
        "link_url": public_url(link_path(link)) if link else "",
        "error": error,
    }
    return page(request, caller, "export.html", _SECTION, context, status=status)


def _state(row: AuditExport) -> dict[str, Any]:
    return {"export": row, "words": describe_export(row), "unfinished": row.status in UNFINISHED}


def _has_manifest(row: AuditExport, caller: Caller) -> bool:
    """Whether there is one: exports of former releases have none."""
    try:
        open_manifest(row.id, caller=caller)
    except (NotFound, Conflict, Gone):
        return False
    return True


def _rows(caller: Caller) -> list[tuple[AuditExport, str]]:
    return [(row, describe_export(row)) for row in list_exports(caller=caller)]


def _any_unfinished(rows: list[tuple[AuditExport, str]]) -> bool:
    return any(row.status in UNFINISHED for row, _ in rows)
