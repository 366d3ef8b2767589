"""Tools with effects that can be counted, and tools that harm who runs them, as a plugin."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pydantic import BaseModel, Field

from marina.plugin import Context, Plugin


class Settings(BaseModel):
    """Where effects are counted."""

    folder: str = Field(description="Holds the file of effects")


plugin = Plugin("faults", title="Faults", settings=Settings)

MEBIBYTE = 1 << 20


def _take_effect(context: Context[Settings], number: int) -> None:
    """A line that nothing takes back: outside of Marina, and of every transaction."""
    line = f"{context.caller.team} {number}\n".encode()
    descriptor = os.open(
        Path(context.settings.folder) / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
    )
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


@plugin.tool()
async def count(number: int, context: Context[Settings]) -> dict[str, int]:
    """Take effect once, within the request."""
    _take_effect(context, number)
    return {"number": number}


@plugin.tool(runs="worker")
async def count_later(number: int, seconds: float, context: Context[Settings]) -> dict[str, int]:
    """Take effect once, at a worker, in the middle of so many seconds."""
    await asyncio.sleep(seconds / 2)
    _take_effect(context, number)
    await asyncio.sleep(seconds / 2)
    return {"number": number}


@plugin.tool(runs="worker", read_only=True)
async def ponder(number: int, seconds: float) -> dict[str, int]:
    """Take so many seconds at a worker, and change nothing."""
    await asyncio.sleep(seconds)
    return {"number": number}


@plugin.tool(read_only=True)
async def give_much(mebibytes: int) -> str:
    """Give a text of so many mebibytes."""
    return "x" * (mebibytes * MEBIBYTE)


@plugin.tool(runs="worker", read_only=True)
async def give_much_later(mebibytes: int) -> str:
    """Give a text of so many mebibytes, at a worker."""
    return "x" * (mebibytes * MEBIBYTE)


@plugin.tool(runs="worker", read_only=True)
async def end_process() -> str:
    """End the process that runs this, whatever else it is at."""
    os._exit(1)


@plugin.tool(runs="worker", read_only=True)
async def devour() -> str:
    """Take more and more memory."""
    taken = []
    while True:
        taken.append(os.urandom(MEBIBYTE) * 16)
        await asyncio.sleep(0.01)
