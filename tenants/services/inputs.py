"""Checks of what people enter, with a message per fault. Pure but for the translation of a taken name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import orjson
from django.db import IntegrityError, transaction

from core.errors import Conflict, InvalidInput
from core.readable import told_hidden

MAX_DEPTH: Final = 32
"""How deep objects and lists may nest in JSON that is stored."""


def refuse(path: str, message: str) -> NoReturn:
    """Raise ``InvalidInput`` with this one fault at ``path``."""
    raise InvalidInput(f"{path}: {message}", errors=[{"path": path, "message": message}])


def clean_text(value: object, path: str, *, longest: int, empty: bool = False, lines: bool = False) -> str:
    """A text without surrounding space and without invisible or direction-changing characters.

    ``longest`` in characters; ``empty`` allows none at all; ``lines`` allows line breaks and tabs.
    """
    if not isinstance(value, str):
        refuse(path, "must be text.")
    text = value.strip()
    if not text and not empty:
        refuse(path, "must not be empty.")
    if len(text) > longest:
        refuse(path, f"is {len(text)} characters long; at most {longest} are allowed.")
    if hidden := told_hidden(text, lines=lines):
        refuse(path, hidden)
    return text


def check_json(value: object, path: str, *, largest: int) -> None:
    """Raise ``InvalidInput`` unless ``value`` is JSON that PostgreSQL stores and that stays within bounds.

    ``largest`` in bytes of its compact form.
    """
    _checked_text(value, path, largest)


def as_json(value: object, path: str, *, largest: int) -> Any:
    """``value`` as it comes back once stored, checked as by ``check_json``: of plain objects and lists."""
    return orjson.loads(_checked_text(value, path, largest))


def _checked_text(value: object, path: str, largest: int) -> bytes:
    _check_node(value, path, MAX_DEPTH)
    try:
        text = orjson.dumps(value)
    except TypeError:
        refuse(path, "holds something that is not JSON, or a whole number beyond 64 bits.")
    if len(text) > largest:
        refuse(path, f"is {len(text)} bytes as JSON; at most {largest} are allowed.")
    return text


def _check_node(value: object, path: str, depth: int) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            refuse(path, "contains the character U+0000, which cannot be stored. Remove it.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            refuse(path, "is not a finite number.")
    elif isinstance(value, Mapping | list | tuple):
        if depth == 0:
            refuse(path, f"nests deeper than {MAX_DEPTH} levels.")
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            _check_node(key, path, depth)
            _check_node(item, f"{path}.{key}" if len(path) < 200 else path, depth - 1)


def matching(value: object, path: str, pattern: str, rule: str) -> str:
    """``value`` where all of it matches ``pattern``; otherwise an error that states the ``rule``."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        refuse(path, rule)
    return value


def one_of(value: object, path: str, known: Sequence[str]) -> str:
    """``value`` where it is one of ``known``; otherwise an error that lists them."""
    if not isinstance(value, str) or value not in known:
        refuse(path, f"is not known. Choose one of: {', '.join(known) or 'none is available'}.")
    return value


def whole_number(value: object, path: str, *, low: int, high: int) -> int:
    """``value`` where it is a whole number within the bounds, both included; otherwise an error that states them."""
    if type(value) is not int or not low <= value <= high:
        refuse(path, f"must be a whole number from {low} to {high}.")
    return value


@contextmanager
def faults_below(path: str, *, but: str = "") -> Iterator[None]:
    """Say of the faults found inside, ``but`` those at one path, that they lie below ``path``.

    The message becomes the first fault's.
    """
    try:
        yield
    except InvalidInput as error:
        if not error.errors:
            raise
        errors = [
            fault
            if fault["path"] == but
            else {
                "path": ".".join(part for part in (path, fault["path"]) if part),
                "message": fault["message"],
            }
            for fault in error.errors
        ]
        raise InvalidInput(
            f"{errors[0]['path']}: {errors[0]['message']}", errors=errors, code=error.code, data=error.data
        ) from None


@contextmanager
def name_taken(constraint: str, message: str) -> Iterator[None]:
    """Turn a violation of this unique constraint into ``Conflict``; the transaction stays usable."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        diagnosis: Any = getattr(error.__cause__, "diag", None)
        if getattr(diagnosis, "constraint_name", None) != constraint:
            raise
        raise Conflict(message, code="name_taken") from None
