"""Saves what the editors of tools hold, whatever kind of tool each is for, and leads to the tool's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from frontend.forms.tools import ToolFields
from frontend.numbers import read_number
from servers.models import Tool, ToolVersion
from servers.services.tool_versions import get_version, list_versions
from servers.services.tools import change_tool, create_tool
from tenants.access import Caller

Definition = Callable[[], Mapping[str, Any]]
"""Gives what the tool is to do, once the form is known to be valid."""


def save_new_tool(
    request: HttpRequest, caller: Caller, form: ToolFields, kind: str, definition: Definition
) -> HttpResponse | None:
    """Make the tool; ``None`` where the form is to be shown, with what is wrong in it."""
    draft = bool(request.POST.get("draft"))
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        with form.refusals():
            tool = create_tool(
                data["name"],
                data["source"],
                kind,
                definition(),
                data["title"],
                data["description"],
                caller=caller,
                draft=draft,
            )
            if draft:
                messages.success(request, f"{tool.name} is kept as a draft. Publish it to have it offered.")
                return redirect("frontend:tool_version", caller.tenant_slug, tool.id, 1)
            messages.success(request, f"Tool {tool.name} is offered now. Try it below.")
            return redirect("frontend:tool", caller.tenant_slug, tool.id)
    return None


def save_version(
    request: HttpRequest, caller: Caller, form: ToolFields, tool: Tool, definition: Definition
) -> HttpResponse | None:
    """Give the tool a new version; ``None`` as of ``save_new_tool``."""
    draft = bool(request.POST.get("draft"))
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            changed = change_tool(
                tool.id,
                caller=caller,
                definition=definition(),
                title=form.cleaned_data["title"],
                description=form.cleaned_data["description"],
                based_on=read_number(request.POST.get("based_on", "")),
                draft=draft,
            )
            if draft:
                number = list_versions(tool.id, caller=caller)[0].number
                messages.success(
                    request, f"Version {number} is kept as a draft. Publish it to have it offered."
                )
                return redirect("frontend:tool_version", caller.tenant_slug, tool.id, number)
            number = changed.current.number if changed.current else 0
            messages.success(request, f"{tool.name} is at version {number}.")
            return redirect("frontend:tool", caller.tenant_slug, tool.id)
    return None


def base_version(request: HttpRequest, caller: Caller, tool: Tool) -> ToolVersion | None:
    """The version that an editor begins with: the one that was asked for, else the current one. Raises ``NotFound``."""
    given = read_number(request.POST.get("based_on") or request.GET.get("version", ""))
    return tool.current if given is None else get_version(tool.id, given, caller=caller)


def next_number(caller: Caller, tool: Tool) -> int:
    """The number that the next version gets."""
    return list_versions(tool.id, caller=caller)[0].number + 1
