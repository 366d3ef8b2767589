"""Writes the bodies of requests: JSON, forms, multipart, text and binary. Pure but for the boundary's randomness."""

from __future__ import annotations

import secrets
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from servers.execution.backends.http.definitions import BODY_KINDS
from servers.execution.backends.http.faults import refuse
from servers.execution.backends.http.styles import in_query, plain

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""A body may be larger than the arguments that it is made of, but not without bounds."""

_ESCAPED: Final = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A", 0: "%00"}
"""As browsers write names in multipart (WHATWG HTML, "multipart/form-data"): nothing ends a header early."""

_FILE_KEYS: Final = frozenset({"text", "base64", "filename", "media_type"})

FILE_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "A file: its text, or its bytes in base64.",
    "properties": {
        "text": {"type": "string"},
        "base64": {"type": "string", "contentEncoding": "base64"},
        "filename": {"type": "string", "maxLength": 255},
        "media_type": {"type": "string", "maxLength": 200},
    },
    "additionalProperties": False,
    "oneOf": [{"required": ["text"]}, {"required": ["base64"]}],
}
"""How a file is given that goes into a part of a multipart body."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent after the headers, and the media type that says what it is."""

    content: bytes
    media_type: str


def write_body(body: Mapping[str, Any], value: Any, path: str) -> Body:
    """Write a value as the definition's ``body`` says. ``path`` is the argument's. Raises ``InvalidInput``."""
    kind = str(body["kind"])
    media_type = str(body.get("media_type") or BODY_KINDS[kind])
    fields: Mapping[str, Mapping[str, Any]] = body.get("fields") or {}
    if kind == "json":
        content = orjson.dumps(value)
    elif kind == "text":
        content = _text(value, path).encode()
    elif kind == "binary":
        content = _bytes(value, path)
    elif not isinstance(value, Mapping):
        refuse(path, "Give an object: its properties are the fields of the form.")
    elif kind == "form":
        content = _form(value, fields)
    else:
        boundary = secrets.token_hex(16)
        content = _multipart(value, fields, boundary, path)
        media_type = f"{media_type.partition(';')[0]}; boundary={boundary}"
    if len(content) > MAX_BODY_BYTES:
        refuse(path, f"The body would have {len(content)} bytes; at most {MAX_BODY_BYTES} are sent.")
    return Body(content, media_type)


def _form(value: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]]) -> bytes:
    pairs: list[str] = []
    for name, item in value.items():
        if item is None:
            continue
        field = fields.get(name) or {}
        style = field.get("style") or (
            "json" if isinstance(item, Mapping) and "explode" not in field else "form"
        )
        explode = field.get("explode", style == "form")
        pairs.extend("=".join(pair) for pair in in_query(style, explode, name, item))
    return "&".join(pairs).encode("ascii")


def _multipart(
    value: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]], boundary: str, path: str
) -> bytes:
    parts: list[bytes] = []
    for name, item in value.items():
        media_type = (fields.get(name) or {}).get("media_type")
        parts += [
            _part(name, each, media_type, boundary, f"{path}.{name[:80]}")
            for each in (item if isinstance(item, list) else [item])
            if each is not None
        ]
    return b"".join((*parts, f"--{boundary}--\r\n".encode()))


def _part(name: str, value: Any, media_type: str | None, boundary: str, path: str) -> bytes:
    lines = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name.translate(_ESCAPED)}"']
    if _is_file(value):
        content = _bytes(value["base64"], path) if "base64" in value else _text(value["text"], path).encode()
        filename = str(value.get("filename") or "file")
        lines[0] += f'; filename="{filename.translate(_ESCAPED)}"'
        media_type = value.get("media_type") or media_type or "application/octet-stream"
    elif isinstance(value, Mapping | list):
        content, media_type = orjson.dumps(value), media_type or "application/json"
    else:
        content = plain(value).encode()
    if media_type is not None:
        if not media_type.isascii() or not media_type.isprintable():
            refuse(path, "The media type holds an invisible character.")
        lines.append(f"Content-Type: {media_type}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def _is_file(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and ("base64" in value or "text" in value)
        and not value.keys() - _FILE_KEYS
    )


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        refuse(path, "Give a text.")
    return value


def _bytes(value: Any, path: str) -> bytes:
    try:
        return b64decode(_text(value, path), validate=True)
    except (BadBase64, ValueError):
        refuse(path, "Give the bytes in base64, without line breaks.")
