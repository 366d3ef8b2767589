"""What one record of the log says, and its exact bytes. Pure: no storage, no Django, no MCP wire.

A record's body is canonical JSON (UTF-8, keys sorted, no white space): what is hashed, stored and exported,
byte for byte. Its sequence number and time are not in the body; the chain hashes them beside it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

BODY_VERSION: Final = 1
"""Stands in each body as ``v``; it grows when a field changes its meaning, not when one is added."""

KIND_CALL: Final = "tools/call"
KIND_READ: Final = "resources/read"
KIND_PROMPT: Final = "prompts/get"

CALL_KINDS: Final = (KIND_CALL, KIND_READ, KIND_PROMPT)
"""The kinds of record that a run of an operation leaves."""

INTENT: Final = "intent"
"""The outcome of a record that says what is about to run; another says what became of it, and names this one."""

OUTCOMES: Final = ("ok", "error", "refused", "invalid", "cancelled", "input_required", INTENT)
"""It worked; it ran and failed; a rule refused it; the input was wrong; the caller went away while it ran; it
ended to ask the client, and runs again with the answer; it is about to run."""

MAX_ARGUMENTS_BYTES: Final = 64 * 1024
"""Arguments beyond this are replaced by their size and SHA-256, so one call cannot fill the log."""

MAX_MESSAGE_CHARACTERS: Final = 2_000

KIND_CHARACTERS: Final = 40
OUTCOME_CHARACTERS: Final = 16
ACTOR_CHARACTERS: Final = 200
SERVER_CHARACTERS: Final = 40
TOOL_CHARACTERS: Final = 140
REQUEST_ID_CHARACTERS: Final = 64
CLIENT_CHARACTERS: Final = 200

TEXT_COLUMNS: Final[dict[str, int]] = {
    "kind": KIND_CHARACTERS,
    "outcome": OUTCOME_CHARACTERS,
    "actor": ACTOR_CHARACTERS,
    "server": SERVER_CHARACTERS,
    "tool": TOOL_CHARACTERS,
    "request_id": REQUEST_ID_CHARACTERS,
}
"""The texts that the table repeats beside the body, for searching, and how long they may be there."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def now_us() -> int:
    """The present, in microseconds since 1970 UTC: the unit of ``Entry.at``."""
    return time.time_ns() // 1000


def to_datetime(at_us: int) -> datetime:
    """Microseconds since 1970 as an aware datetime, exactly."""
    return _EPOCH + at_us * _MICROSECOND


def to_microseconds(at: datetime) -> int:
    """An aware datetime as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was refused or failed: a stable code, the rule that decided, a sentence for a person."""

    code: str
    rule: str = ""
    message: str = ""


@dataclass(slots=True)
class Entry:
    """One thing that happened, before it has its place in the chain. Nobody changes it: being frozen would cost
    each call 2 µs.

    ``arguments`` are what was asked for (of a call, or of a change of configuration), with secrets already
    masked. ``client`` is the MCP client as it names itself. ``size`` is bytes of the result, ``duration_us``
    and ``at`` are microseconds. ``intent`` is the number of the intent whose outcome this is. ``trace_id`` is that of
    the distributed trace that the client put the request into (W3C Trace Context), or empty. ``parent`` is the
    number of the intent of the call that made this one. ``served_from`` says of a call that did not run itself
    where its result came from: ``cache``; ``same_run``, the run of another call made at the same time; or ``task``, one
    that was made before with the same idempotency key. ``task`` is the id of the task that the call goes on as,
    ``schedule`` that of the schedule that made it. ``hmac`` is the mark of the arguments before they were masked, and
    ``preview`` the masked beginning of the result (``tenants.audit.originals``), or empty.
    """

    kind: str
    outcome: str
    actor: str
    credential_id: UUID | None = None
    client: str = ""
    server: str = ""
    tool: str = ""
    tool_version: int | None = None
    arguments: Mapping[str, Any] | None = None
    reason: Reason | None = None
    rows: int | None = None
    size: int | None = None
    truncated: bool = False
    duration_us: int = 0
    request_id: str = ""
    intent: int | None = None
    trace_id: str = ""
    parent: int | None = None
    served_from: str = ""
    task: str = ""
    schedule: str = ""
    hmac: str = ""
    preview: str = ""
    at: int = field(default_factory=now_us)


