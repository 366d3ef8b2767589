"""Carries values across: JSON parameters to SQLite's values, and what it gives to JSON. No I/O.

The rules of the way back: integers and real numbers are numbers, infinities are texts, what is no text and no number
(BLOB) is hexadecimal text after ``\\x``, as PostgreSQL writes it. The way there: arrays and objects are JSON texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, NoReturn

import orjson

from core.errors import InvalidInput

_LARGEST: Final = 2**63
_STORAGE: Final[Mapping[type, str]] = {int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB"}


def encode_parameter(value: Any, path: str) -> str | int | float | None:
    """A JSON value as SQLite takes it. Raises ``InvalidInput`` naming ``path``."""
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        if not -_LARGEST <= value < _LARGEST:
            _refuse(path, "SQLite cannot take this number: integers have at most 64 bits.")
        return int(value)
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(path, "SQLite cannot take this text: it holds half a surrogate pair.")
    return text


def decode_value(value: Any) -> Any:
    """What SQLite gave, as JSON has it."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, float) and not isfinite(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def type_names(declared: Sequence[str | None], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The type of each column: as the table declares it, else that of the first value that there is."""
    names = []
    for column, name in enumerate(declared):
        first = next((row[column] for row in rows if row[column] is not None), None)
        names.append(name or _STORAGE.get(type(first), "NULL"))
    return names


def quote_names(names: Sequence[str]) -> str:
    """Names as a list of quoted identifiers."""
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)


def _refuse(path: str, message: str) -> NoReturn:
    raise InvalidInput(message, errors=[{"path": path, "message": message}])
