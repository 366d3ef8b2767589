"""What no server should be sent, and a team that sends it to a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson
import psycopg

from servers.execution.sql.reading import AT_ONCE
from tests.bench.neighbour import winding_document
from tests.factories import Team
from tests.farside import Asked, FarSide, Send
from tests.plugins.live_marina import LiveMarina
from tests.protocol.wireclient import Answer, Endpoint

GIGABYTE: Final = 1_000_000_000
CODE: Final = {
    "spin": "while True:\n    pass",
    "eat": "x = []\nwhile True: x.append('a' * 100000)",
    "eat_at_once": "[0] * 10**9",
    "recurse": "def f(n):\n    return f(n + 1)\nf(0)",
    "print": "while True: print('x' * 1000)",
    "call": "while True:\n    await calculate(expression='1 + 1')",
}

ENDLESS: Final = {
    "steps": [
        {
            "type": "loop",
            "while": {"left": 1, "operator": "eq", "right": 1},
            "steps": [{"tool": "calculate", "args": {"expression": "1"}}],
        }
    ]
}


@dataclass(frozen=True)
class Place:
    """A team that sends bad input, and the process that it sends it to."""

    team: Team
    marina: LiveMarina
    api: FarSide
    database: str
    key: str
    admin: str
    tools: dict[str, str]

    def call(self, tool: str, /, **arguments: Any) -> Answer:
        """A ``tools/call``."""
        return self.send(json.dumps(calling(tool, arguments)).encode())

    def database_processes(self) -> list[int]:
        """The processes of the team's database that serve somebody."""
        with psycopg.connect(self.database) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return [pid for (pid,) in rows]

    def send(self, body: bytes) -> Answer:
        """A message as it is."""
        door = Endpoint(self.marina.port, f"/mcp/{self.team.slug}", self.key)
        return door.send(body, {"MCP-Protocol-Version": "2025-11-25"})

    def rest(self, path: str, body: Any) -> Answer:
        """A POST of the team's REST API."""
        # A document has 20 seconds to be fetched, 55 to be read, and is stored then.
        door = Endpoint(self.marina.port, f"/api/v1/tenants/{self.team.slug}/{path}", self.admin, seconds=150)
        return door.send(orjson.dumps(body))

    def take_over(self, document: Any) -> Answer:
        """A data source of a document, which is gone again afterwards."""
        settings = {"openapi": document, "base_url": self.api.origin, "allow_writes": True}
        return self.rest("data-sources", {"name": "document", "kind": "http", "settings": settings})

    def make(self, kind: str, name: str, source: str, definition: Any) -> Answer:
        """A tool of the team's own."""
        return self.rest("tools", {"name": name, "source": source, "kind": kind, "definition": definition})

    def change(self, tool: str, definition: Any) -> Answer:
        """Another definition of a tool of the team's own."""
        at = Endpoint(
            self.marina.port, f"/api/v1/tenants/{self.team.slug}/tools/{self.tools[tool]}", self.admin
        )
        return at.send(orjson.dumps({"definition": definition}), method="PATCH")

    def held(self) -> float:
        """Milliseconds for which the loop was held at most, since this was asked last."""
        told = Endpoint(self.marina.port, "/held", None).send(None, method="GET")
        return float(told.json["milliseconds"])


