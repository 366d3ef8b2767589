"""The editor of tools whose definition is JSON (pipelines, workflows …), of whatever kind their data source has."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from core.errors import MarinaError, NotFound
from frontend.forms.definitions import DefinitionForm, written
from frontend.pages import form_status, fragment, page
from frontend.saving import next_number, save_new_tool, save_version
from frontend.views.steps import callable_tools
from servers.execution.contract import ToolKind
from servers.models import Tool, ToolVersion
from servers.services.kinds import Kind, list_kinds
from servers.services.previews import draft_tool, preview_tool
from servers.services.sources import list_sources
from tenants.access import Caller


def editors() -> list[tuple[str, ToolKind, Kind]]:
    """Every kind of tool that teams define, once, with a kind of data source that it stands on."""
    found = [(name, each, kind) for kind in list_kinds() for name, each in kind.tool_kinds.items()]
    return list({editor[0]: editor for editor in reversed(found)}.values())[::-1]


def new_defined_tool(request: HttpRequest, caller: Caller, name: str) -> HttpResponse:
    """The editor for a new tool of this kind, with its sample in it. Raises ``NotFound`` for an unknown kind."""
    tool_kind, kind = _editor_of(name)
    sources = [source.name for source in list_sources(caller=caller) if source.kind == kind.name]
    initial = {**written(tool_kind.sample, tool_kind.text), "source": request.GET.get("source", "")}
    form = DefinitionForm(request.POST or None, sources=sources, text=tool_kind.text, initial=initial)
    saved = save_new_tool(request, caller, form, name, form.whole)
    if saved is not None:
        return saved
    context = {"form": form, "sources": sources, "kind": kind, "editors": editors()}
    return _page(request, caller, name, tool_kind, context)


def edit_defined_tool(request: HttpRequest, caller: Caller, tool: Tool, version: ToolVersion) -> HttpResponse:
    """The editor for a new version, which begins with this one."""
    tool_kind, _ = _editor_of(version.kind)
    initial = {
        "title": version.title,
        "description": version.description,
        **written(version.definition, tool_kind.text),
    }
    form = DefinitionForm(request.POST or None, sources=[], text=tool_kind.text, fixed=True, initial=initial)
    saved = save_version(request, caller, form, tool, form.whole)
    if saved is not None:
        return saved
    context = {"form": form, "tool": tool, "version": version, "next_number": next_number(caller, tool)}
    return _page(request, caller, version.kind, tool_kind, context)


def preview_defined_tool(request: HttpRequest, caller: Caller, name: str) -> HttpResponse:
    """What the definition in the editor gives, or each of its faults with its place. Saves nothing."""
    tool_kind, kind = _editor_of(name)
    sources = [source.name for source in list_sources(caller=caller) if source.kind == kind.name]
    form = DefinitionForm(request.POST, sources=sources, text=tool_kind.text)
    for field in form.fields.values():
        field.required = False
    context: dict[str, Any] = {"form": form}
    if form.is_valid():
        data = form.cleaned_data
        source = data["source"] or request.POST.get("for_source", "")
        called = data["name"] or request.POST.get("for_tool", "")
        try:
            context["offered"] = preview_tool(source, name, form.whole(), called, caller=caller)
        except MarinaError as error:
            context["refusal"] = error
    return fragment(request, caller, "tool_preview.html", context)


def draft_defined_tool(request: HttpRequest, caller: Caller, name: str) -> HttpResponse:
    """The field of the definition with what was pasted in it, or as it was with the reason. Saves nothing."""
    tool_kind, kind = _editor_of(name)
    sources = {source.name: source.id for source in list_sources(caller=caller) if source.kind == kind.name}
    source = sources.get(request.POST.get("source") or request.POST.get("for_source", ""))
    shown = {"definition": request.POST.get("definition", "")}
    context: dict[str, Any] = {"kind_name": name, "tool_kind": tool_kind}
    try:
        if source is None:
            raise NotFound("Choose a data source first.")
        draft = draft_tool(source, name, request.POST.get("pasted", ""), caller=caller)
        shown = written(draft.definition)
        context |= {"drafted": True, "notes": draft.notes}
    except MarinaError as error:
        context["draft_refusal"] = error
    context["form"] = DefinitionForm(sources=list(sources), initial=shown)
    return fragment(request, caller, "definition_field.html", context)


def is_defined_kind(name: str) -> bool:
    """Whether there is such a kind of tools."""
    return any(each == name for each, _, _ in editors())


def _editor_of(name: str) -> tuple[ToolKind, Kind]:
    for each, tool_kind, kind in editors():
        if each == name:
            return tool_kind, kind
    raise NotFound("There is no such kind of tool here. Choose one of the list.")


def _page(
    request: HttpRequest, caller: Caller, name: str, tool_kind: ToolKind, context: dict[str, Any]
) -> HttpResponse:
    shared: dict[str, Any] = {"kind_name": name, "tool_kind": tool_kind}
    if tool_kind.steps:
        tool = context.get("tool")
        shared["callable"] = callable_tools(caller, tool.name if tool is not None else "")
    status = form_status(context["form"])
    return page(request, caller, "definition_form.html", "tools", {**shared, **context}, status=status)
