"""Pages of tools: list by source, detail with schema and versions, the SQL editor, and "try it"."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import InvalidInput, MarinaError
from core.strictjson import BadJson, read_json
from frontend.access import tenant_page
from frontend.arguments import argument_fields
from frontend.confirm import confirmed
from frontend.forms.building import PARAMETER_TYPES, Parameter, ToolForm, parameters_of
from frontend.forms.running import RunningForm
from frontend.forms.sharing import SharingForm
from frontend.listing import filtered_list, offering_servers
from frontend.pages import form_status, fragment, page
from frontend.saving import base_version, next_number, save_new_tool, save_version
from frontend.switch import switched, turned_on
from frontend.views.defined_tools import (
    draft_defined_tool,
    edit_defined_tool,
    editors,
    is_defined_kind,
    new_defined_tool,
    preview_defined_tool,
)
from servers.models import DataSource
from servers.services.caching import get_caching
from servers.services.kinds import Kind, find_kind, list_kinds
from servers.services.plans import explain_tool
from servers.services.playground import try_tool
from servers.services.previews import preview_tool
from servers.services.quarantine import find_quarantined_tool
from servers.services.served_versions import list_served_of
from servers.services.servers import list_servers
from servers.services.sources import list_sources
from servers.services.tool_running import get_running
from servers.services.tool_versions import list_versions, rollback_target
from servers.services.tools import (
    delete_tool,
    get_tool,
    is_published,
    list_tools,
    set_tool_enabled,
)
from tenants.access import Caller
from tenants.roles import Action

KIND: Final = "sql"

_SAMPLE_SQL: Final = """SELECT number, number * number AS square
FROM generate_series(1, :count) AS number"""
_SAMPLE_PARAMETER: Final = Parameter("count", "integer", "How many numbers", "5", required=False)
"""A sample that works on any database, to be replaced."""


@require_safe
@tenant_page(Action.TOOLS_READ)
def tool_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every tool that the filter leaves, grouped by its data source."""
    context = filtered_list(
        request.GET.get("q", ""),
        list_tools(caller=caller),
        lambda tool: (tool.name, tool.current.description if tool.current else ""),
    )
    return page(request, caller, "tools.html", "tools", context)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def tool_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The editor for a new tool of the chosen kind, with a sample in it: of SQL, where none was chosen."""
    name = request.POST.get("kind") or request.GET.get("kind") or KIND
    if name != KIND:
        return new_defined_tool(request, caller, name)
    on = _sql_sources(caller)
    sources = [source.name for source in on]
    initial = {"sql": _SAMPLE_SQL, "source": request.GET.get("source", "")}
    form = ToolForm(request.POST or None, sources=sources, initial=initial)
    saved = save_new_tool(request, caller, form, KIND, form.definition)
    if saved is not None:
        return saved
    rows = form.parameters if form.is_bound else [_SAMPLE_PARAMETER]
    context = {"sources": sources, "editors": editors(), "database": _database({row.kind for row in on})}
    return _editor(request, caller, form, rows, context)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def tool_edit(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """The editor for a new version of a tool."""
    tool = get_tool(tool_id, caller=caller)
    version = base_version(request, caller, tool)
    if version is None or tool.brought or not is_defined_kind(version.kind):
        raise InvalidInput("This tool came with its data source and cannot be edited. Make one of your own.")
    if version.kind != KIND:
        return edit_defined_tool(request, caller, tool, version)
    initial = {
        "title": version.title,
        "description": version.description,
        "sql": version.definition.get("sql", ""),
    }
    form = ToolForm(request.POST or None, sources=[], fixed=True, initial=initial)
    saved = save_version(request, caller, form, tool, partial(form.definition, version.definition))
    if saved is not None:
        return saved
    rows = form.parameters if form.is_bound else parameters_of(version.definition)
    context = {
        "tool": tool,
        "version": version,
        "next_number": next_number(caller, tool),
        "database": _database({tool.source.kind}),
    }
    return _editor(request, caller, form, rows, context)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def tool_preview(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The input schema that what is in the editor would give. Saves nothing."""
    if name := request.POST.get("kind"):
        return preview_defined_tool(request, caller, name)
    form = _draft(request, caller)
    context: dict[str, Any] = {}
    if form.is_valid():
        try:
            context["offered"] = preview_tool(_source_named(form), KIND, form.definition(), caller=caller)
        except MarinaError as error:
            context["refusal"] = error
    return fragment(request, caller, "tool_preview.html", context)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def tool_draft(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The editor's definition, made of what was pasted. Saves nothing."""
    return draft_defined_tool(request, caller, request.POST.get("kind", ""))


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def tool_plan(request: HttpRequest, caller: Caller) -> HttpResponse:
    """How the database would run what is in the editor. It does not run, and nothing is saved."""
    form = _draft(request, caller)
    context: dict[str, Any] = {}
    if form.is_valid():
        name = _source_named(form)
        source = next((each for each in list_sources(caller=caller) if each.name == name), None)
        try:
            if source is None:
                raise InvalidInput("Choose a data source first.")
            context["plan"] = explain_tool(source.id, form.definition(), caller=caller)
        except MarinaError as error:
            context["refusal"] = error
    return fragment(request, caller, "tool_plan.html", context)


@require_safe
@tenant_page(Action.TOOLS_READ)
def tool_page(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """One tool: "try it", its schema, its versions, and for editors what they can change."""
    return show_tool(request, caller, tool_id)


def show_tool(
    request: HttpRequest,
    caller: Caller,
    tool_id: UUID,
    form: SharingForm | None = None,
    *,
    running_form: RunningForm | None = None,
) -> HttpResponse:
    """The page of a tool; with a form that was refused, with what is wrong in it."""
    tool = get_tool(tool_id, caller=caller)
    caching = get_caching(tool_id, caller=caller)
    running = get_running(tool_id, caller=caller)
    refused = form_status(form or running_form)
    if caller.may(Action.TOOLS_CHANGE):
        form = form or SharingForm(caching=caching)
        running_form = running_form or RunningForm(running=running)
    schema = tool.current.input_schema if tool.current else {}
    versions = list_versions(tool_id, caller=caller)
    context = {
        "tool": tool,
        "quarantined": find_quarantined_tool(tool.name, caller=caller),
        "version": tool.current,
        "versions": versions,
        "rollback": rollback_target(versions, tool),
        "served": list_served_of(tool_id, caller=caller) if caller.may(Action.SERVERS_READ) else [],
        "try_version": None if is_published(tool.current) else tool.current and tool.current.number,
        "fields": argument_fields(schema),
        "servers": offering_servers(list_servers(caller=caller), tool.source_id),
        "editable": tool.current is not None and not tool.brought and is_defined_kind(tool.current.kind),
        "delete_url": reverse("frontend:tool_delete", args=[caller.tenant_slug, tool.id]),
        "caching": caching,
        "form": form,
        "running": running,
        "running_form": running_form,
    }
    return page(request, caller, "tool.html", "tools", context, status=refused)


@require_POST
@tenant_page(Action.TOOLS_CALL)
def tool_try(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """Run a tool on the arguments given as JSON, through the one decision path, and show what came back."""
    tool = get_tool(tool_id, caller=caller)
    context: dict[str, Any] = {"tool": tool}
    version = request.POST.get("version", "")[:9]
    try:
        arguments = _arguments(request.POST.get("arguments", ""))
        result = try_tool(
            tool.name,
            arguments,
            caller=caller,
            server_slug=request.POST.get("server") or "default",
            version=int(version) if version.isascii() and version.isdigit() else None,
        )
    except MarinaError as error:
        context["refusal"] = error
    else:
        context.update({"result": result, "table": _table(result.structured), "refusal": result.error})
    context["request_id"] = getattr(request, "request_id", "")
    return fragment(request, caller, "tool_result.html", context)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def tool_enabled(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """Offer a tool or take it off every server."""
    tool = set_tool_enabled(tool_id, turned_on(request), caller=caller)
    return switched(request, caller, tool.name, tool_id, page="tool", listing="tools")


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def tool_delete(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """Delete a tool whose name was typed."""
    tool = get_tool(tool_id, caller=caller)
    if not confirmed(request, tool.name):
        return redirect("frontend:tool", caller.tenant_slug, tool_id)
    delete_tool(tool_id, caller=caller)
    messages.success(request, f"Tool {tool.name} is deleted. The log keeps what it was.")
    return redirect("frontend:tools", caller.tenant_slug)


def _editor(
    request: HttpRequest, caller: Caller, form: ToolForm, rows: list[Parameter], context: dict[str, Any]
) -> HttpResponse:
    shared = {
        "form": form,
        "kind_name": KIND,
        "parameters": rows,
        "parameter_types": PARAMETER_TYPES,
    }
    return page(request, caller, "tool_form.html", "tools", {**shared, **context}, status=form_status(form))


def _draft(request: HttpRequest, caller: Caller) -> ToolForm:
    """The editor's form while it is filled in: nothing has to be there yet."""
    form = ToolForm(request.POST, sources=[source.name for source in _sql_sources(caller)])
    for field in form.fields.values():
        field.required = False
    return form


def _source_named(form: ToolForm) -> str:
    return str(form.cleaned_data["source"] or form.data.get("for_source", ""))


def _sql_sources(caller: Caller) -> list[DataSource]:
    kinds = {kind.name for kind in list_kinds() if KIND in kind.tool_kinds}
    return [source for source in list_sources(caller=caller) if source.kind in kinds]


def _database(kinds: set[str]) -> Kind | None:
    """The kind whose plans are shown; ``None`` where it may be one of several."""
    return find_kind(next(iter(kinds))) if len(kinds) == 1 else None


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = read_json(text.strip().encode("utf-8", "surrogatepass") or b"{}")
    except BadJson as fault:
        raise InvalidInput(
            f"The arguments are not JSON: {fault}. Mend the text on the right and run again."
        ) from None
    if not isinstance(value, dict):
        raise InvalidInput('The arguments must be a JSON object, like {"name": "value"}.')
    return value


def _table(structured: Any) -> dict[str, Any] | None:
    """A result's rows as a table, where it has any: ``rows`` of objects or lists, ``columns`` in their order."""
    if not isinstance(structured, dict):
        return None
    rows = structured.get("rows")
    if not isinstance(rows, list):
        return None
    columns = structured.get("columns")
    if isinstance(columns, list):
        names = [
            str(column.get("name", "")) if isinstance(column, dict) else str(column) for column in columns
        ]
    else:
        names = list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
    cells = [[row.get(name) for name in names] if isinstance(row, dict) else row for row in rows]
    if names and all(isinstance(row, list) for row in cells):
        return {"columns": names, "rows": cells}
    return None
