"""Parameters of tools that a client repeats in headers of their own (2026-07-28, "Custom Headers"). Runs no tool.

What a schema asks for is read once, when a surface's view is made; each call then compares what it names.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from servers.endpoint.specification import HEADER_MISMATCH, MIRRORING
from servers.endpoint.wire import RpcError

PREFIX: Final = b"mcp-param-"

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A field name (RFC 9110, section 5.6.2)."""

_TYPES: Final = frozenset({"string", "integer", "boolean"})
_ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=")
_DECIMAL: Final = re.compile(r"(-?[0-9]+)(?:\.0+)?")

# Keywords of JSON Schema 2020-12 that hold schemas: one, a list of them, or an object of them. References are not
# followed, and what is data (``default``, ``examples``) is no schema.
_ONE: Final = frozenset(
    {
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_SEVERAL: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties"})


@dataclass(frozen=True, slots=True)
class Mirrored:
    """One parameter: where it stands in the arguments, and the header that repeats it."""

    path: tuple[str, ...]
    header: bytes
    """In lower case."""
    shown: str
    """As a client writes it."""
    is_integer: bool


def mirrored_parameters(schema: object) -> tuple[Mirrored, ...]:
    """What an input schema asks clients to repeat. Nothing where it asks for something that it must not ask for.

    A client drops the tool then, or ignores all of it: so no header can be wrong.
    """
    found: dict[bytes, Mirrored] = {}
    for path, position in _positions(schema):
        if MIRRORING not in position:
            continue
        token, kind = position[MIRRORING], position.get("type")
        if not path or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return ()
        header = PREFIX + token.lower().encode()
        if not isinstance(kind, str) or kind not in _TYPES or header in found:
            return ()
        found[header] = Mirrored(path, header, f"Mcp-Param-{token}", kind == "integer")
    return tuple(found.values())


def check_mirrored(
    mirrored: tuple[Mirrored, ...], arguments: Mapping[str, Any], headers: Mapping[bytes, bytes]
) -> None:
    """Raise ``RpcError`` (header mismatch) where a header and its argument are not there together, and the same."""
    for each in mirrored:
        raw, value = headers.get(each.header), _value_at(arguments, each.path)
        name, argument = each.shown, ".".join(each.path)
        written = None if value is None else _written(value)
        if written is None:
            # What cannot be written in a header is left out of it, like nothing at all.
            if raw is not None:
                raise _mismatch(
                    f"{name} is there, and no value of the argument {argument} that it could repeat."
                )
            continue
        if raw is None:
            raise _mismatch(f"{name} is missing, which repeats the argument {argument}.")
        given = decode_value(raw)
        if given is None:
            raise _mismatch(f"{name} is not valid base64 of UTF-8 text between =?base64? and ?=.")
        if given != written and not (each.is_integer and _is_same_number(value, given)):
            raise _mismatch(f"{name} does not repeat the argument {argument}.")


def decode_value(raw: bytes | None) -> str | None:
    """A header's value as text (2026-07-28, "Value Encoding"); ``None`` for none, or one that is encoded wrongly."""
    if raw is None:
        return None
    text = raw.decode("latin-1")
    encoded = _ENCODED.fullmatch(text) if text.startswith("=?") else None
    if encoded is None:
        return text
    try:
        decoded = base64.b64decode(encoded[1], validate=True)
        # Two spellings of one value would be two values to whoever routes by the header.
        return decoded.decode() if base64.b64encode(decoded).decode() == encoded[1] else None
    except (binascii.Error, ValueError):
        return None


def _positions(schema: object) -> Iterator[tuple[tuple[str, ...] | None, dict[str, Any]]]:
    """Each schema in a schema, and the names that lead to it through ``properties`` alone; ``None``: others do."""
    waiting: list[tuple[tuple[str, ...] | None, object]] = [((), schema)]
    while waiting:
        path, position = waiting.pop()
        if not isinstance(position, dict):
            continue
        yield path, position
        for keyword, value in position.items():
            if keyword == "properties" and isinstance(value, dict):
                waiting += ((None if path is None else (*path, name), below) for name, below in value.items())
            elif keyword in _ONE:
                waiting.append((None, value))
            elif keyword in _SEVERAL and isinstance(value, list):
                waiting += ((None, below) for below in value)
            elif keyword in _NAMED and isinstance(value, dict):
                waiting += ((None, below) for below in value.values())


def _value_at(arguments: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = arguments
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _written(value: Any) -> str | None:
    """A value as a header has it; ``None`` where it has no such form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        return None
    try:
        return str(value)
    except ValueError:
        # More digits than Python writes.
        return None


def _is_same_number(value: Any, given: str) -> bool:
    """Whether a header has the value of an integer in another spelling: 42 and 42.0 are one."""
    if isinstance(value, bool) or not (
        isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    ):
        return False
    written = _DECIMAL.fullmatch(given)
    try:
        return written is not None and int(written[1]) == int(value)
    except ValueError:
        return False


def _mismatch(what: str) -> RpcError:
    return RpcError(
        HEADER_MISMATCH, f"The header {what} Send it with the value that the argument has, or neither."
    )
