"""Pages of prompts: list by source with a filter, detail, the switch, and the form of one's own."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import InvalidInput
from frontend.access import tenant_page
from frontend.confirm import confirmed
from frontend.forms.writing import PromptForm
from frontend.listing import filtered_list, offering_servers
from frontend.pages import form_status, page
from frontend.switch import switched, turned_on
from servers.services.handmade import (
    change_prompt,
    create_prompt,
    delete_prompt,
    prompt_definition,
)
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
    context = {
        "prompt": row,
        "servers": servers,
        "definition": prompt_definition(row),
        "delete_url": reverse("frontend:prompt_delete", args=[caller.tenant_slug, row.id]),
    }
    return page(request, caller, "prompt.html", "prompts", context)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def prompt_enabled(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """Offer a prompt or take it off every server; then back to where the switch was."""
    row = set_prompt_enabled(prompt_id, turned_on(request), caller=caller)
    return switched(request, caller, row.name, prompt_id, page="prompt", listing="prompts")


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def prompt_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for a prompt of the team's own."""
    form = PromptForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            row = create_prompt(form.definition(), caller=caller)
            messages.success(request, f"{row.name} is offered now.")
            return redirect("frontend:prompt", caller.tenant_slug, row.id)
    return page(request, caller, "prompt_form.html", "prompts", {"form": form}, status=form_status(form))


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def prompt_edit(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """The form to change a prompt of the team's own."""
    row = get_prompt(prompt_id, caller=caller)
    if row.brought:
        raise InvalidInput(
            "This prompt came with its data source and cannot be changed. Make one of your own."
        )
    stored = prompt_definition(row)
    form = PromptForm(request.POST or None, stored=stored)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            row = change_prompt(prompt_id, form.definition(), caller=caller)
            messages.success(request, f"{row.name} is saved.")
            return redirect("frontend:prompt", caller.tenant_slug, row.id)
    context = {"form": form, "prompt": row}
    return page(request, caller, "prompt_form.html", "prompts", context, status=form_status(form))


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def prompt_delete(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """Delete a prompt of the team's own whose name was typed."""
    row = get_prompt(prompt_id, caller=caller)
    if not confirmed(request, row.name):
        return redirect("frontend:prompt", caller.tenant_slug, prompt_id)
    delete_prompt(prompt_id, caller=caller)
    messages.success(request, f"{row.name} is deleted.")
    return redirect("frontend:prompts", caller.tenant_slug)
