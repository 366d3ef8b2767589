"""What an upstream MCP server should answer no one, and a server that does."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import orjson

from tests.farside import Asked, FarSide, Send, reply
from tests.held.bad_input import BAD, Bad, Place, endless
from tests.held.bad_input import STORED as OF_DOCUMENTS

CONTENT: Final = {"content": [{"type": "text", "text": "x"}]}
_GREETING: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "wreck", "version": "1"},
}
_SCHEMA: Final = {"type": "object", "properties": {"n": {"type": "integer", "description": "How many"}}}


def _tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": "Do not call it.", "inputSchema": _SCHEMA, **more}


def _json(message: Mapping[str, Any], result: Any) -> bytes:
    return reply(
        orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), kind="application/json"
    )


def _notes(message: Mapping[str, Any]) -> bytes:
    """35,000 lines of a log that nobody asked for, and then the result."""
    note = (
        b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n\n'
    )
    end = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": CONTENT})
    return reply(note * 35_000 + b"data: " + end + b"\n\n", kind="text/event-stream")


def _batch(message: Mapping[str, Any]) -> bytes:
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
    end = {"jsonrpc": "2.0", "id": message["id"], "result": CONTENT}
    return reply(orjson.dumps([*[note] * 40_000, end]), kind="application/json")


@cache
def _packed() -> bytes:
    return gzip.compress(b'{"x":"' + b"a" * 200_000_000, 1)


def _bomb(message: Mapping[str, Any]) -> bytes:
    return reply(_packed(), headers={"Content-Encoding": "gzip"}, kind="application/json")


CALLS: Final[dict[str, Callable[[Mapping[str, Any]], bytes]]] = {
    "garbage": lambda message: reply(b"[" * 1_000_000, kind="application/json"),
    "blocks": lambda message: _json(message, {"content": [{"type": "text", "text": ""}] * 20_000}),
    "numbers": lambda message: _json(message, {**CONTENT, "structuredContent": {"x": [1] * 450_000}}),
    "notes": _notes,
    "batch": _batch,
    "bomb": _bomb,
}
"""What its tools answer."""

LISTS: Final[dict[str, Callable[[int], dict[str, Any]]]] = {
    "many": lambda page: {"tools": [_tool(f"t{n}") for n in range(10_000)]},
    "pages": lambda page: {"tools": [_tool(f"t{page}")], "nextCursor": str(page + 1)},
    "thousand": lambda page: {"tools": [_tool(f"t{n}") for n in range(1_000)]},
    "wide": lambda page: {
        "tools": [
            _tool(
                "wide",
                inputSchema={
                    "type": "object",
                    "properties": {f"p{n}": {"type": "string", "enum": ["a", "b"]} for n in range(20_000)},
                },
            )
        ]
    },
}
"""What else it lists, by page."""


def serve_wreck(side: FarSide) -> None:
    """At ``/wreck`` the tools, at ``/wreck/NAME`` a list."""

    def route(asked: Asked, send: Send) -> None:
        message = orjson.loads(asked.body or b"{}")
        method, params = message.get("method"), message.get("params") or {}
        name = asked.path.removeprefix("/wreck").strip("/")
        if "id" not in message:
            send(reply(b"", status=202))
        elif method == "initialize":
            send(_json(message, _GREETING))
        elif method == "tools/list":
            tools = {"tools": [_tool(each) for each in (*CALLS, "endless")]}
            send(_json(message, LISTS[name](int(params.get("cursor") or 0)) if name else tools))
        elif method == "tools/call" and params["name"] == "endless":
            endless("application/json", b'{"a": [1, "b"]}, ' * 5_000)(asked, send)
        elif method == "tools/call":
            send(CALLS[params["name"]](message))
        else:
            send(
                reply(
                    orjson.dumps(
                        {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "No"}}
                    ),
                    kind="application/json",
                )
            )

    side.serve("/wreck", route)
    for name in LISTS:
        side.serve(f"/wreck/{name}", route)


def _take_over(at: Place, name: str) -> Any:
    settings = {"url": f"{at.api.origin}/wreck/{name}", "prefix": f"{name}_"}
    return at.rest("data-sources", {"name": name, "kind": "mcp", "settings": settings})


STORED: Final = '"kind":"mcp"'
"""Of the answer to a server whose tools were taken over."""

LARGE: Final = "larger than 4194304 bytes"

BAD_UPSTREAMS: Final[dict[str, tuple[str, Bad]]] = {
    "upstream's answer of a million brackets": ("not JSON", lambda at: at.call("wreck_garbage")),
    "upstream's result of 1 GB": (LARGE, lambda at: at.call("wreck_endless")),
    "upstream's result of 20,000 blocks": ('"text":""},{', lambda at: at.call("wreck_blocks")),
    "upstream's result of 450,000 numbers": ("[1,1,1,1,", lambda at: at.call("wreck_numbers")),
    "upstream's stream of 35,000 notifications": ('"text":"x"', lambda at: at.call("wreck_notes")),
    "upstream's batch of 40,000 messages": ("batch of more than", lambda at: at.call("wreck_batch")),
    "upstream's answer that unpacks to 200 MB": (LARGE, lambda at: at.call("wreck_bomb")),
    "upstream of 1,000 tools, taken over": (STORED, lambda at: _take_over(at, "thousand")),
    "upstream of 10,000 tools": ("more than 2000 tools", lambda at: _take_over(at, "many")),
    "upstream whose list never ends": ("tools/list has no end", lambda at: _take_over(at, "pages")),
    "upstream of a tool with 20,000 arguments": (
        "at most 65536 are taken",
        lambda at: _take_over(at, "wide"),
    ),
}

ALL_BAD: Final = {**BAD, **BAD_UPSTREAMS}
STORING: Final = frozenset({OF_DOCUMENTS, STORED})
"""The words of those after which a source is there."""
