"""A plugin that puts its team's mark on all it sends, in every way there is to send something. For tests only."""

from __future__ import annotations

from pydantic import BaseModel

from marina.plugin import Context, Plugin, ToolError

BOARD = "mark://board"
STEPS = 3


class Settings(BaseModel):
    """``mark`` is the team's own word: seen by another team, something has crossed."""

    mark: str


class Reply(BaseModel):
    """What the client answers with."""

    reply: str


plugin = Plugin("marking", title="Marking", settings=Settings)


@plugin.tool(read_only=True)
async def work(payload: str, context: Context[Settings]) -> str:
    """Says at each step how far it is."""
    for step in range(1, STEPS + 1):
        await context.progress(step, STEPS, f"{context.settings.mark} {payload}")
        await context.log("warning", f"{context.settings.mark} {payload}")
    return payload


@plugin.tool(read_only=True)
async def ask(payload: str, context: Context[Settings]) -> str:
    """Asks the client for its own mark."""
    answer = await context.elicit("reply", f"{context.settings.mark} {payload}", Reply)
    if answer.content is None:
        raise ToolError("Nobody answered.")
    return f"{payload} {answer.content.reply}"


@plugin.tool(read_only=True)
async def touch(context: Context[Settings]) -> str:
    """Tells whoever subscribed that the board changed."""
    await context.resource_updated(BOARD)
    return context.settings.mark


@plugin.resource(BOARD)
async def board(context: Context[Settings]) -> str:
    """The same address in every team, and another text."""
    return context.settings.mark
