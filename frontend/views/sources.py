"""Pages of data sources: list with health, add and edit with a test before saving, delete."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import Conflict
from frontend.access import tenant_page
from frontend.confirm import confirmed
from frontend.forms.building import SourceForm
from frontend.pages import fragment, page
from servers.execution.contract import Offering
from servers.models import DataSource
from servers.services.sources import (
    check_source_name,
    create_source,
    delete_source,
    get_source,
    list_sources,
    preview_offered,
    test_settings,
    test_source,
    update_source,
)
from servers.services.tools import list_tools
from tenants.access import Caller
from tenants.roles import Action

KIND = "postgres"


@require_safe
@tenant_page(Action.SOURCES_READ)
def source_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every source with its health, the reason, and how many tools stand on it."""
    counts: dict[UUID, int] = {}
    for tool in list_tools(caller=caller):
        counts[tool.source_id] = counts.get(tool.source_id, 0) + 1
    rows = [(source, counts.get(source.id, 0)) for source in list_sources(caller=caller)]
    return page(request, caller, "sources.html", "sources", {"rows": rows})


@sensitive_post_parameters("dsn")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SOURCES_CHANGE)
def source_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for a new source. What it says when tested is shown before anything is saved."""
    form = SourceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            source = create_source(form.cleaned_data["name"], KIND, form.settings(), caller=caller)
            _check_and_tell(request, source, caller)
            return redirect("frontend:source", caller.tenant_slug, source.id)
    return page(request, caller, "source_form.html", "sources", {"form": form}, status=_status(form))


@sensitive_post_parameters("dsn")
@require_POST
@tenant_page(Action.SOURCES_CHANGE)
def source_try(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Test what is in the form, and show the tools that it would bring. Saves nothing."""
    form = SourceForm(request.POST)
    if not form.data.get("name"):
        # A name is not needed to connect.
        form.fields["name"].required = False
    context: dict[str, Any] = {"form": form}
    if form.is_valid():
        settings, name = form.settings(), form.cleaned_data["name"]
        offered = None
        with form.refusals():
            offered = preview_offered(KIND, settings, caller=caller)
        if name:
            with form.refusals():
                check_source_name(name, Offering() if offered is None else offered, caller=caller)
        if offered is not None:
            with form.refusals():
                context["health"] = test_settings(KIND, settings, caller=caller)
                context["offered"] = offered
    return fragment(request, caller, "source_test.html", context)


@sensitive_post_parameters("dsn")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SOURCES_READ)
def source(request: HttpRequest, caller: Caller, source_id: UUID) -> HttpResponse:
    """One source: its health, settings (no secret) and tools; for editors the form to change it."""
    if request.method == "POST":
        caller.require(Action.SOURCES_CHANGE)
    row = get_source(source_id, caller=caller)
    form = SourceForm(request.POST or None, keep_settings=True, initial=_initial(row))
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            settings = form.settings() if form.cleaned_data["dsn"] else None
            row = update_source(source_id, name=form.cleaned_data["name"], settings=settings, caller=caller)
            if settings is None:
                messages.success(request, f"{row.name} is saved.")
            else:
                _check_and_tell(request, row, caller)
            return redirect("frontend:source", caller.tenant_slug, row.id)
    tools = [tool for tool in list_tools(caller=caller) if tool.source_id == row.id]
    context = {"source": row, "form": form, "tools": tools, "delete_url": _url("source_delete", caller, row)}
    return page(request, caller, "source.html", "sources", context, status=_status(form))


@require_POST
@tenant_page(Action.SOURCES_CHANGE)
def source_test(request: HttpRequest, caller: Caller, source_id: UUID) -> HttpResponse:
    """Connect now and say how that went."""
    _check_and_tell(request, get_source(source_id, caller=caller), caller)
    return redirect("frontend:source", caller.tenant_slug, source_id)


@require_POST
@tenant_page(Action.SOURCES_CHANGE)
def source_delete(request: HttpRequest, caller: Caller, source_id: UUID) -> HttpResponse:
    """Delete a source whose name was typed."""
    row = get_source(source_id, caller=caller)
    if not confirmed(request, row.name):
        return redirect("frontend:source", caller.tenant_slug, source_id)
    try:
        delete_source(source_id, caller=caller)
    except Conflict as fault:
        messages.error(request, f"Nothing was deleted. {fault.message}")
        return redirect("frontend:source", caller.tenant_slug, source_id)
    messages.success(request, f"Data source {row.name} and the tools that came with it are deleted.")
    return redirect("frontend:sources", caller.tenant_slug)


def _check_and_tell(request: HttpRequest, row: DataSource, caller: Caller) -> None:
    health = test_source(row.id, caller=caller)
    if health.state == "healthy":
        messages.success(request, f"{row.name} answers.")
    else:
        messages.error(request, f"{row.name} is {health.state}: {health.reason}")


def _initial(row: DataSource) -> dict[str, Any]:
    shown = row.settings
    return {
        "name": row.name,
        "schemas": " ".join(shown.get("schemas", [])),
        "row_limit": shown.get("row_limit", 1000),
        "statement_timeout": shown.get("statement_timeout", 10),
    }


def _url(route: str, caller: Caller, row: DataSource) -> str:
    return reverse(f"frontend:{route}", args=[caller.tenant_slug, row.id])


def _status(form: SourceForm) -> int:
    return 400 if form.is_bound and form.errors else 200
