"""What real clients are shown by Marina's tests, as a plugin: one thing of each kind, and calls that ask or wait."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from marina.plugin import Context, Message, Plugin, ResourceNotFound

plugin = Plugin("pilots", title="Pilots")

PILOTS = {"ada": "Vlissingen", "emil": "Ærøskøbing"}


class Name(BaseModel):
    """The form of ask_name."""

    name: str = Field(description="What you are called")


@plugin.tool(read_only=True)
async def count_to(number: Annotated[int, Field(ge=1, le=9)], context: Context) -> str:
    """Count, and tell of each step."""
    for step in range(1, number + 1):
        await context.progress(step, number, f"step {step}")
    # The TypeScript SDKs lose a step that arrives in one piece with the answer.
    await asyncio.sleep(1)
    return f"Counted to {number}"


@plugin.tool(read_only=True)
async def wait(marker: str) -> str:
    """Make a file, and wait until the call is cancelled. The file then says so."""
    _write(marker, "waiting")
    try:
        await asyncio.Event().wait()
    finally:
        _write(marker, "cancelled")
    return "Nobody cancelled"


def _write(marker: str, text: str) -> None:
    Path(marker).write_text(text)


@plugin.tool(read_only=True)
async def ask_name(context: Context) -> str:
    """Ask the person for a name, by a form."""
    answer = await context.elicit("name", "What is your name?", Name)
    return f"Ahoy, {answer.content.name}!" if answer.content else f"They chose to {answer.action}."


@plugin.tool(read_only=True)
async def ask_model(context: Context) -> str:
    """Ask the client's model for a word."""
    sampled = await context.sample("word", "Say a word of the sea.", max_tokens=20)
    return f"The model said: {sampled.text}"


@plugin.tool(read_only=True)
async def touch(context: Context) -> str:
    """Tell those who subscribed to all pilots that they changed."""
    await context.resource_updated("pilots://all")
    return "Touched"


@plugin.resource("pilots://all", title="All pilots")
async def pilots() -> dict[str, str]:
    """Each pilot's harbour."""
    return PILOTS


@plugin.template("pilots://{name}/harbour", title="A pilot's harbour", mime_type="text/plain")
async def harbour(name: str) -> str:
    """Where a pilot works."""
    if name not in PILOTS:
        raise ResourceNotFound(name)
    return PILOTS[name]


@plugin.prompt(title="Plan a voyage")
async def voyage(harbour: Annotated[str, Field(description="Where to")], days: str = "3") -> list[Message]:
    """Ask the model for a plan."""
    return [
        Message(f"Plan a voyage of {days} days to {harbour}."),
        Message("Gladly. With which ship?", role="assistant"),
    ]
