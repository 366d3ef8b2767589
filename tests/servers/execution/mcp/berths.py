"""Copies of a real MCP server of the official SDK, each in a process of its own that a test may kill or stop.

Run as a module it is one of them: ``python -m tests.servers.execution.mcp.berths PORT ERA NAME FILE``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations

from config.local.ports import LOOPBACK, find_free_port
from tests.marina.harbour import wait_for_port
from tests.servers.execution.mcp.shipyard import Era, OfOneEra

ROOT = Path(__file__).parents[4]


@dataclass
class Berth:
    """One copy. ``file`` has a line for each call of ``note`` that it worked on."""

    name: str
    era: Era
    file: Path
    port: int = field(default_factory=find_free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/mcp"

    @property
    def noted(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []

    def launch(self) -> None:
        """Start it; ``wait`` says when it serves."""
        command = [sys.executable, "-m", "tests.servers.execution.mcp.berths"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}"}
        self.process = subprocess.Popen(
            [*command, str(self.port), self.era, self.name, str(self.file)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        wait_for_port(self.port)

    def send(self, sign: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(sign)
        if sign == signal.SIGKILL:
            self.process.wait(10)

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    def clear(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.kill()


@contextmanager
def berths(count: int, era: Era, folder: Path) -> Iterator[list[Berth]]:
    """So many copies, all of which serve."""
    found = [Berth(f"copy-{number}", era, folder / f"{number}.txt") for number in range(count)]
    try:
        for each in found:
            each.launch()
        for each in found:
            each.wait()
        yield found
    finally:
        for each in found:
            each.clear()


def _serve(port: int, era: Era, name: str, file: Path) -> None:
    server = MCPServer("berths")
    reads = ToolAnnotations(read_only_hint=True)
    called: dict[str, int] = {}

    @server.tool(annotations=reads)
    def who() -> str:
        """Which copy this is."""
        return name

    @server.tool(annotations=reads)
    async def linger(seconds: float) -> str:
        """Which copy this is, after a while."""
        await anyio.sleep(seconds)
        return name

    @server.tool()
    async def note(word: str, seconds: float = 0) -> str:
        """Write a word down, which cannot be undone."""
        with file.open("a") as lines:
            lines.write(f"{word}\n")
        await anyio.sleep(seconds)
        return name

    @server.tool()
    def count(ctx: Context) -> str:
        """How often this was called in the session."""
        request: Any = ctx.request_context.request
        key = str(request.headers.get("mcp-session-id"))
        called[key] = called.get(key, 0) + 1
        return f"{name} {called[key]}"

    app = OfOneEra(server.streamable_http_app(), era)
    uvicorn.run(app, host=LOOPBACK, port=port, log_level="error", ws="none", lifespan="auto")


if __name__ == "__main__":
    port_, era_, name_, file_ = sys.argv[1:]
    _serve(int(port_), era_, name_, Path(file_))  # type: ignore[arg-type]  # it is one of them
