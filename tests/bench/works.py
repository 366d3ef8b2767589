"""What is measured: each work's request as bytes, and the check that an answer to it is right."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from tests.bench.document import OPERATIONS
from tests.bench.offered import (
    ECHO,
    KEPT,
    MANY_TEAM,
    PIPELINE,
    PIPELINE_STEPS,
    ROW,
    ROW_ID,
    ROW_TOOL,
    TEXT,
    UPSTREAM_TOOLS,
    UPSTREAMS,
)

MODERN: Final = "2026-07-28"
SESSION: Final = "2025-11-25"
_CLIENT: Final = {"name": "marina-bench", "version": "1"}
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_TIMEOUT_SECONDS: Final = 30
MAX_PAGES: Final = 100


class WrongAnswer(Exception):
    """A system did not do its work; the message says what it answered instead."""


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of request. ``checks_all``: whether every measured body is read (long ones cost the load too much).

    ``team`` is whose it is at Marina, ``tools`` how many a list has. ``alone``: neither the SDK nor the limit does it;
    ``beside``: while the bad neighbour sends what it sends.
    """

    name: str
    method: str
    params: Mapping[str, Any]
    revision: str
    check: Callable[[Mapping[str, Any]], bool]
    wanted: str
    checks_all: bool = True
    team: str = "bench-50"
    tools: int = 0
    alone: bool = False
    beside: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a system does a work, and what its requests carry besides the protocol's own headers."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request cut at its id (nine digits, so that its length never changes)."""

    url: str
    first: bytes
    last: bytes


def _is_echo(result: Mapping[str, Any]) -> bool:
    return result.get("structuredContent") == {"text": TEXT} and result.get("isError", False) is False


def _is_row(result: Mapping[str, Any]) -> bool:
    structured = result.get("structuredContent") or {}
    return structured.get("rows") == [ROW] and result.get("isError", False) is False


def _is_pipeline(result: Mapping[str, Any]) -> bool:
    structured = result.get("structuredContent") or {}
    return structured.get("result") == TEXT and len(structured.get("steps", ())) == PIPELINE_STEPS


def _lists(count: int) -> Callable[[Mapping[str, Any]], bool]:
    def check(result: Mapping[str, Any]) -> bool:
        names = {tool["name"] for tool in result.get("tools", [])}
        return ECHO in names and (len(names) >= count or "nextCursor" in result)

    return check


_ECHO_CALL: Final = {"name": ECHO, "arguments": {"text": TEXT}}

WORKS: Final = (
    Work("call", "tools/call", _ECHO_CALL, MODERN, _is_echo, TEXT),
    Work("call-session", "tools/call", _ECHO_CALL, SESSION, _is_echo, TEXT),
    Work("list-50", "tools/list", {}, MODERN, _lists(50), '"inputSchema"', checks_all=False, tools=50),
    Work(
        "list-500",
        "tools/list",
        {},
        MODERN,
        _lists(500),
        '"inputSchema"',
        checks_all=False,
        team="bench-500",
        tools=500,
    ),
    Work(
        "sql",
        "tools/call",
        {"name": ROW_TOOL, "arguments": {"id": ROW_ID}},
        MODERN,
        _is_row,
        f"item {ROW_ID}",
        team="bench-sql",
    ),
    Work(
        "cached",
        "tools/call",
        {"name": KEPT, "arguments": {"text": TEXT}},
        MODERN,
        _is_echo,
        TEXT,
        alone=True,
    ),
    Work("call-1000", "tools/call", _ECHO_CALL, MODERN, _is_echo, TEXT, team="bench-1000", alone=True),
    Work(
        "list-1000",
        "tools/list",
        {},
        MODERN,
        _lists(OPERATIONS + 1),
        '"inputSchema"',
        checks_all=False,
        team="bench-1000",
        tools=OPERATIONS + 1,
        alone=True,
    ),
    Work(
        "pipeline-10",
        "tools/call",
        {"name": PIPELINE, "arguments": {"text": TEXT}},
        MODERN,
        _is_pipeline,
        TEXT,
        team="bench-flows",
        alone=True,
    ),
    Work("upstream", "tools/call", _ECHO_CALL, MODERN, _is_echo, TEXT, team="bench-upstream", alone=True),
    # Of 200 upstream servers, in a process that serves nothing else.
    Work(
        "list-10000",
        "tools/list",
        {},
        MODERN,
        _lists(UPSTREAMS * UPSTREAM_TOOLS),
        '"inputSchema"',
        checks_all=False,
        team=MANY_TEAM,
        tools=UPSTREAMS * UPSTREAM_TOOLS,
        alone=True,
    ),
    # Waited for by a client that knows no tasks: beside "call", what it costs to have a worker do it.
    Work("task", "tools/call", _ECHO_CALL, MODERN, _is_echo, TEXT, team="bench-tasks", alone=True),
    Work("call-beside", "tools/call", _ECHO_CALL, MODERN, _is_echo, TEXT, alone=True, beside=True),
)


