"""Saves what the editors of tools hold, whatever kind of tool each is for, and leads to the tool's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from frontend.forms.tools import ToolFields
from servers.models import Tool
from servers.services.tools import change_tool, create_tool
from tenants.access import Caller

Definition = Callable[[], Mapping[str, Any]]
"""Gives what the tool is to do, once the form is known to be valid."""


def save_new_tool(
    request: HttpRequest, caller: Caller, form: ToolFields, kind: str, definition: Definition
) -> HttpResponse | None:
    """Make the tool; ``None`` where the form is to be shown, with what is wrong in it."""
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
            )
            messages.success(request, f"Tool {tool.name} is offered now. Try it below.")
            return redirect("frontend:tool", caller.tenant_slug, tool.id)
    return None


def save_version(
    request: HttpRequest, caller: Caller, form: ToolFields, tool: Tool, definition: Definition
) -> HttpResponse | None:
    """Give the tool a new version; ``None`` as of ``save_new_tool``."""
    if request.method == "POST" and form.is_valid():
        based_on = request.POST.get("based_on", "")
        with form.refusals():
            changed = change_tool(
                tool.id,
                caller=caller,
                definition=definition(),
                title=form.cleaned_data["title"],
                description=form.cleaned_data["description"],
                based_on=int(based_on) if based_on.isascii() and based_on.isdigit() else None,
            )
            number = changed.current.number if changed.current else 0
            messages.success(request, f"{tool.name} is at version {number}.")
            return redirect("frontend:tool", caller.tenant_slug, tool.id)
    return None
