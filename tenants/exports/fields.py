"""A record's body as columns, for CSV and Parquet. Pure, and knows no Django: another program of ours runs it, too."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

TEXTS: Final = (
    "kind",
    "outcome",
    "actor",
    "credential_id",
    "client",
    "server",
    "tool",
    "arguments",
    "reason",
    "request_id",
    "trace_id",
    "served_from",
    "hmac",
    "preview",
    "more",
)
"""Columns of text. ``arguments``, ``reason`` and ``more`` are JSON; ``more`` holds what no other column does."""

NUMBERS: Final = ("v", "tool_version", "rows", "size", "duration_us", "intent", "parent")
FLAGS: Final = ("truncated",)

COLUMNS: Final = (
    "v",
    "kind",
    "outcome",
    "actor",
    "credential_id",
    "client",
    "server",
    "tool",
    "tool_version",
    "arguments",
    "reason",
    "rows",
    "size",
    "truncated",
    "duration_us",
    "request_id",
    "trace_id",
    "intent",
    "parent",
    "served_from",
    "hmac",
    "preview",
    "more",
)
"""In the order in which they are exported."""

_KNOWN: Final = frozenset(COLUMNS) - {"more"}
_ARGUMENTS: Final = b'"arguments":'
_CLIENT: Final = b',"client":"'


def columns_of(body: bytes) -> dict[str, Any]:
    """The columns of a record by name; one that its body does not have is ``None``."""
    arguments, rest = _apart(body)
    fields: dict[str, Any]
    try:
        fields = orjson.loads(rest)
    except orjson.JSONDecodeError:
        # Half of a pair of surrogates, or a number that orjson does not read: the standard library does both.
        fields = json.loads(rest)
    if arguments is not None:
        fields["arguments"] = arguments.decode()
    elif fields.get("arguments") is not None:
        fields["arguments"] = _text(fields["arguments"])
    if fields.get("reason") is not None:
        fields["reason"] = _text(fields["reason"])
    if not fields.keys() <= _KNOWN:
        fields["more"] = _text({name: value for name, value in fields.items() if name not in _KNOWN})
    return fields


def _apart(body: bytes) -> tuple[bytes | None, bytes]:
    """The bytes of ``arguments`` as they are stored, and the body without them: they need not be read to be exported.

    A body's members are sorted: after ``actor``, a text, come ``arguments``, and then ``client``. A quote inside of a
    text is escaped, so the first and the last of these marks stand where they seem to.
    """
    start = body.find(_ARGUMENTS) + len(_ARGUMENTS)
    end = body.rfind(_CLIENT)
    if start < len(_ARGUMENTS) or end < start or body[start:end] == b"null":
        return None, body
    return body[start:end], b"".join((body[:start], b"null", body[end:]))


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
