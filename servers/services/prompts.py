"""Prompts: stored as their sources bring them, shown, and switched. Renders no prompt."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from core.errors import NotFound
from servers.execution.contract import OfferedPrompt
from servers.models import Prompt
from servers.services.bounds import MAX_EXTRAS_BYTES, check_name, offered_fields
from servers.services.changes import publish_change
from servers.services.reach import within_servers
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import as_json, refuse
from tenants.services.recording import record_change

MAX_ARGUMENTS: Final = 50


def list_prompts(*, caller: Caller) -> list[Prompt]:
    """The prompts that the caller may see, by name, each with its source."""
    caller.require(Action.PROMPTS_READ)
    with tenant_scope(caller.tenant_id):
        return list(within_servers(Prompt.objects.select_related("source"), caller))


def get_prompt(prompt_id: UUID, *, caller: Caller) -> Prompt:
    """One prompt with its source. Raises ``NotFound``."""
    caller.require(Action.PROMPTS_READ)
    with tenant_scope(caller.tenant_id):
        return access_prompt(prompt_id, caller)


def set_prompt_enabled(prompt_id: UUID, enabled: bool, *, caller: Caller) -> Prompt:
    """Offer a prompt, or take it off every server without losing it. Raises ``NotFound``."""
    caller.require(Action.TOOLS_CHANGE)
    if not isinstance(enabled, bool):
        refuse("enabled", "must be true or false.")
    with tenant_scope(caller.tenant_id):
        prompt = access_prompt(prompt_id, caller, lock=True)
        if prompt.enabled == enabled:
            return prompt
        before = shown_prompt(prompt)
        prompt.enabled = enabled
        prompt.save(update_fields=["enabled"])
        publish_change(caller.tenant_id)
        kind = "prompt.enabled" if enabled else "prompt.disabled"
        record_change(kind, caller=caller, before=before, after=shown_prompt(prompt))
    return prompt


def prompt_fields(name: str, offered: OfferedPrompt, description: str) -> dict[str, Any]:
    """What is stored of an offered prompt besides its source. Raises ``InvalidInput`` naming the prompt."""
    path = f"prompts.{name[:80]}"
    check_name(name, path)
    arguments, icons = as_json(
        [[dict(each) for each in offered.arguments], [dict(icon) for icon in offered.icons]],
        path,
        largest=MAX_EXTRAS_BYTES,
    )
    if len(arguments) > MAX_ARGUMENTS:
        refuse(path, f"has {len(arguments)} arguments; at most {MAX_ARGUMENTS} are allowed.")
    if any(not isinstance(each.get("name"), str) or not each["name"] for each in arguments):
        refuse(path, "has an argument without a name.")
    return {
        "name": name,
        **offered_fields(offered, path, description),
        "arguments": arguments,
        "icons": icons,
    }


def access_prompt(prompt_id: UUID, caller: Caller, *, lock: bool = False) -> Prompt:
    rows = within_servers(Prompt.objects.select_related("source"), caller).filter(pk=prompt_id)
    prompt = (rows.select_for_update(of=("self",)) if lock else rows).first()
    if prompt is None:
        raise NotFound("There is no such prompt in this team.", code="prompt_not_found")
    return prompt


def shown_prompt(prompt: Prompt) -> dict[str, Any]:
    return {
        "id": str(prompt.id),
        "name": prompt.name,
        "source": prompt.source.name,
        "enabled": prompt.enabled,
    }
