"""Hypothesis strategies: good requests of both eras, and what can be made wrong with them."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.protocol.wireclient import LEGACY, MODERN, modern_meta

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 120)

bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
"""How far each test looks: in CI for seconds, with FUZZ_EXAMPLES for as long as one likes."""

CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("tools/list", {}),
    ("tools/list", {"cursor": "dDE6ZWNobw"}),
    ("tools/call", {"name": "test_simple_text", "arguments": {}}),
    ("tools/call", {"name": "test_tool_with_progress", "arguments": {}}),
    ("tools/call", {"name": "test_tool_with_logging", "arguments": {}}),
    ("tools/call", {"name": "test_multiple_content_types", "arguments": {}}),
    ("tools/call", {"name": "test_elicitation", "arguments": {"message": "who?"}}),
    ("tools/call", {"name": "json_schema_2020_12_tool", "arguments": {"name": "x", "address": {}}}),
    (
        "tools/call",
        {
            "name": "test_input_required_result_elicitation",
            "arguments": {},
            "inputResponses": {"user_name": {"action": "accept", "content": {"name": "x"}}},
        },
    ),
    (
        "tools/call",
        {
            "name": "test_input_required_result_multiple_inputs",
            "arguments": {},
            "inputResponses": {
                "user_name": {"action": "accept", "content": {"name": "x"}},
                "greeting": {"role": "assistant", "content": {"type": "text", "text": "x"}, "model": "m"},
                "client_roots": {"roots": [{"uri": "file:///x"}]},
            },
        },
    ),
    ("tools/call", {"name": "test_simple_text", "arguments": {}, "requestState": "AAAA"}),
    ("tools/call", {"name": "test_x_mcp_header", "arguments": {"region": "eu"}}),
    ("resources/list", {}),
    ("resources/templates/list", {"cursor": None}),
    ("resources/read", {"uri": "test://static-text"}),
    ("resources/read", {"uri": "test://template/5/data"}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "test_simple_prompt"}),
    ("prompts/get", {"name": "test_prompt_with_arguments", "arguments": {"arg1": "a", "arg2": "b"}}),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/prompt", "name": "test_prompt_with_arguments"},
            "argument": {"name": "arg1", "value": "pa"},
            "context": {"arguments": {"arg2": "x"}},
        },
    ),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/resource", "uri": "test://template/{id}/data"},
            "argument": {"name": "id", "value": "1"},
        },
    ),
)
MODERN_CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("server/discover", {}),
    ("subscriptions/listen", {"notifications": {"toolsListChanged": True, "resourceSubscriptions": []}}),
)
LEGACY_CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ping", {}),
    (
        "initialize",
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "f", "version": "1"}},
    ),
    ("logging/setLevel", {"level": "debug"}),
    ("resources/subscribe", {"uri": "test://watched-resource"}),
    ("resources/unsubscribe", {"uri": "test://watched-resource"}),
    ("notifications/cancelled", {"requestId": 7, "reason": "x"}),
    ("notifications/initialized", {}),
    ("notifications/progress", {"progressToken": 1, "progress": 2}),
)
METHODS = sorted({name for name, _ in (*CALLS, *MODERN_CALLS, *LEGACY_CALLS)})

METAS: tuple[dict[str, Any], ...] = (
    {},
    {"progressToken": 1},
    {"io.modelcontextprotocol/logLevel": "debug"},
    {
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": {"form": {}},
            "sampling": {"tools": {}},
            "roots": {"listChanged": True},
        }
    },
)

texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            "\0",
            "a\0b",
            "\ud800",
            "\udfff\ud800",
            "\u202e\u2066",
            "\U000e0041",
            "\r\nX-Injected: 1",
            "../../etc/passwd",
            "%00%2e%2e%2f",
            "file:///etc/passwd",
            "test://static-text\n",
            "{id}",
            "${jndi:x}",
            "'; DROP TABLE tenants; --",
            "__proto__",
            "=?base64?AAAA?=",
            "=?base64?!!!?=",
            "x" * 5_000,
            "\u00e9" * 3_000,
            "2026-07-28",
            "2099-01-01",
            "ref/prompt",
            "accept",
        ]
    ),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -1, 2**31, 2**53 + 1, 2**63, 2**64 - 1, 2**64, -(2**63), 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
    texts,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
MEMBERS = (
    *(
        "id",
        "method",
        "params",
        "jsonrpc",
        "result",
        "error",
        "_meta",
        "progressToken",
        "cursor",
        "name",
        "uri",
    ),
    *("arguments", "ref", "argument", "context", "requestState", "inputResponses", "level", "notifications"),
    *("protocolVersion", "capabilities", "clientInfo", "task", "reason", "requestId", "traceparent"),
    *(name for name in modern_meta()),
    "io.modelcontextprotocol/logLevel",
)


@st.composite
def messages(draw: st.DrawFn, *, modern: bool, ways: int = 3) -> Any:
    """A message that was good, with up to ``ways`` things changed in it."""
    method, params = draw(st.sampled_from((*CALLS, *(MODERN_CALLS if modern else LEGACY_CALLS))))
    params = copy.deepcopy(params)
    if modern:
        params["_meta"] = modern_meta(**draw(st.sampled_from(METAS)))
    elif draw(st.booleans()):
        params["_meta"] = {"progressToken": draw(scalars)}
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    if not method.startswith("notifications/"):
        message["id"] = draw(st.sampled_from([7, "seven", 0, -1, 2**53]))
    for _ in range(draw(st.integers(0, ways))):
        message = mutate(draw, message)
    return message


def mutate(draw: st.DrawFn, message: Any) -> Any:
    """The message with one thing changed: a value, a member too many, or one too few."""
    places = list(_places(message))
    path = draw(st.sampled_from(places))
    kind = draw(st.sampled_from(["replace", "replace", "drop", "add", "wrap", "nest"]))
    if kind == "nest":
        value: Any = draw(st.sampled_from([[], {}]))
        for _ in range(draw(st.sampled_from([3, 100, 240, 260]))):
            value = [value] if isinstance(value, list) else {"a": value}
        return _set(message, path, value)
    if kind == "wrap":
        return _set(message, path, [_get(message, path)])
    if kind == "add":
        inner = _get(message, path)
        if isinstance(inner, dict):
            return _set(message, path, {**inner, draw(st.sampled_from(MEMBERS) | texts): draw(values)})
    if kind == "drop" and path:
        return _drop(message, path)
    return _set(message, path, draw(values | st.sampled_from(METHODS)))


@st.composite
def bodies(draw: st.DrawFn, message: Any) -> bytes:
    """The message as bytes, which may be damaged too."""
    text = json.dumps(message, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    kind = draw(st.sampled_from([None, None, None, None, "flip", "cut", "insert", "double", "spaces"]))
    at = draw(st.integers(0, max(0, len(text) - 1)))
    if kind == "flip":
        return text[:at] + bytes([draw(st.integers(0, 255))]) + text[at + 1 :]
    if kind == "cut":
        return text[:at]
    if kind == "insert":
        return text[:at] + draw(st.binary(min_size=1, max_size=6)) + text[at:]
    if kind == "double" and text.startswith(b"{"):
        return b'{"id":8,"method":"ping",' + text[1:]
    if kind == "spaces":
        return text.replace(b", ", b" ,\r\n\t")
    return text


header_values = st.one_of(
    st.binary(max_size=12).map(lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127)),
    st.sampled_from(
        [
            b"",
            b"*/*",
            b"text/event-stream",
            b"application/json;q=0",
            b"application/json; charset=utf-16",
            b"=?base64?dGVzdA==?=",
            b"=?base64?!!?=",
            b"=?base64?/w==?=",
            b"=?BASE64?dGVzdA==?=",
            b"=?base64?",
            b"\xff\xfe",
            b"\xe2\x82\xac",
            b"Bearer",
            b"Bearer  x",
            b"Basic Og==",
            b"1e9",
            b"-1",
            b"x" * 3_000,
            b"s_0-0",
            b"a_99999999999999999999-1",
            b"gzip",
            b"2099-01-01",
            b"DRAFT-2026-v1",
            *(version.encode() for version in (*LEGACY, MODERN)),
            *(name.encode() for name in METHODS),
        ]
    ),
)
HEADERS = (
    *("Host", "Origin", "Authorization", "Content-Type", "Accept", "MCP-Protocol-Version", "Mcp-Method"),
    *("Mcp-Name", "Mcp-Session-Id", "Last-Event-ID", "X-Request-ID", "User-Agent", "Mcp-Param-Region"),
    *(
        "Content-Encoding",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "Forwarded",
        "Cookie",
        "traceparent",
        "Upgrade",
    ),
)


@st.composite
def mangled(draw: st.DrawFn, headers: Sequence[tuple[str, bytes]], ways: int = 3) -> list[tuple[str, bytes]]:
    """The headers with up to ``ways`` changed, doubled, dropped or added."""
    made = list(headers)
    for _ in range(draw(st.integers(0, ways))):
        kind = draw(st.sampled_from(["change", "double", "drop", "add", "case"]))
        at = draw(st.integers(0, len(made) - 1)) if made else 0
        if kind == "add" or not made:
            made.append((draw(st.sampled_from(HEADERS)), draw(header_values)))
        elif kind == "change":
            made[at] = (made[at][0], draw(header_values))
        elif kind == "double":
            made.append((made[at][0].swapcase(), draw(header_values | st.just(made[at][1]))))
        elif kind == "drop":
            del made[at]
        else:
            made[at] = (made[at][0].swapcase(), made[at][1] + b" ")
    return made


def _places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if len(path) < 6:
        for name, inner in items:
            yield from _places(inner, (*path, name))


def _get(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def _set(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = _set(value[path[0]], path[1:], new)
    return changed


def _drop(value: Any, path: tuple[Any, ...]) -> Any:
    changed = copy.copy(value)
    if len(path) == 1:
        del changed[path[0]]
    else:
        changed[path[0]] = _drop(value[path[0]], path[1:])
    return changed
