"""Whatever is posted, in whichever era: a well-formed answer, never a fault of ours, and the next request is served."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.fuzz.judge import Secrets, check
from tests.protocol.fuzz.mutations import (
    bodies,
    bounded,
    header_values,
    mangled,
    messages,
    texts,
    values,
)
from tests.protocol.fuzz.wire import NAMED, Connection, Request, Target
from tests.protocol.wireclient import LEGACY, MODERN


@pytest.fixture(scope="module")
def session(target: Target) -> Target:
    return target.begun()


def exchange(target: Target, request: Request) -> Any:
    with Connection(target.port) as connection:
        answer = connection.post(target, request)
    check(request, answer, Secrets(target.key))
    return answer


def mirror(target: Target, message: Any) -> list[tuple[str, bytes]]:
    """The headers that fit a modern message, as far as it can be read."""
    headers = target.basic(**{"MCP-Protocol-Version": MODERN})
    if isinstance(message, dict):
        method, params = message.get("method"), message.get("params")
        name = params.get(NAMED.get(str(method), "")) if isinstance(params, dict) else None
        for header, value in (("Mcp-Method", method), ("Mcp-Name", name)):
            if isinstance(value, str) and value.isprintable() and value.isascii():
                headers.append((header, value.encode()))
    return headers


@bounded
@given(data=st.data())
def test_modern_messages(target: Target, data: st.DataObject) -> None:
    message = data.draw(messages(modern=True))
    body = data.draw(bodies(message))
    answer = exchange(target, Request(body, mirror(target, message)))
    if answer.body and not answer.is_stream and "result" in answer.json:
        assert answer.json["result"]["resultType"] in {"complete", "input_required"}


@bounded
@given(data=st.data())
def test_modern_headers(target: Target, data: st.DataObject) -> None:
    message = data.draw(messages(modern=True, ways=1))
    headers = data.draw(mangled(mirror(target, message)))
    exchange(target, Request(json.dumps(message).encode(), headers))


@bounded
@given(data=st.data(), version=st.sampled_from([*LEGACY, None]))
def test_legacy_messages_without_a_session(target: Target, data: st.DataObject, version: str | None) -> None:
    message = data.draw(messages(modern=False))
    body = data.draw(bodies(message))
    request = replace(target.legacy("ping").but(mcp_protocol_version=version), body=body)
    answer = exchange(target, request)
    if answer.body and not answer.is_stream and "result" in answer.json:
        assert "resultType" not in answer.json["result"]


@bounded
@given(data=st.data(), accept=st.sampled_from(["application/json", "text/event-stream, application/json"]))
def test_legacy_messages_in_a_session(session: Target, data: st.DataObject, accept: str) -> None:
    message = data.draw(messages(modern=False))
    body = data.draw(bodies(message))
    exchange(session, replace(session.legacy("ping").but(accept=accept), body=body))


@bounded
@given(data=st.data())
def test_legacy_headers(session: Target, data: st.DataObject) -> None:
    message = data.draw(messages(modern=False, ways=1))
    headers = data.draw(mangled(session.legacy("ping").headers))
    exchange(session, Request(json.dumps(message).encode(), headers))


@bounded
@given(data=st.data(), in_session=st.booleans())
def test_batches(target: Target, data: st.DataObject, in_session: bool) -> None:
    batch: Any = data.draw(st.lists(messages(modern=False, ways=2) | values, max_size=5))
    chosen = target.begun("2025-03-26") if in_session else target
    request = chosen.legacy("ping", version="2025-03-26")
    exchange(chosen, replace(request, body=data.draw(bodies(batch))))


@bounded
@given(
    body=st.binary(max_size=200), headers=st.lists(st.tuples(st.sampled_from(["Accept", "x"]), header_values))
)
def test_bytes(target: Target, body: bytes, headers: list[tuple[str, bytes]]) -> None:
    exchange(target, Request(body, [*target.basic(), *headers]))


@bounded
@given(data=st.data(), value=values)
def test_any_json_is_answered(target: Target, data: st.DataObject, value: Any) -> None:
    exchange(target, Request(data.draw(bodies(value)), target.basic()))


@bounded
@given(
    data=st.data(), path=texts, method=st.sampled_from(["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "POST"])
)
def test_other_methods_and_paths(target: Target, data: st.DataObject, path: str, method: str) -> None:
    wanted = data.draw(
        st.sampled_from(["/mcp/", f"{target.path}/", f"{target.path}/default/", f"{target.path}?"])
    )
    escaped = "".join(f"%{byte:02x}" for byte in path.encode("utf-8", "surrogatepass"))
    tail = data.draw(st.sampled_from(["", "ws", "sse", "messages", "messages?session_id=", "messages?"]))
    headers = data.draw(mangled([*target.basic(), ("Mcp-Session-Id", b"x" * 32)], ways=2))
    # A stream of HTTP+SSE is a good answer that never ends; it is tested where streams are.
    headers = [(name, value) for name, value in headers if name.lower() != "accept"]
    headers.append(("Accept", b"application/json"))
    exchange(target, Request(b"{}", headers, method=method, path=wanted + tail + escaped))
