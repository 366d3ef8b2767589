"""A server of the official SDK over stdio, with tools to see what is around it by."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, MCPServer, Resolve
from pydantic import BaseModel


class Named(BaseModel):
    """What the server asks for."""

    name: str


async def ask_name() -> Elicit[Named]:
    """What ``name_it`` needs to know first."""
    return Elicit("What is she called?", Named)


server = MCPServer("yard", version="1.0")


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


@server.tool()
def environment() -> dict[str, str]:
    return dict(os.environ)


@server.tool()
def process() -> int:
    return os.getpid()


@server.tool()
def read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


@server.tool()
def say(text: str) -> str:
    print(text, file=sys.stderr, flush=True)
    return "said"


@server.tool()
async def sail(ctx: Context) -> str:
    for mile in (1, 2, 3):
        await ctx.report_progress(mile, 3, f"mile {mile}")
    return "arrived"


@server.tool()
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"


@server.tool()
async def name_it(name: Annotated[ElicitationResult[Named], Resolve(ask_name)]) -> str:
    return f"named {name.data.name}" if isinstance(name, AcceptedElicitation) else "no name"


@server.tool()
def end(status: int) -> str:
    os._exit(status)


server.run()