def prepare(work: Work, target: Target) -> Prepared:
    """The bytes of the work's request to this target."""
    params = {**work.params, "_meta": _META} if work.revision == MODERN else dict(work.params)
    before = b'{"jsonrpc":"2.0","id":'
    # Without white space, as the SDKs of both languages write it.
    compact = json.dumps(params, separators=(",", ":")).encode()
    after = b',"method":"%s","params":%s}' % (work.method.encode(), compact)
    headers = _headers(work, target)
    headers["Content-Length"] = str(len(before) + 9 + len(after))
    lines = [f"POST {urlsplit(target.url).path} HTTP/1.1", f"Host: {target.address}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return Prepared(target.url, "\r\n".join([*lines, "", ""]).encode() + before, after)


def verify(work: Work, target: Target) -> int:
    """Do the work once and check all of the answer. Its body's length; raises ``WrongAnswer``."""
    params = {**work.params, "_meta": _META} if work.revision == MODERN else dict(work.params)
    status, body = _post(target, _headers(work, target), 100000001, work.method, params)
    result = _result(work, status, body, 100000001)
    if not work.check(result) or work.wanted.encode() not in body:
        raise WrongAnswer(f"{work.name}: not the expected result: {body[:500]!r}")
    if work.method == "tools/list":
        _verify_pages(work, target, params, result)
    return len(body)


def open_session(target: Target) -> Target:
    """The same target after the 2025-11-25 handshake, with the session's id where the server gives one."""
    parts = urlsplit(target.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)
    headers = {**_COMMON, **target.headers}
    params = {"protocolVersion": SESSION, "capabilities": {}, "clientInfo": _CLIENT}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    connection.request("POST", parts.path, json.dumps(message), headers)
    answer = connection.getresponse()
    body = answer.read()
    session = answer.headers.get("Mcp-Session-Id")
    if answer.status != 200 or json.loads(body).get("result", {}).get("protocolVersion") != SESSION:
        raise WrongAnswer(f"initialize: HTTP {answer.status}: {body[:500]!r}")
    given = {**target.headers, **({"Mcp-Session-Id": session} if session else {})}
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    headers = {**_COMMON, **given, "MCP-Protocol-Version": SESSION}
    connection.request("POST", parts.path, json.dumps(note), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 202:
        raise WrongAnswer(f"notifications/initialized: HTTP {answer.status}")
    return Target(target.url, given)


_COMMON: Final = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def _headers(work: Work, target: Target) -> dict[str, str]:
    headers = {**_COMMON, **target.headers, "MCP-Protocol-Version": work.revision}
    if work.revision == MODERN:
        headers["Mcp-Method"] = work.method
        if "name" in work.params:
            headers["Mcp-Name"] = work.params["name"]
    return headers


def _post(
    target: Target, headers: Mapping[str, str], number: int, method: str, params: Mapping[str, Any]
) -> tuple[int, bytes]:
    parts = urlsplit(target.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    connection.request("POST", parts.path, json.dumps(message), dict(headers))
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def _result(work: Work, status: int, body: bytes, number: int) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except ValueError:
        raise WrongAnswer(f"{work.name}: HTTP {status}, and no JSON: {body[:500]!r}") from None
    if status != 200 or message.get("id") != number or "result" not in message:
        raise WrongAnswer(f"{work.name}: HTTP {status}: {body[:500]!r}")
    result: dict[str, Any] = message["result"]
    return result


def _verify_pages(work: Work, target: Target, params: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    wanted = work.tools
    names = [tool["name"] for tool in first["tools"]]
    page = first
    for number in range(2, MAX_PAGES):
        cursor = page.get("nextCursor")
        if cursor is None:
            break
        headers = _headers(work, target)
        status, body = _post(target, headers, number, work.method, {**params, "cursor": cursor})
        page = _result(work, status, body, number)
        names += [tool["name"] for tool in page["tools"]]
    if len(names) != wanted or len(set(names)) != wanted:
        raise WrongAnswer(f"{work.name}: {len(names)} tools, {len(set(names))} different; expected {wanted}")
