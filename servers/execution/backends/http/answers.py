"""Turns answers into results: JSON as itself, text as text, all else as base64; never with the source's own secrets."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

from servers.execution.backends.http.definitions import answer_is_wrapped
from servers.execution.backends.http.exchanges import Reply
from servers.execution.backends.http.schemas import WRAP
from servers.execution.contract import Outcome

SHOWN_HEADERS: Final = frozenset(
    {"content-language", "etag", "last-modified", "link", "location", "retry-after", "warning", "deprecation"}
)
SHOWN_PREFIXES: Final = ("x-ratelimit-", "ratelimit", "x-total", "x-page", "x-next")
REDACTED: Final = b"[removed]"
SHORTEST_SECRET: Final = 6
"""What is shorter may stand in an answer by chance, and answers would be full of holes."""
_LEVELS_ABOVE: Final = 16
_MOST_HEADER: Final = 2_000
_CHARSETS: Final = frozenset({"utf-8", "us-ascii", "iso-8859-1", "windows-1252", "utf-16", "iso-8859-15"})
_TEXTUAL: Final = ("text/", "application/xml", "application/javascript", "application/x-www-form-urlencoded")

RESULT_PROPERTIES: Final[Mapping[str, Any]] = {
    "status": {"type": "integer", "description": "The HTTP status."},
    "content_type": {"type": "string"},
    "headers": {"type": "object", "additionalProperties": {"type": "string"}},
    "body": {"description": "JSON as itself, text as text; null where there is none, or it is binary."},
    "body_base64": {"type": "string", "description": "A binary body."},
    "cached": {"type": "boolean", "description": "Whether it was kept from an earlier request."},
    "elapsed_ms": {"type": "number"},
}


def describe_reply(reply: Reply, secrets: Iterable[str]) -> dict[str, Any]:
    """An answer as a result."""
    content_type, charset = _media_type(reply.headers)
    body, encoded = _read_body(redact(reply.body, secrets), content_type, charset)
    shown = {
        "status": reply.status,
        "content_type": content_type,
        "headers": {
            name: redact(value[:_MOST_HEADER].encode("latin-1", "replace"), secrets).decode("latin-1")
            for name, value in reply.headers.items()
            if name in SHOWN_HEADERS or name.startswith(SHOWN_PREFIXES)
        },
        "body": body,
        "cached": reply.cached,
        "elapsed_ms": round(reply.seconds * 1_000, 3),
    }
    return shown if encoded is None else {**shown, "body_base64": encoded}


def to_outcome(structured: dict[str, Any], *, failed: bool = False, rows: int | None = None) -> Outcome:
    """The result of a ready-made tool: its text is the same in JSON."""
    text = orjson.dumps(structured)
    return Outcome(structured, text.decode(), rows=rows, size=len(text), failed=failed)


def tool_outcome(reply: Reply, definition: Mapping[str, Any], secrets: Iterable[str]) -> Outcome:
    """The result of a tool of the team's own: the answer itself, in the shape that the definition promises."""
    described = describe_reply(reply, secrets)
    if reply.status >= 400:
        return to_outcome(described, failed=True)
    value = described["body"]
    if "body_base64" in described:
        value = {"content_type": described["content_type"], "base64": described["body_base64"]}
    wrapped = answer_is_wrapped(definition)
    if wrapped is None:
        if not isinstance(value, dict | list):
            text = _plain(value, reply.status)
            return Outcome(None, text, size=len(text.encode()))
        wrapped = not isinstance(value, dict)
    if wrapped or not isinstance(value, dict):
        # Where an object was promised and none came, as with status 204, an empty one says so.
        structured: dict[str, Any] = {} if value is None and not wrapped else {WRAP: value}
    else:
        structured = value
    text = orjson.dumps(structured).decode()
    return Outcome(structured, text, size=len(text.encode()))


def redact(body: bytes, secrets: Iterable[str]) -> bytes:
    """The bytes without a secret in any form in which a server that gives its request back would show it."""
    for secret in secrets:
        if len(secret) < SHORTEST_SECRET:
            continue
        for form in _forms(secret):
            body = body.replace(form, REDACTED)
    return body


def _forms(secret: str) -> set[bytes]:
    quoted = orjson.dumps(secret)[1:-1]
    return {
        secret.encode(),
        quoted,
        quoted.replace(b"/", b"\\/"),
        quote(secret, safe="").encode(),
        b64encode(secret.encode()),
    }


def _below(value: Any) -> Any:
    """A value as deep as results lie in a message: what could not be written there stays text."""
    for _ in range(_LEVELS_ABOVE):
        value = [value]
    return value


def _plain(value: Any, status: int) -> str:
    if value is None or value == "":
        return f"Answered with status {status}, and without a body."
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _media_type(headers: Mapping[str, str]) -> tuple[str, str]:
    given, _, parameters = headers.get("content-type", "").partition(";")
    charset = ""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return given.strip().lower()[:200], charset if charset in _CHARSETS else "utf-8"


def _read_body(body: bytes, content_type: str, charset: str) -> tuple[Any, str | None]:
    """The body's value, and it in base64 where it is neither JSON nor text."""
    if not body:
        return None, None
    if content_type == "" or content_type.endswith(("/json", "+json")):
        try:
            value = orjson.loads(body)
            orjson.dumps(_below(value))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            pass
        else:
            return value, None
    if content_type.startswith(_TEXTUAL) or content_type.endswith(("/json", "+json", "+xml")):
        return body.decode(charset, "replace"), None
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, b64encode(body).decode()
