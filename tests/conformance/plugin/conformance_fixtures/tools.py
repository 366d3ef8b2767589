"""Tools of the scenarios tools-*, json-schema-2020-12, server-sse-polling, http-custom-header-*, server-stateless."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Final

from pydantic import Field

from conformance_fixtures.declared import PIXEL, SOUND, STEP_SECONDS, plugin
from marina.plugin import Audio, Context, EmbeddedResource, Image, Text, ToolError

SCHEMA_2020_12: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@plugin.tool(read_only=True)
async def test_simple_text() -> str:
    """Gives one line of text."""
    return "This is a simple text response for testing."


@plugin.tool(read_only=True)
async def test_image_content() -> Image:
    """Gives a picture."""
    return Image(PIXEL, "image/png")


@plugin.tool(read_only=True)
async def test_audio_content() -> Audio:
    """Gives a sound."""
    return Audio(SOUND, "audio/wav")


@plugin.tool(read_only=True)
async def test_embedded_resource() -> EmbeddedResource:
    """Gives a resource with its contents."""
    return EmbeddedResource("test://embedded-resource", "This is an embedded resource content.", "text/plain")


@plugin.tool(read_only=True)
async def test_multiple_content_types() -> list[Text | Image | EmbeddedResource]:
    """Gives text, a picture and a resource at once."""
    data = json.dumps({"test": "data", "value": 123})
    return [
        Text("Multiple content types test:"),
        Image(PIXEL, "image/png"),
        EmbeddedResource("test://mixed-content-resource", data, "application/json"),
    ]


@plugin.tool(read_only=True)
async def test_tool_with_logging(context: Context) -> str:
    """Sends three log messages while it works."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.log("info", message)
        await asyncio.sleep(STEP_SECONDS)
    return "Tool with logging executed successfully"


@plugin.tool(read_only=True)
async def test_tool_with_progress(context: Context) -> str:
    """Tells its progress three times."""
    for done in (0, 50, 100):
        await context.progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(STEP_SECONDS)
    return "Tool with progress executed successfully"


@plugin.tool(read_only=True)
async def test_error_handling() -> str:
    """Always fails."""
    raise ToolError("This tool intentionally returns an error for testing")


@plugin.tool(read_only=True)
async def test_reconnection(context: Context) -> str:
    """Lets go of the client's stream before it has a result: the client comes back for it (SEP-1699)."""
    await context.release_stream()
    await asyncio.sleep(2 * STEP_SECONDS)
    return (
        "Reconnection test completed successfully. If you received this, the client properly reconnected "
        "after stream closure."
    )


@plugin.tool(read_only=True, input_schema=SCHEMA_2020_12)
async def json_schema_2020_12_tool(arguments: dict[str, Any]) -> str:
    """Has an input schema with much of JSON Schema 2020-12 (SEP-1613, SEP-2106)."""
    return f"JSON Schema 2020-12 tool called with: {json.dumps(arguments)}"


@plugin.tool(read_only=True)
async def test_x_mcp_header(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
) -> str:
    """Has a parameter that clients mirror in the header Mcp-Param-Region (SEP-2243)."""
    return f"Region: {region}"


@plugin.tool(read_only=True)
async def test_logging_tool(context: Context) -> str:
    """Logs once; a client of 2026-07-28 that named no level must not hear of it."""
    await context.log("info", "Diagnostic trace logging activated")
    return "Logging evaluated"
