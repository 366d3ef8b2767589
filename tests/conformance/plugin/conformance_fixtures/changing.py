"""Tools that change what their own server offers, by REST as an admin would: server-stateless listens for it."""

from __future__ import annotations

from typing import Any

import httpx2

from conformance_fixtures.declared import Settings, plugin
from marina.plugin import Context, ToolError


@plugin.tool()
async def test_changing_tool() -> str:
    """Comes and goes."""
    return "Here at the moment"


@plugin.prompt()
async def test_changing_prompt() -> str:
    """Comes and goes."""
    return "Here at the moment"


@plugin.tool()
async def test_trigger_tool_change(context: Context[Settings]) -> str:
    """Switches test_changing_tool off, or on again."""
    return await _switch(context, "tools", "test_changing_tool")


@plugin.tool()
async def test_trigger_prompt_change(context: Context[Settings]) -> str:
    """Switches test_changing_prompt off, or on again."""
    return await _switch(context, "prompts", "test_changing_prompt")


async def _switch(context: Context[Settings], what: str, name: str) -> str:
    settings = context.settings
    if not settings.api_url:
        raise ToolError("The settings name no api_url: nothing was changed.")
    async with httpx2.AsyncClient(
        base_url=f"{settings.api_url.rstrip('/')}/api/v1/tenants/{context.caller.team}/",
        headers={"Authorization": f"Bearer {settings.admin_key.get_secret_value()}"},
        trust_env=False,
        timeout=60,
    ) as client:
        found = await _find(client, what, name)
        answer = await client.patch(f"{what}/{found['id']}", json={"enabled": not found["enabled"]})
        answer.raise_for_status()
    return "Mutation triggered"


async def _find(client: httpx2.AsyncClient, what: str, name: str) -> dict[str, Any]:
    answer = await client.get(what)
    answer.raise_for_status()
    for each in answer.json()["results"]:
        # Its name has a prefix where another source had the name before.
        if str(each["name"]).endswith(name):
            return dict(each)
    message = f"There is no {name}."
    raise ToolError(message)
