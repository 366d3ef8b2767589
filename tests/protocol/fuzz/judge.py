"""What holds of every answer, whatever was asked: JSON-RPC, a fitting status, and nothing of our insides."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from core.strictjson import BadJson, read_json
from servers.endpoint.eras import MAX_ID_CHARACTERS
from tests.plugins.live_marina import ROOT
from tests.protocol.fuzz.wire import Answer, Request

STATUSES = {200, 202, 204, 400, 401, 403, 404, 405, 406, 408, 413, 415, 429}
BEFORE_THE_BODY = {401, 403, 404, 405, 406, 408, 413, 415, 429}
"""Statuses of refusals for which no body is read: they cannot know the request's id."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_LEAK = re.compile(
    r"Traceback|site-packages|\.py\b|File \"|0x[0-9a-f]{6,}|object at|psycopg|redis|orjson|NoneType|KeyError|"
    r"TypeError|ValueError|AttributeError|UnicodeE|/usr/|/home/|" + re.escape(str(ROOT))
)
_FAULT = re.compile(
    r"Traceback|request failed|method failed|was not served|Exception in ASGI|\"level\":\"error\""
)


@dataclass(frozen=True)
class Secrets:
    """What must stand in no answer and no line of the process's log."""

    key: str | None


def check(request: Request, answer: Answer, secrets: Secrets) -> None:
    """Fail unless the answer is one that this request may get."""
    assert answer.status in STATUSES, (answer.status, answer.body[:500])
    assert _REQUEST_ID.fullmatch(answer.headers.get("X-Request-ID", "")), dict(answer.headers)
    if not answer.body:
        assert answer.status in {202, 204}, answer.status
        return
    if answer.is_stream:
        assert answer.status == 200
        for message in answer.messages:
            check_message(message, secrets, closing=False)
        return
    assert answer.headers.get_content_type() == "application/json", dict(answer.headers)
    found = answer.json
    asked = _read(request.body)
    if isinstance(found, list):
        assert isinstance(asked, list)
        assert 0 < len(found) <= len(asked)
        for each in found:
            check_message(each, secrets)
        return
    check_message(found, secrets)
    rpc_id = _id_of(asked)
    unread = answer.status in BEFORE_THE_BODY or "stands more than once" in found.get("error", {}).get(
        "message", ""
    )
    if rpc_id is None or (found["id"] is None and unread):
        return
    assert found["id"] == rpc_id
    assert type(found["id"]) is type(rpc_id)


def check_message(message: Any, secrets: Secrets, *, closing: bool = True) -> None:
    """Fail unless this is a JSON-RPC response; with ``closing`` unset, a notification or request will do."""
    assert isinstance(message, dict)
    assert message["jsonrpc"] == "2.0"
    if not closing and "method" in message:
        return
    assert set(message) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}), message
    if "result" in message:
        assert isinstance(message["result"], dict)
        assert message["id"] is not None
        return
    error = message["error"]
    assert set(error) <= {"code", "message", "data"}
    assert type(error["code"]) is int
    assert error["code"] != -32603, error
    assert isinstance(error["message"], str)
    assert error["message"].strip()
    shown = json.dumps({**error, "data": {**(error.get("data") or {}), "uri": ""}})
    assert not (leak := _LEAK.search(shown)), (leak, shown[:500])
    assert secrets.key is None or secrets.key not in shown


def check_log(text: str, secrets: Secrets) -> None:
    """Fail where the process told of a fault of its own, or of a key."""
    fault = _FAULT.search(text)
    assert fault is None, text[max(0, fault.start() - 300) : fault.start() + 3000]
    assert secrets.key is None or secrets.key not in text


def _read(body: bytes) -> Any:
    try:
        return read_json(body)
    except BadJson:
        return None


def _id_of(asked: Any) -> Any:
    rpc_id = asked.get("id") if isinstance(asked, dict) else None
    if isinstance(rpc_id, str):
        return rpc_id if len(rpc_id) <= MAX_ID_CHARACTERS else None
    return rpc_id if type(rpc_id) is int else None
