"""Reads JSON strictly: one meaning for every body, or none. Pure; knows no surface that it reads for.

Refused, beyond what RFC 8259 refuses: a doubled key (two readers would see two bodies), NUL in a text, nesting
beyond 254 levels, and whole numbers beyond 64 bits (they would be rounded in silence). orjson itself refuses
NaN, Infinity, numbers out of range, lone surrogates and bad UTF-8.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson


class BadJson(ValueError):
    """The text is not JSON that can be trusted to mean one thing. The message says where or why."""


_SPACES: Final = b" \t\n\r"
_NUL: Final = b"\\u0000"
_NO_NUMBERS: Final = ("NaN", "Infinity")


def read_json(text: bytes) -> Any:
    """The value of a JSON text. Raises ``BadJson``."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise _bad_syntax(fault) from None
    try:
        written = orjson.dumps(value)
    except TypeError:
        raise BadJson("it is nested deeper than 254 levels") from None
    # What is written back the same had no doubled key: the cheap proof, which compact clients pass. White space
    # may differ (it is taken out of texts as well, on both sides): a doubled entry would still be missing.
    if written != text and written.translate(None, _SPACES) != text.translate(None, _SPACES):
        _check_slowly(text)
    if _NUL in text and _holds_nul(value):
        raise BadJson("a text in it holds the NUL character")
    return value


def _bad_syntax(fault: orjson.JSONDecodeError) -> BadJson:
    cause = fault.msg
    for word in _NO_NUMBERS:
        if fault.doc.startswith(word, fault.pos):
            cause = f"{word} is no JSON number"
    return BadJson(f"{cause} (line {fault.lineno}, column {fault.colno})")


def _check_slowly(text: bytes) -> None:
    try:
        json.loads(text, object_pairs_hook=_no_doubled_key, parse_int=_within_64_bits, parse_float=_ignore)
    except RecursionError:
        raise BadJson("it is nested too deeply") from None


def _no_doubled_key(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadJson(f"the key {name[:80]!r} stands twice in one object")
            seen.add(name)


def _within_64_bits(digits: str) -> None:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise BadJson("a whole number in it is beyond 64 bits")


def _ignore(digits: str) -> None:
    return None


def _holds_nul(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item:
                return True
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False
