"""A host that starts ``marina-stdio`` and speaks to it line by line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).parent / "marina-stdio")
MODERN = "2026-07-28"
_SECONDS = 60


class Host:
    """The host's end of the pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    async def write(self, line: bytes) -> None:
        """Write a line as it is."""
        self._stdin.write(line + b"\n")
        await self._stdin.drain()

    async def send(self, message: Any) -> None:
        """Write a message."""
        await self.write(json.dumps(message).encode())

    async def receive(self) -> Any:
        """Read the next message."""
        line = await asyncio.wait_for(self._stdout.readline(), _SECONDS)
        assert line.endswith(b"\n"), "the bridge has ended"
        return json.loads(line)

    async def request(
        self, request_id: Any, method: str, params: Any = None, *, version: str | None = None
    ) -> None:
        """Write a request, of the modern era where a version is given."""
        given = dict(params or {})
        if version is not None:
            given["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientCapabilities": {},
                **given.get("_meta", {}),
            }
        await self.send({"jsonrpc": "2.0", "id": request_id, "method": method, "params": given})

    async def initialize(self, version: str = "2025-11-25") -> Any:
        """Open a legacy conversation. Gives the answer."""
        params = {
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "host", "version": "1"},
        }
        await self.request("init", "initialize", params)
        answer = await self.receive()
        await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    async def end(self) -> tuple[int, str]:
        """Close stdin. Gives the exit status and what stderr said."""
        self._stdin.close()
        return await self.ended()

    async def ended(self) -> tuple[int, str]:
        """Wait for the end."""
        assert self.process.stderr is not None
        errors = await asyncio.wait_for(self.process.stderr.read(), _SECONDS)
        return await asyncio.wait_for(self.process.wait(), _SECONDS), errors.decode()


@asynccontextmanager
async def start_bridge(*arguments: str, key: str | None = None, **environment: str) -> AsyncIterator[Host]:
    """Start the command with these arguments, and nothing of this process's environment."""
    variables: Mapping[str, str] = {**({"MARINA_API_KEY": key} if key else {}), **environment}
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(variables),
        limit=64 * 1024 * 1024,
    )
    try:
        yield Host(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
