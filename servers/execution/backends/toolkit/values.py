"""Rows, fields and numbers as the data tools read them, and the faults that name both. Does nothing with them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Final, NoReturn

import orjson

from core.errors import InvalidInput, SourceError

MAX_ROWS: Final = 50_000
MAX_FIELDS: Final = 100
"""That one call names."""
MAX_STEPS: Final = 16
"""Of a dotted path."""
MAX_PATH: Final = 200
MAX_RESULT_BYTES: Final = 2 * 1024 * 1024

MISSING: Final = object()
"""What a row has at a path that it does not have."""

EXACT: Final = Context(prec=2_200, Emin=-100_000, Emax=100_000, traps=[])
"""Sums in it are exact: of anything that ``read_number`` reads, from 1e999 to 1e-999."""

_NUMBER: Final = re.compile(r"[+-]?(?=\.?[0-9])[0-9]*(?P<broken>(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?)")
_LONGEST_NUMBER: Final = 60
_SAFE_DIGITS: Final = 15
"""Digits of a whole number that a double keeps."""
_64_BITS: Final = range(-(2**63), 2**64)
_SHOWN_NAMES: Final = 20
_TOLD: Final[Mapping[str, str]] = {
    "null": "null",
    "boolean": "a boolean",
    "integer": "a number",
    "number": "a number",
    "string": "text",
    "array": "an array",
    "object": "an object",
}
_SMALL: Final = 16
"""Bytes that a number, a truth value or null take at most in an estimate."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field by its name, or by a path with dots into what is nested: ``address.city``, ``tags.0``."""

    name: str
    steps: tuple[str, ...]

    def of(self, row: Mapping[str, Any]) -> Any:
        """The value in a row, ``MISSING`` where there is none. A key with dots in it goes before a path."""
        if self.name in row:
            return row[self.name]
        value: Any = row
        for step in self.steps:
            if isinstance(value, Mapping):
                value = value.get(step, MISSING)
            elif isinstance(value, list) and step.isdecimal() and int(step[:9]) < len(value):
                value = value[int(step[:9])]
            else:
                return MISSING
        return value


def read_field(name: Any, path: str) -> Field:
    """A field as an argument names it. Raises ``InvalidInput`` at ``path``."""
    if not isinstance(name, str) or not name:
        refuse(path, "Give the name of a field.")
    steps = tuple(name.split("."))
    if len(name) > MAX_PATH or len(steps) > MAX_STEPS:
        refuse(path, f"A field's path has at most {MAX_PATH} characters and {MAX_STEPS} steps.")
    return Field(name, steps)


def read_rows(arguments: Mapping[str, Any]) -> list[Any]:
    """The argument ``data``. Raises ``InvalidInput``; what each row is, ``read_row`` checks."""
    data = arguments.get("data")
    if not isinstance(data, list):
        refuse("data", "Give an array of objects, one a row.")
    if len(data) > MAX_ROWS:
        refuse("data", f"There are {len(data)} rows; at most {MAX_ROWS} are taken.")
    return data


def read_row(row: Any, number: int) -> Mapping[str, Any]:
    """A row, counted from 1. Raises ``InvalidInput`` that names it."""
    if not isinstance(row, Mapping):
        refuse(f"data[{number - 1}]", f"Row {number} is {type_name(row)}; each row must be an object.")
    return row


def read_number(value: Any) -> int | Decimal | None:
    """The number that a value is, or that a text is written as; ``None`` for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        # What its reader saw: 0.1 is a tenth.
        return Decimal(repr(value)) if math.isfinite(value) else None
    if isinstance(value, str):
        text = value.strip()
        found = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
        if found is not None:
            return int(text) if not found["broken"] else Decimal(text)
    return None


def is_absent(value: Any) -> bool:
    """Whether a row has nothing there: no field, null, or the empty text of a CSV file."""
    return value is MISSING or value is None or (isinstance(value, str) and not value.strip())


def show_number(value: int | Decimal) -> int | float | str:
    """A number for JSON: whole where it is, else the nearest double; beyond what JSON's readers keep, its text."""
    if isinstance(value, Decimal):
        near = float(value)
        if value.adjusted() < _SAFE_DIGITS and near.is_integer() and value == int(near):
            return int(near)
        return near if math.isfinite(near) else str(value)
    return value if value in _64_BITS else str(value)


def kind_of(value: Any) -> str:
    """A JSON value's type; whole numbers apart from others."""
    if value is None:
        return "null"
    for type_, name in (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
    ):
        if isinstance(value, type_):
            return name
    return "object"


def type_name(value: Any) -> str:
    """A value's JSON type with its article."""
    return _TOLD[kind_of(value)]


def unnumbered_name(value: Any) -> str:
    """What a value is that ``read_number`` reads no number from."""
    return "text that is not written as a number" if isinstance(value, str) else type_name(value)


def refuse(path: str, message: str) -> NoReturn:
    raise InvalidInput(message, errors=[{"path": path, "message": message}], code="arguments_invalid")


def refuse_value(number: int, field: Field, problem: str) -> NoReturn:
    """Raise ``InvalidInput`` that names the row, counted from 1, and the field. The value itself is never told."""
    refuse(f"data[{number - 1}].{field.name}", f"Row {number}, field {field.name}: {problem}")


def refuse_unknown(field: Field, path: str, rows: Sequence[Any]) -> NoReturn:
    """Raise ``InvalidInput`` for a field that no row has, and say which there are."""
    first = rows[0] if rows and isinstance(rows[0], Mapping) else {}
    names = ", ".join(name[:40] for name in list(first)[:_SHOWN_NAMES])
    refuse(path, f"No row has the field {field.name}. The first row has: {names or 'none'}.")


class Room:
    """What is left of a result's size. Told of each part beforehand, so that none is made that is too large."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_RESULT_BYTES

    def take(self, value: Any) -> None:
        """Count a value in. Raises ``SourceError`` (``result_too_large``)."""
        if isinstance(value, str):
            self._left -= len(value) + 4
        elif isinstance(value, dict | list):
            self._left -= len(orjson.dumps(value)) + 2
        else:
            self._left -= _SMALL
        if self._left < 0:
            raise too_large()


def too_large() -> SourceError:
    """The error of a result over its size."""
    return SourceError(
        f"The result has more than {MAX_RESULT_BYTES:,} bytes. Filter the rows, map fewer fields, or give less data.",
        code="result_too_large",
        data={"max_bytes": MAX_RESULT_BYTES},
    )
