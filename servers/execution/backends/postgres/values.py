"""Carries values across: JSON parameters to PostgreSQL's text form, result columns to JSON. No I/O.

The rules of the way back, which the tools' descriptions rely on:

- integers stay integers; beyond 64 bits they are strings (few JSON parsers take them);
- ``numeric`` is a number while 15 digits hold it exactly; a column with a longer value is all strings;
- NaN and infinities are the strings PostgreSQL writes; NULL is null;
- json and jsonb are themselves; one that does not fit JSON's common limits is its own text;
- arrays are arrays; dates, times, intervals, uuid, bytea (``\\x…``), ranges and all other types are
  PostgreSQL's text, times with ``T`` between date and time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

import orjson
import psycopg
from psycopg.adapt import AdaptersMap, Loader
from psycopg.postgres import types as builtin_types

from core.errors import InvalidInput

_EXACT_DIGITS: Final = 15
"""Decimal digits that any binary64 holds and gives back unchanged."""

TYPE_OIDS: Final[Mapping[str, int]] = {
    "string": 25,
    "integer": 20,
    "number": 1700,
    "boolean": 16,
    "string[]": 1009,
    "integer[]": 1016,
}
"""PostgreSQL's type (text, bigint, numeric, boolean, text[], bigint[]) for a parameter's declared type."""


class _NumericLoader(Loader):
    def load(self, data: Any) -> int | float | str:
        text = bytes(data).decode()
        digits = text.lstrip("-").replace(".", "").lstrip("0")
        if not digits.isdigit():
            return text if digits else 0.0 if "." in text else 0
        if "." not in text:
            return int(text) if len(digits) < 19 else text
        if len(digits.rstrip("0")) <= _EXACT_DIGITS:
            return float(text)
        return text


class _FloatLoader(Loader):
    def load(self, data: Any) -> float | str:
        value = float(bytes(data))
        return value if isfinite(value) else bytes(data).decode()


class _BoolLoader(Loader):
    def load(self, data: Any) -> bool:
        return bytes(data) == b"t"


class _IntLoader(Loader):
    def load(self, data: Any) -> int:
        return int(bytes(data))


class _TextLoader(Loader):
    def load(self, data: Any) -> str:
        # A database with the encoding SQL_ASCII may send what is not UTF-8.
        return bytes(data).decode(errors="replace")


class _TimestampLoader(Loader):
    def load(self, data: Any) -> str:
        text = bytes(data).decode()
        if len(text) > 10 and text[10] == " ":
            text = f"{text[:10]}T{text[11:]}"
        # PostgreSQL shortens +05:00 to +05; ISO 8601 as JSON Schema's date-time has it does not.
        return f"{text}:00" if text[-3:-2] in ("+", "-") and "T" in text else text


class _JsonLoader(Loader):
    def load(self, data: Any) -> Any:
        raw = bytes(data)
        try:
            value = json.loads(raw, parse_float=_read_json_float)
            orjson.dumps(value)
        except (ValueError, TypeError, RecursionError):
            return raw.decode(errors="replace")
        return value


def _read_json_float(text: str) -> float | str:
    value = float(text)
    return value if isfinite(value) else text


_LOADERS: Final[Mapping[str, type[Loader]]] = {
    "bool": _BoolLoader,
    "float4": _FloatLoader,
    "float8": _FloatLoader,
    "numeric": _NumericLoader,
    "json": _JsonLoader,
    "jsonb": _JsonLoader,
    "timestamp": _TimestampLoader,
    "timestamptz": _TimestampLoader,
}
_INTEGERS: Final = frozenset({"int2", "int4", "int8", "oid"})


class _Adapters:
    """The context that connections are opened with: psycopg's adapters with the loaders of this module."""

    connection = None

    def __init__(self) -> None:
        self.adapters = AdaptersMap(psycopg.adapters)
        for info in builtin_types:
            loader = _LOADERS.get(info.name)
            if loader is None:
                loader = _IntLoader if info.name in _INTEGERS else _TextLoader
            if info.name not in _INTEGERS:
                # psycopg's own loaders of integers are in C and right as they are.
                self.adapters.register_loader(info.oid, loader)
        self.adapters.register_loader(0, _TextLoader)
        self.adapters.register_loader("record", _TextLoader)


ADAPTERS: Final = _Adapters()

_NUMERIC_OID: Final = builtin_types["numeric"].oid


def builtin_type_name(oid: int) -> str | None:
    """The SQL name of one of PostgreSQL's own types (``integer``, ``text[]``), None for any other."""
    info = builtin_types.get(oid)
    if info is None:
        return None
    return info.regtype if info.oid == oid else f"{info.regtype}[]"


def level_numeric_columns(rows: list[list[Any]], oids: Sequence[int]) -> None:
    """Where one numeric of a column had to be a string, make all of them strings: one column, one type."""
    for column, oid in enumerate(oids):
        if oid != _NUMERIC_OID:
            continue
        if any(isinstance(row[column], str) and row[column][-1:].isdigit() for row in rows):
            for row in rows:
                if isinstance(row[column], int | float):
                    row[column] = str(row[column])


def encode_parameter(value: Any, path: str) -> bytes | None:
    """A JSON value in PostgreSQL's text form. Raises ``InvalidInput`` naming ``path``."""
    text = _write(value, path)
    if text is None:
        return None
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = b"\x00"
    if b"\x00" in encoded:
        message = "PostgreSQL cannot take this text: it holds NUL or half a surrogate pair."
        raise InvalidInput(message, errors=[{"path": path, "message": message}])
    return encoded


def _write(value: Any, path: str) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return repr(value)
        case list() | tuple():
            return _write_array(value, path)
        case Mapping():
            return orjson.dumps(value).decode()
    message = f"A value of the type {type(value).__name__} cannot be a parameter."
    raise InvalidInput(message, errors=[{"path": path, "message": message}])


def _write_array(values: Sequence[Any], path: str) -> str:
    parts = []
    for index, value in enumerate(values):
        text = _write(value, f"{path}.{index}")
        if text is None:
            parts.append("NULL")
        elif isinstance(value, list | tuple):
            parts.append(text)
        else:
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'"{escaped}"')
    return "{" + ",".join(parts) + "}"


def infer_type(value: Any) -> int:
    """PostgreSQL's type for a JSON value, for places where the server cannot infer it. 0: leave it open."""
    match value:
        case bool():
            return TYPE_OIDS["boolean"]
        case int():
            return TYPE_OIDS["integer"]
        case float():
            return TYPE_OIDS["number"]
        case [int(), *_]:
            return TYPE_OIDS["integer[]"]
        case list():
            return TYPE_OIDS["string[]"]
        case None | str():
            return TYPE_OIDS["string"]
    return 0


def quote_names(names: Sequence[str]) -> str:
    """Names as a list of quoted SQL identifiers."""
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)
