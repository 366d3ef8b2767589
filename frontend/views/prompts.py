"""Pages of prompts: list by source with a filter, detail, and the switch."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from frontend.access import tenant_page
from frontend.listing import group_by_source, matches, offering_servers
from frontend.pages import page
from servers.services.prompts import get_prompt, list_prompts, set_prompt_enabled
from servers.services.servers import list_servers
from tenants.access import Caller
from tenants.roles import Action


@require_safe
@tenant_page(Action.PROMPTS_READ)
def prompt_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every prompt that the filter leaves, grouped by its data source."""
    rows = list_prompts(caller=caller)
    words = request.GET.get("q", "").strip()
    shown = [row for row in rows if matches(words, row.name, row.title, row.description, row.source.name)]
    context = {"groups_of_rows": group_by_source(shown), "words": words, "any": bool(rows)}
    return page(request, caller, "prompts.html", "prompts", context)


@require_safe
@tenant_page(Action.PROMPTS_READ)
def prompt_page(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """One prompt: what clients are told of it, and who offers it."""
    row = get_prompt(prompt_id, caller=caller)
    servers = offering_servers(list_servers(caller=caller), row.source_id)
    return page(request, caller, "prompt.html", "prompts", {"prompt": row, "servers": servers})


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def prompt_enabled(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """Offer a prompt or take it off every server; then back to where the switch was."""
    enabled = request.POST.get("enabled") == "true"
    row = set_prompt_enabled(prompt_id, enabled, caller=caller)
    messages.success(request, f"{row.name} is {'offered' if enabled else 'no longer offered'}.")
    if request.POST.get("back") == "list":
        return redirect("frontend:prompts", caller.tenant_slug)
    return redirect("frontend:prompt", caller.tenant_slug, prompt_id)