def encode(entry: Entry) -> bytes:
    """The entry's body: canonical JSON. Never fails for what a client sent; what cannot be said is described."""
    reason = entry.reason
    body: dict[str, Any] = {
        "actor": entry.actor[:ACTOR_CHARACTERS],
        "arguments": None,
        "client": entry.client[:CLIENT_CHARACTERS],
        "credential_id": entry.credential_id,
        "duration_us": entry.duration_us,
        "kind": entry.kind[:KIND_CHARACTERS],
        "outcome": entry.outcome[:OUTCOME_CHARACTERS],
        "reason": None
        if reason is None
        else {
            "code": reason.code,
            "message": reason.message[:MAX_MESSAGE_CHARACTERS],
            "rule": reason.rule[:MAX_MESSAGE_CHARACTERS],
        },
        "request_id": entry.request_id[:REQUEST_ID_CHARACTERS],
        "rows": entry.rows,
        "server": entry.server[:SERVER_CHARACTERS],
        "size": entry.size,
        "tool": entry.tool[:TOOL_CHARACTERS],
        "tool_version": entry.tool_version,
        "truncated": entry.truncated,
        "v": BODY_VERSION,
    }
    _say_besides(body, entry)
    if entry.arguments is None:
        return canonical(body)
    body["arguments"] = entry.arguments
    try:
        encoded = canonical(body)
    except (RecursionError, TypeError, ValueError):
        # Nested too deeply, or holding what JSON has no word for: say so rather than lose the record.
        body["arguments"] = {"omitted": "not representable"}
        return canonical(body)
    if len(encoded) > MAX_ARGUMENTS_BYTES:
        arguments = canonical(entry.arguments)
        if len(arguments) > MAX_ARGUMENTS_BYTES:
            digest = hashlib.sha256(arguments).hexdigest()
            body["arguments"] = {"omitted": "too large", "sha256": digest, "size": len(arguments)}
            return canonical(body)
    return encoded


def _say_besides(body: dict[str, Any], entry: Entry) -> None:
    """What only some records have."""
    if entry.intent is not None:
        body["intent"] = entry.intent
    if entry.trace_id:
        body["trace_id"] = entry.trace_id
    if entry.parent is not None:
        body["parent"] = entry.parent
    if entry.served_from:
        body["served_from"] = entry.served_from
    if entry.task:
        body["task"] = entry.task
    if entry.schedule:
        body["schedule"] = entry.schedule
    if entry.hmac:
        body["hmac"] = entry.hmac
    if entry.preview:
        body["preview"] = entry.preview


def decode(body: bytes) -> dict[str, Any]:
    """A body's fields, by name. The other direction of ``encode``."""
    fields: dict[str, Any] = json.loads(body)
    return fields


def column(text: str, limit: int) -> str:
    """Text as a search column can hold it: at most ``limit`` characters, without NUL and lone surrogates.

    Cut first, as the body's text is: so a column follows from the body alone, and a verifier can compare them.
    """
    text = text[:limit]
    if not text.isascii() or "\0" in text:
        text = text.replace("\0", "").encode("utf-8", "replace").decode()
    return text


def columns_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the search columns of a record must hold, from its decoded body."""
    columns: dict[str, Any] = {name: column(body[name], limit) for name, limit in TEXT_COLUMNS.items()}
    columns["credential_id"] = UUID(body["credential_id"]) if body["credential_id"] else None
    columns["duration_us"] = body["duration_us"]
    columns["intent_seq"] = body.get("intent")
    return columns


def canonical(value: Any) -> bytes:
    """Canonical JSON. Raises ``RecursionError``, ``TypeError`` and ``ValueError`` for what has none."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # orjson refuses integers beyond 64 bits, lone surrogates and keys that are no text; json writes them.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()
