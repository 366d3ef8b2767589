"""Calls a tool without end from many connections, and prints each answered call. Run by the fault tests.

``python -m tests.faults.caller`` reads a job (JSON) on standard input: url, key, tool, connections. A line of
output is written once an answer has come whole: the call's number and the answer's X-Request-ID, or
``wrong`` and what came. A connection that breaks is opened again, and its call, whose fate is unknown, is not
repeated. It ends when it is told to, by SIGTERM.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

_REOPEN_SECONDS = 0.02
_TIMEOUT_SECONDS = 20
_numbers = itertools.count(1)
_output = threading.Lock()


def main() -> None:
    """Start the connections and stay."""
    job = json.load(sys.stdin)
    threads = [threading.Thread(target=_call_for_ever, args=(job,)) for _ in range(job["connections"])]
    for thread in threads:
        thread.start()


def _call_for_ever(job: dict[str, Any]) -> None:
    parts = urlsplit(job["url"])
    connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)
    while True:
        number = next(_numbers)
        try:
            connection.request("POST", parts.path, _message(job["tool"], number), _headers(job))
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            time.sleep(_REOPEN_SECONDS)
            continue
        _tell(number, answer, body)


def _message(tool: str, number: int) -> str:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "fault-caller", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": {"number": number}, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})


def _headers(job: dict[str, Any]) -> dict[str, str]:
    return {
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {job['key']}",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": job["tool"],
    }


def _tell(number: int, answer: http.client.HTTPResponse, body: bytes) -> None:
    result = json.loads(body).get("result", {})
    if answer.status == 200 and result.get("structuredContent", {}).get("rows") == [{"number": number}]:
        line = f"{number} {answer.headers.get('X-Request-ID', '-')}"
    else:
        line = f"wrong {answer.status} {body[:500]!r}"
    with _output:
        print(line, flush=True)


if __name__ == "__main__":
    main()
