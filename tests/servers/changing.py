"""An MCP server of the tests whose tools change while it is a data source."""

from __future__ import annotations

from typing import Any

import orjson

from tests.farside import Asked, FarSide, Send, reply


class Changing:
    """An upstream of 2025-11-25 whose tools a test changes."""

    def __init__(self, side: FarSide) -> None:
        self.side = side
        self.tools: list[dict[str, Any]] = [tool("look", "Look around.")]
        self.url = side.serve("/mcp", self._answer)

    def _answer(self, asked: Asked, send: Send) -> None:
        message = orjson.loads(asked.body or b"{}")
        method = message.get("method")
        greeting = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "changing", "version": "1"},
        }
        results: dict[str, Any] = {
            "initialize": greeting,
            "tools/list": {"tools": self.tools},
            "tools/call": {"content": [{"type": "text", "text": "seen"}]},
            "ping": {},
        }
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
