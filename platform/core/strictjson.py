"""Reads JSON strictly: one meaning for every body, or none. Pure; knows no surface that it reads for.

Refused, beyond what RFC 8259 refuses: a doubled key (two readers would see two bodies), NUL in a text, nesting
beyond 254 levels, and whole numbers beyond 64 bits (they would be rounded in silence). orjson itself refuses
NaN, Infinity, numbers out of range, lone surrogates and bad UTF-8.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson


class BadJson(ValueError):
    """The text is not JSON that can be trusted to mean one thing. The message says where or why."""


BESIDE_BYTES: Final = 64 * 1024
"""A text beyond this is checked slowly in a thread: 4 MB take half a second."""

_slow: Final = ThreadPoolExecutor(1, thread_name_prefix="marina-json")
"""One: the check is Python, and more of them would take the loop's time."""

_SPACES: Final = b" \t\n\r"
_NUL: Final = b"\\u0000"
_NO_NUMBERS: Final = ("NaN", "Infinity")


def read_json(text: bytes) -> Any:
    """The value of a JSON text. Raises ``BadJson``."""
    value, proven = _read(text)
    if not proven:
        _check_slowly(text)
    return value


def read_object(text: bytes) -> dict[str, Any]:
    """The value of a JSON text that has to be an object. Raises ``BadJson``."""
    value = read_json(text)
    if not isinstance(value, dict):
        raise BadJson("it is no object")
    return value


async def read_json_beside(text: bytes) -> Any:
    """``read_json``; the slow check of a large text is done in a thread, and holds up no one else."""
    value, proven = _read(text)
    if not proven:
        if len(text) > BESIDE_BYTES:
            await asyncio.get_running_loop().run_in_executor(_slow, _check_slowly, text)
        else:
            _check_slowly(text)
    return value


def _read(text: bytes) -> tuple[Any, bool]:
    """The value, and whether it is proven that no key stands twice in it and no number was rounded."""
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
    proven = written == text or written.translate(None, _SPACES) == text.translate(None, _SPACES)
    if _NUL in text and _holds_nul(value):
        raise BadJson("a text in it holds the NUL character")
    return value, proven


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
