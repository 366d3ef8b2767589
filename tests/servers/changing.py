"""An MCP server of the tests whose tools and prompts change while it is a data source."""

from __future__ import annotations

import queue
import threading
from typing import Any

import orjson

from tests.farside import Asked, FarSide, Send, reply


class Changing:
    """An upstream of 2025-11-25 whose tools and prompts a test changes."""

    def __init__(self, side: FarSide) -> None:
        self.side = side
        self.tools: list[dict[str, Any]] = [tool("look", "Look around.")]
        self.prompts: list[dict[str, Any]] | None = None
        """Those that it has; without, it knows nothing of prompts."""
        self.listened = threading.Event()
        """Whether somebody has its stream open."""
        self._said: queue.Queue[bytes] | None = None
        self.url = side.serve("/mcp", self._answer)

    def tell_of_changes(self) -> None:
        """From now on it says that it does."""
        self._said = queue.Queue()

    def say(self, method: str) -> None:
        """A notification on the stream that is open."""
        assert self._said is not None
        self._said.put(orjson.dumps({"jsonrpc": "2.0", "method": method}))

    def hang_up(self) -> None:
        """End the stream that is open."""
        assert self._said is not None
        self._said.put(b"")

    def _stream(self, send: Send) -> None:
        said = self._said
        assert said is not None
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: here\n\n")
        self.listened.set()
        while not self.side.over.is_set():
            try:
                each = said.get(timeout=0.1)
            except queue.Empty:
                continue
            if not each:
                break
            send(b"event: message\ndata: " + each + b"\n\n")
        self.listened.clear()

    def _answer(self, asked: Asked, send: Send) -> None:
        if asked.method == "GET" and self._said is not None:
            self._stream(send)
            return
        message = orjson.loads(asked.body or b"{}")
        method = message.get("method")
        greeting: dict[str, Any] = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {} if self._said is None else {"listChanged": True}},
            "serverInfo": {"name": "changing", "version": "1"},
        }
        results: dict[str, Any] = {
            "initialize": greeting,
            "tools/list": {"tools": self.tools},
            "tools/call": {"content": [{"type": "text", "text": "seen"}]},
            "ping": {},
        }
        if self.prompts is not None:
            greeting["capabilities"] |= {"prompts": {}}
            results["prompts/list"] = {"prompts": self.prompts}
        if "id" not in message:
            send(reply(status=202))
        elif method in results:
            body = {"jsonrpc": "2.0", "id": message["id"], "result": results[method]}
            send(reply(orjson.dumps(body), kind="application/json"))
        else:
            error = {"code": -32601, "message": "Method not found"}
            body = {"jsonrpc": "2.0", "id": message["id"], "error": error}
            send(reply(orjson.dumps(body), kind="application/json"))


def tool(name: str, description: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"name": name, "description": description, "inputSchema": schema}
