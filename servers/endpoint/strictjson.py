"""Reads JSON strictly: one meaning for every body, or none. Pure; knows no JSON-RPC.

Refused, beyond what RFC 8259 refuses: a doubled key (two readers would see two bodies), NUL in a text, nesting
beyond 254 levels, and whole numbers beyond 64 bits (they would be rounded in silence). orjson itself refuses
NaN, Infinity, numbers out of range, lone surrogates and bad UTF-8.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson


class BadJson(ValueError):
    """The body is not JSON that can be trusted to mean one thing. The message says where or why."""


_SPACES: Final = b" \t\n\r"
_NUL: Final = b"\\u0000"


def read_json(body: bytes) -> Any:
    """The body's value. Raises ``BadJson``."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise BadJson(f"{fault.msg} (line {fault.lineno}, column {fault.colno})") from None
    try:
        written = orjson.dumps(value)
    except TypeError:
        raise BadJson("it is nested deeper than 254 levels") from None
    # What is written back the same had no doubled key: the cheap proof, which compact clients pass. White space
    # may differ (it is taken out of texts as well, on both sides): a doubled entry would still be missing.
    if written != body and written.translate(None, _SPACES) != body.translate(None, _SPACES):
        _check_slowly(body)
    if _NUL in body and _holds_nul(value):
        raise BadJson("a text in it holds the NUL character")
    return value


def _check_slowly(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_no_doubled_key, parse_int=_within_64_bits, parse_float=_ignore)
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
