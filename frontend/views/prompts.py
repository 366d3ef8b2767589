"""Pages of prompts: list by source with a filter, detail, and the switch."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from frontend.access import tenant_page
from frontend.listing import filtered_list, offering_servers
from frontend.pages import page
from frontend.switch import switched, turned_on
from servers.services.prompts import get_prompt, list_prompts, set_prompt_enabled
from servers.services.servers import list_servers
from tenants.access import Caller
from tenants.roles import Action


@require_safe
@tenant_page(Action.PROMPTS_READ)
def prompt_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every prompt that the filter leaves, grouped by its data source."""
    context = filtered_list(
        request.GET.get("q", ""),
        list_prompts(caller=caller),
        lambda row: (row.name, row.title, row.description),
    )
    context["switch_route"] = "frontend:prompt_enabled"
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
    row = set_prompt_enabled(prompt_id, turned_on(request), caller=caller)
    return switched(request, caller, row.name, prompt_id, page="prompt", listing="prompts")
