"""A bad neighbour: another team, which sends what no server should be sent, in turns, until it is ended.

``python -m tests.bench.neighbour BASE_URL``, with its keys as JSON in ``BENCH_KEYS``: for calls and for REST.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Iterator
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

from tests.bench.offered import BAD_TEAM, EATING, SPINNING

_TIMEOUT_SECONDS = 60
_MCP = f"/mcp/{BAD_TEAM}"
_REST = f"/api/v1/tenants/{BAD_TEAM}/data-sources/test"


def bad_requests() -> Iterator[tuple[str, bytes]]:
    """Paths and bodies."""
    yield _MCP, b"[" * 2_000_000
    yield _MCP, _call("x" * 10_000)
    yield _MCP, _call(SPINNING)
    yield _MCP, _call(EATING)
    yield _MCP, _call("calculate", expression="9**9**9**9")
    yield _MCP, _call("calculate", expression="(" * 20_000)
    yield _MCP, _call("parse_csv", content="a,b\n" * 300_000)
    yield _MCP, _call("query_database", query="SELECT " + "(" * 20_000 + "1" + ")" * 20_000)
    yield _MCP, _call("query_database", query="SELECT count(*) FROM items a, items b WHERE a.id % 500 = 0")
    yield _REST, json.dumps({"kind": "http", "settings": {"openapi": winding_document()}}).encode()


def _call(name: str, **arguments: Any) -> bytes:
    params = {"name": name, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def winding_document() -> dict[str, Any]:
    """A document whose schemas all lead to each other."""
    schemas = {
        f"S{number}": {
            "anyOf": [{"$ref": f"#/components/schemas/S{(number * 7 + each) % 400}"} for each in range(40)]
        }
        for number in range(400)
    }
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}
    paths = {f"/p{number}": {"post": {"requestBody": body, "responses": {}}} for number in range(400)}
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Winding"},
        "servers": [{"url": "https://api.example.com"}],
    }
    return {**whole, "paths": paths, "components": {"schemas": schemas}}


def main(base_url: str) -> None:
    """Send them in turns; what is answered is not of interest here."""
    keys = json.loads(os.environ["BENCH_KEYS"])
    for path, body in cycle(list(bad_requests())):
        connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=_TIMEOUT_SECONDS)
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {keys['rest' if path == _REST else 'mcp']}",
        }
        try:
            connection.request("POST", path, body, headers)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
