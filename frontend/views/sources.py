"""Pages of data sources: list with health, add and edit with a test before saving, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import Conflict, InvalidInput, NotFound, SourceError, Unavailable
from frontend.access import tenant_page
from frontend.confirm import confirmed
from frontend.forms.building import SourceForm
from frontend.forms.settings import SettingsForm, describe_facts, summarise_facts
from frontend.pages import form_status, fragment, page
from frontend.views.sign_ins import sign_in_targets
from servers.execution.contract import Offering
from servers.models import DataSource
from servers.services.hosted_notes import HostedSource
from servers.services.hosted_runs import show_hosted
from servers.services.kinds import Kind, find_kind, list_kinds
from servers.services.named_secrets import list_secrets
from servers.services.offerings import Refreshed
from servers.services.prompts import list_prompts
from servers.services.quarantine import list_quarantined
from servers.services.resources import list_resources
from servers.services.secret_references import secrets_set
from servers.services.sign_ins.browsing import find_sign_in
from servers.services.slow_statements import KeptStatement
from servers.services.source_checks import test_source
from servers.services.sources import (
    check_source_name,
    create_source,
    delete_source,
    get_source,
    list_slow_statements,
    list_sources,
    preview_offered,
    preview_refresh,
    refresh_source,
    test_settings,
    update_source,
)
from servers.services.tools import list_tools
from servers.services.upstreams import Upstream, list_upstreams
from tenants.access import Caller
from tenants.roles import Action

POSTGRES: Final = "postgres"
"""The kind that has a form of its own; every other one gets the form that its schema describes."""


@require_safe
@tenant_page(Action.SOURCES_READ)
def source_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every source with its health, the reason, and how many tools stand on it."""
    counts: dict[UUID, int] = {}
    for tool in list_tools(caller=caller):
        counts[tool.source_id] = counts.get(tool.source_id, 0) + 1
    kinds = {kind.name: kind for kind in list_kinds()}
    rows = [
        (source, kinds.get(source.kind), _target(source, kinds.get(source.kind)), counts.get(source.id, 0))
        for source in list_sources(caller=caller)
    ]
    context = {"rows": rows, "ready": _ready_to_add(rows, kinds, caller)}
    return page(request, caller, "sources.html", "sources", context)


