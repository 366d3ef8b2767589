"""Resources of the scenarios resources-*, and a tool that tells of a change to one of them."""

from __future__ import annotations

import json
from typing import Final

from conformance_fixtures.declared import PIXEL, plugin
from marina.plugin import Context

WATCHED: Final = "test://watched-resource"


@plugin.resource(
    "test://static-text", name="static-text", title="Static Text Resource", mime_type="text/plain"
)
async def static_text() -> str:
    """A static text resource for testing."""
    return "This is the content of the static text resource."


@plugin.resource(
    "test://static-binary", name="static-binary", title="Static Binary Resource", mime_type="image/png"
)
async def static_binary() -> bytes:
    """A static binary resource (a picture) for testing."""
    return PIXEL


@plugin.template(
    "test://template/{id}/data", name="template", title="Resource Template", mime_type="application/json"
)
async def template(id: str) -> str:  # noqa: A002 - the scenario's variable
    """A template whose variable shows in what is read."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@template.complete("id")
async def ids(value: str) -> list[str]:
    return [each for each in ("123", "124", "456") if each.startswith(value)]


@plugin.resource(WATCHED, name="watched-resource", title="Watched Resource", mime_type="text/plain")
async def watched() -> str:
    """A resource to subscribe to."""
    return "Watched resource content"


@plugin.tool(read_only=True)
async def test_update_watched_resource(context: Context) -> str:
    """Tells those who subscribed that the watched resource changed."""
    await context.resource_updated(WATCHED)
    return f"Updated {WATCHED}"