def calling(tool: str, arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def long_write(values: int) -> str:
    """A statement that changes nothing, of two bytes a value."""
    return "DELETE FROM items WHERE id IN (-1" + ",0" * values + ")"


def endless(kind: str, piece: bytes) -> Callable[[Asked, Send], None]:
    """Answers with a gigabyte, of which nobody reads all."""

    def route(asked: Asked, send: Send) -> None:
        send(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n[".encode())
        for _ in range(GIGABYTE // len(piece)):
            send(piece)

    return route


Bad = Callable[[Place], Answer]

LOOK_ALIKE: Final = "\u0441\u0430l\u0441ul\u0430t\u0435"
"""It reads as calculate, in letters of Cyrillic."""

LEADING_OUT: Final = {
    "openapi": "3.1.0",
    "info": {"title": "Out"},
    "paths": {f"/a/{'../' * 50}{number}": {"get": {"responses": {}}} for number in range(2_000)},
    "components": {"schemas": {"S": {"$ref": "https://elsewhere.example/s.json"}}},
}
CIRCLE: Final = {"openapi": "3.1.0", "paths": {"/a": {"$ref": "#/paths/~1b"}, "/b": {"$ref": "#/paths/~1a"}}}

STORED: Final = '"kind":"http"'
"""Of the answer to a document that was taken over."""

BAD: Final[dict[str, tuple[str, Bad]]] = {
    # Documents
    "document whose schemas all lead to each other": (STORED, lambda at: at.take_over(winding_document())),
    "document that leads in a circle": ("lead on without end", lambda at: at.take_over(CIRCLE)),
    "document of paths and references that lead out": ("leads up", lambda at: at.take_over(LEADING_OUT)),
    "document of 4 MB of brackets": ("depth limit", lambda at: at.take_over("[" * 3_900_000)),
    "document of 4 MB of YAML": (
        "No operation",
        lambda at: at.take_over("openapi: 3.1.0\na:\n" + "- 1\n" * 700_000),
    ),
    "document of a million numbers": (
        "lead on without end",
        lambda at: at.take_over({**CIRCLE, "x": [1] * 1_300_000}),
    ),
    "document of 13 MB, stored as tools": (STORED, lambda at: at.take_over(f"{at.api.origin}/large.json")),
    "document of 1,000 operations, stored as tools": (
        STORED,
        lambda at: at.take_over(f"{at.api.origin}/thousand.json"),
    ),
    "document of 1 GB": ("larger than 25165824 bytes", lambda at: at.take_over(f"{at.api.origin}/json")),
    # Names
    "call of a tool by a name of 10 kB": ("Unknown tool", lambda at: at.call("x" * 10_000)),
    "call of a tool by a name of 4 MB": ("Unknown tool", lambda at: at.call("x" * 4_000_000)),
    "arguments by names of 10 kB": (
        "is not an argument",
        lambda at: at.call("calculate", **{str(n) * 2_000: n for n in range(200)}),
    ),
    "tool with a name of 10 kB": (
        "no more than 64 characters",
        lambda at: at.make("pipeline", "x" * 10_000, "flows", {"steps": []}),
    ),
    "tool with a name of look-alikes": (
        "must be 1 to 64 letters",
        lambda at: at.make("pipeline", LOOK_ALIKE, "flows", {"steps": []}),
    ),
    # Arguments
    "message of two million brackets": ("nested too deeply", lambda at: at.send(b"[" * 2_000_000)),
    "arguments of a million numbers": (
        "$.x is not an argument",
        lambda at: at.call("calculate", expression="1", x=[1] * 1_300_000),
    ),
    "arguments of 400,000 objects": (
        "$.x is not an argument",
        lambda at: at.call("calculate", expression="1", x=[{"a": 1}] * 380_000),
    ),
    "arguments of 400,000 wrong rows": (
        "$.data[0] must be of type object",
        lambda at: at.call("filter_data", data=[[1]] * 400_000, field="a", operator="eq", value=1),
    ),
    "expression without end": (
        "the result is too large",
        lambda at: at.call("calculate", expression="9**9**9**9"),
    ),
    "CSV of 300,000 rows": (
        "more than 50000 rows",
        lambda at: at.call("parse_csv", content="a,b\n" * 300_000),
    ),
    # Results
    "result of 1 GB of text, by HTTP": (
        "larger than 1048576 bytes",
        lambda at: at.call("api_get", endpoint="/text"),
    ),
    "result of 1 GB of JSON, by HTTP": (
        "larger than 1048576 bytes",
        lambda at: at.call("api_get", endpoint="/json"),
    ),
    "result of 1 GB, one value of SQL": (
        "larger than 1048576 bytes",
        lambda at: at.call("query_database", query="SELECT repeat('x', 900000000)"),
    ),
    "result of 2 GB, rows of SQL": (
        '"truncated":true',
        lambda at: at.call("query_database", query="SELECT repeat('x', 100000) FROM items"),
    ),
    # Pipelines and code
    "pipeline that calls itself": (
        "circle → circle",
        lambda at: at.change("circle", {"steps": [{"tool": "circle"}]}),
    ),
    "workflow whose loop never ends": ("still holds after 1000 times", lambda at: at.call("endless")),
    "pipeline of 100,000 steps": (
        "at most 131072 are allowed",
        lambda at: at.make("pipeline", "me", "flows", {"steps": [{"tool": "calculate"}] * 100_000}),
    ),
    "code without end": ("time limit exceeded", lambda at: at.call("spin")),
    "code that eats memory, bit by bit": ("memory limit exceeded", lambda at: at.call("eat")),
    "code that eats memory, at once": ("memory limit exceeded", lambda at: at.call("eat_at_once")),
    "code that recurses": ("maximum recursion depth", lambda at: at.call("recurse")),
    "code that prints without end": ("time limit exceeded", lambda at: at.call("print")),
    "code that calls tools without end": ("may call tools 200 times", lambda at: at.call("call")),
    "code of 60,000 open brackets": (
        "too many nested parentheses",
        lambda at: at.make("python", "deep", "code", {"code": "(" * 60_000}),
    ),
    # SQL
    "query of 20,000 levels": (
        "more than 400 levels deep",
        lambda at: at.call("query_database", query="SELECT " + "(" * 20_000 + "1" + ")" * 20_000),
    ),
    "query of 30,000 columns": (
        "too complex for PostgreSQL",
        lambda at: at.call("query_database", query="SELECT 1" + ",1" * 30_000),
    ),
    "query of 30,000 values": (
        '"count":1',
        lambda at: at.call(
            "query_database", query="SELECT count(*) FROM items WHERE id IN (1" + ",1" * 30_000 + ")"
        ),
    ),
    "slow query of 30,000 values": (
        '"count":800000',
        lambda at: at.call(
            "query_database",
            query="SELECT count(*) FROM items a, items b WHERE a.id % 500 = 0 AND a.id NOT IN (0"
            + ",0" * 30_000
            + ")",
        ),
    ),
    "transaction of 50 statements of 60 kB": (
        "of at most 65536",
        lambda at: at.call("execute_transaction", queries=[long_write(30_000)] * 50),
    ),
    "transaction of 50 statements of 1.3 kB": (
        '"row_count":0',
        lambda at: at.call("execute_transaction", queries=[long_write(630)] * 50),
    ),
    "transaction of 50 statements read at once": (
        '"row_count":0',
        lambda at: at.call("execute_transaction", queries=[long_write((AT_ONCE - 40) // 2)] * 50),
    ),
    "query that takes long": (
        '"count":800000',
        lambda at: at.call(
            "query_database", query="SELECT count(*) FROM items a, items b WHERE a.id % 500 = 0"
        ),
    ),
}


def forget(place: Place, said: Answer) -> None:
    """Have the next try find what this one found."""
    if said.status == 201:
        path = f"/api/v1/tenants/{place.team.slug}/data-sources/{said.json['id']}"
        assert Endpoint(place.marina.port, path, place.admin).send(None, method="DELETE").status == 204