@require_POST
@tenant_page(Action.SOURCES_CHANGE)
def source_add(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Add a source of a kind that has no settings, called as its kind is. For any other kind, the form."""
    kind = _kind_of(request)
    if kind.ready:
        try:
            row = create_source(kind.name, kind.name, {}, caller=caller)
        except (Conflict, InvalidInput) as fault:
            messages.error(request, f"Nothing was added. {fault.message}")
        else:
            _check_and_tell(request, row, caller)
            return redirect("frontend:source", caller.tenant_slug, row.id)
    return redirect(
        f"{reverse('frontend:source_new', args=[caller.tenant_slug])}?{urlencode({'kind': kind.name})}"
    )


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SOURCES_CHANGE)
def source_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The kinds to choose from, then the form of the chosen one. What it says when tested is shown before saving."""
    if request.method != "POST" and not request.GET.get("kind"):
        return page(request, caller, "source_kinds.html", "sources", {"kinds": list_kinds()})
    kind = _kind_of(request)
    form = _form(request, kind, caller)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            source = create_source(form.cleaned_data["name"], kind.name, form.settings(), caller=caller)
            _check_and_tell(request, source, caller)
            return redirect("frontend:source", caller.tenant_slug, source.id)
    context = {"form": form, "kind": kind}
    return page(request, caller, "source_form.html", "sources", context, status=form_status(form))


@sensitive_post_parameters()
@require_POST
@tenant_page(Action.SOURCES_CHANGE)
def source_try(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Test what is in the form, and show what it would bring. Saves nothing."""
    kind = _kind_of(request)
    form = _form(request, kind, caller)
    if not form.data.get("name"):
        # A name is not needed to connect.
        form.fields["name"].required = False
    context: dict[str, Any] = {"form": form, "kind": kind}
    if form.is_valid():
        settings, name = form.settings(), form.cleaned_data["name"]
        previewed: list[Offering] = []
        with form.refusals():
            previewed.append(preview_offered(kind.name, settings, caller=caller))
        if name:
            with form.refusals():
                check_source_name(name, kind.name, previewed[0] if previewed else Offering(), caller=caller)
        for offering in previewed:
            with form.refusals():
                context["health"] = test_settings(kind.name, settings, caller=caller)
                context["offering"] = offering
    return fragment(request, caller, "source_test.html", context)


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SOURCES_READ)
def source(request: HttpRequest, caller: Caller, source_id: UUID) -> HttpResponse:
    """One source: its health, settings (no secret) and what it brought; for editors the form to change it."""
    if request.method == "POST":
        caller.require(Action.SOURCES_CHANGE)
    row = get_source(source_id, caller=caller)
    kind = find_kind(row.kind)
    # Of a kind that is gone, nothing but the name can be changed, so there is no form.
    form = None if kind is None else _form(request, kind, caller, row)
    if form is not None and request.method == "POST" and form.is_valid():
        with form.refusals():
            settings = form.replacement()
            row = update_source(source_id, name=form.cleaned_data["name"], settings=settings, caller=caller)
            if settings is None:
                messages.success(request, f"{row.name} is saved.")
            else:
                _check_and_tell(request, row, caller)
            return redirect("frontend:source", caller.tenant_slug, row.id)
    signing_in = find_sign_in(row.id, caller=caller)
    context = {
        "signing_in": signing_in,
        "slow": _slow_statements(row, caller),
        "hosted": _hosted(row, caller),
        "upstreams": _upstreams(row, caller),
        "source": row,
        "quarantined": list_quarantined(row.id, caller=caller),
        "kind": kind,
        "facts": [] if kind is None else describe_facts(row.settings, kind, secrets_set(row, caller=caller)),
        "form": form,
        "tools": [tool for tool in list_tools(caller=caller) if tool.source_id == row.id],
        "resources": [each for each in list_resources(caller=caller) if each.source_id == row.id],
        "prompts": [each for each in list_prompts(caller=caller) if each.source_id == row.id],
        "takes_sql": row.kind == POSTGRES,
        "delete_url": _url("source_delete", caller, row),
    }
    response = page(request, caller, "source.html", "sources", context, status=form_status(form))
    if signing_in.by != "nobody":
        response.form_targets = sign_in_targets()  # type: ignore[attr-defined]
    return response


@require_POST
@tenant_page(Action.SOURCES_CHANGE)
def source_refresh(request: HttpRequest, caller: Caller, source_id: UUID) -> HttpResponse:
    """Take over what the source brings now, and say what changed.

    What would is shown first where others describe it, or where something ends by it that a server offers otherwise.
    Taken over is what was shown: where it is something else by then, that is shown.
    """
    row = get_source(source_id, caller=caller)
    kind = find_kind(row.kind)
    try:
        moves = kind is not None and (kind.describes_itself or kind.documents & row.settings.keys())
        seen = request.POST.get("fingerprint")
        if seen is None:
            found = preview_refresh(source_id, caller=caller)
            if (moves and found.differences) or any(each.ends for each in found.differences):
                return _differences(request, caller, row, found)
            seen = found.fingerprint
        try:
            done = refresh_source(source_id, fingerprint=seen, caller=caller)
        except Conflict as fault:
            if fault.code != "differences_moved":
                raise
            found = preview_refresh(source_id, caller=caller)
            if not found.differences:
                raise
            return _differences(request, caller, row, found, f"Nothing was changed. {fault.message}")
    except (Conflict, InvalidInput, SourceError) as fault:
        messages.error(request, f"Nothing was changed. {fault.message}")
    else:
        messages.success(request, _refreshed_words(row.name, done))
    return redirect("frontend:source", caller.tenant_slug, source_id)


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
    messages.success(request, f"Data source {row.name} and what came with it are deleted.")
    return redirect("frontend:sources", caller.tenant_slug)


def _ready_to_add(
    rows: Sequence[tuple[DataSource, *tuple[Any, ...]]], kinds: Mapping[str, Kind], caller: Caller
) -> list[tuple[Kind, list[str]]]:
    """Kinds that are added by one click and that the team has none of yet, each with the tools that it brings."""
    if not caller.may(Action.SOURCES_CHANGE):
        return []
    present = {row[0].kind for row in rows}
    ready = [kind for kind in kinds.values() if kind.ready and kind.name not in present]
    brings = [(kind, _tools_brought(kind, caller)) for kind in ready]
    # One that brings nothing by itself is made where it is first needed.
    return [(kind, tools) for kind, tools in brings if tools]


def _tools_brought(kind: Kind, caller: Caller) -> list[str]:
    """The tools that come with a kind without settings; none with a plugin that is not usable, which says so itself."""
    try:
        return [tool.name for tool in preview_offered(kind.name, {}, caller=caller).tools]
    except (InvalidInput, SourceError):
        return []


def _slow_statements(row: DataSource, caller: Caller) -> Sequence[KeptStatement]:
    """The newest that took long; none where the kind has none, or Redis is away: the page shows the rest."""
    if row.kind != POSTGRES and "slow_query_seconds" not in row.settings:
        return ()
    try:
        return list_slow_statements(row.id, caller=caller)
    except Unavailable:
        return ()


def _hosted(row: DataSource, caller: Caller) -> HostedSource | None:
    """How the source's command fares; ``None`` where it has none, or Redis is away: the page shows the rest."""
    if not row.is_hosted:
        return None
    try:
        return show_hosted(row.id, caller=caller)
    except Unavailable:
        return None


def _upstreams(row: DataSource, caller: Caller) -> Sequence[Upstream]:
    """The servers behind it, where there are several, or something is to be said of the one."""
    try:
        found = list_upstreams(row.id, caller=caller)
    except Unavailable:
        return ()
    return found if len(found) > 1 or any(each.processes for each in found) else ()


def _target(row: DataSource, kind: Kind | None) -> str:
    """What a source connects to, in one line, as far as it may be shown."""
    if row.kind == POSTGRES:
        return "{user}@{host}:{port}/{database}".format_map(row.settings)
    return "" if kind is None else summarise_facts(row.settings, kind)


def _check_and_tell(request: HttpRequest, row: DataSource, caller: Caller) -> None:
    health = test_source(row.id, caller=caller)
    if health.state == "healthy":
        messages.success(request, f"{row.name} answers.")
    elif health.state == "needs_sign_in":
        messages.warning(request, f"{row.name} needs a sign-in. {health.reason}")
    else:
        messages.error(request, f"{row.name} is {health.state}: {health.reason}")


def _kind_of(request: HttpRequest) -> Kind:
    """The kind that was chosen, PostgreSQL where none was. An unknown one raises ``NotFound``."""
    name = request.POST.get("kind") or request.GET.get("kind") or POSTGRES
    kind = find_kind(name)
    if kind is None:
        raise NotFound("There is no such kind of data source here. Choose one of the list.")
    return kind


def _form(
    request: HttpRequest, kind: Kind, caller: Caller, row: DataSource | None = None
) -> SourceForm | SettingsForm:
    """The form for a source of this kind: for a new one, or to change ``row``."""
    form: type[SourceForm] | type[SettingsForm] = SourceForm if kind.name == POSTGRES else SettingsForm
    offered = []
    if kind.secrets and caller.may(Action.SECRETS_CHANGE):
        offered = [each.name for each in list_secrets(caller=caller)]
    if row is None:
        return form(request.POST or None, kind=kind, offered=offered)
    initial = {"name": row.name}
    return form(request.POST or None, kind=kind, shown=row.settings, offered=offered, initial=initial)


def _differences(
    request: HttpRequest, caller: Caller, row: DataSource, found: Refreshed, refusal: str = ""
) -> HttpResponse:
    """The page that asks whether to take this over; ``refusal`` says why what was asked for was not done."""
    context = {"source": row, "found": found, "refusal": refusal}
    return page(request, caller, "source_refresh.html", "sources", context, status=409 if refusal else 200)


def _refreshed_words(name: str, done: Refreshed) -> str:
    told = {
        verb: [*names.tools, *names.resources, *names.prompts]
        for verb, names in (("added", done.added), ("changed", done.changed), ("removed", done.removed))
    }
    told["ended versions of"] = sorted({f"{each['tool']} on {each['server']}" for each in done.ended})
    parts = []
    for verb, each in told.items():
        if each:
            more = f" and {len(each) - 5} more" if len(each) > 5 else ""
            parts.append(f"{verb} {', '.join(each[:5])}{more}")
    return f"{name} is refreshed: {'; '.join(parts)}." if parts else f"{name} brings nothing new."


def _url(route: str, caller: Caller, row: DataSource) -> str:
    return reverse(f"frontend:{route}", args=[caller.tenant_slug, row.id])
