"""Pages of prompts: list by source with a filter, detail, the switch, and the form of one's own."""

from __future__ import annotations

from operator import attrgetter
from typing import Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from frontend.access import tenant_page
from frontend.forms.writing import PromptForm
from frontend.views.writing import Input, Pages
from servers.models import Prompt
from servers.services.handmade import (
    change_prompt,
    create_prompt,
    delete_prompt,
    prompt_definition,
)
from servers.services.playground import try_prompt
from servers.services.prompts import get_prompt, list_prompts, set_prompt_enabled
from tenants.access import Caller
from tenants.roles import Action

BEFORE: Final = "argument-"
"""What the names of controls for arguments begin with."""


def _inputs(row: Prompt) -> list[Input]:
    return [
        Input(
            f"{BEFORE}{each['name']}",
            each["name"],
            required=bool(each.get("required")),
            help=str(each.get("description", "")),
        )
        for each in row.arguments
    ]


PAGES: Final[Pages[Prompt]] = Pages(
    noun="prompt",
    form=PromptForm,
    name=attrgetter("name"),
    texts=lambda row: (row.name, row.title, row.description),
    find=get_prompt,
    set_enabled=set_prompt_enabled,
    create=create_prompt,
    change=change_prompt,
    remove=delete_prompt,
    definition=prompt_definition,
    inputs=_inputs,
)


@require_safe
@tenant_page(Action.PROMPTS_READ)
def prompt_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every prompt that the filter leaves, grouped by its data source."""
    return PAGES.listing(request, caller, list_prompts(caller=caller))


@require_safe
@tenant_page(Action.PROMPTS_READ)
def prompt_page(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """One prompt: what clients are told of it, and who offers it."""
    return PAGES.show(request, caller, prompt_id)


@require_POST
@tenant_page(Action.PROMPTS_READ)
def prompt_try(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """Get a prompt as the person, by the one decision path, and show what came back."""
    given = {
        name.removeprefix(BEFORE): value
        for name, value in request.POST.items()
        if name.startswith(BEFORE) and isinstance(value, str) and value
    }
    server = request.POST.get("server") or "default"
    return PAGES.try_it(
        request, caller, prompt_id, lambda row: try_prompt(row.name, given, caller=caller, server_slug=server)
    )


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def prompt_enabled(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """Offer a prompt or take it off every server; then back to where the switch was."""
    return PAGES.switch(request, caller, prompt_id)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def prompt_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for a prompt of the team's own."""
    return PAGES.write_new(request, caller)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def prompt_edit(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """The form to change a prompt of the team's own."""
    return PAGES.write_change(request, caller, prompt_id)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def prompt_delete(request: HttpRequest, caller: Caller, prompt_id: UUID) -> HttpResponse:
    """Delete a prompt of the team's own whose name was typed."""
    return PAGES.delete(request, caller, prompt_id)
