"""Reads JSON strictly: one meaning for every body, or none. Pure; knows no surface that it reads for.

Refused, beyond what RFC 8259 refuses: a doubled key (two readers would see two bodies), NUL in a text, nesting
beyond 254 levels, and whole numbers beyond 64 bits (they would be rounded in silence). orjson itself refuses
NaN, Infinity, numbers out of range, lone surrogates and bad UTF-8.
"""

from __future__ import annotations

import asyncio
import json
import math
from functools import partial
from typing import Any, Final, NoReturn

import orjson

from core.beside import Beside


class BadJson(ValueError):
    """The text is not JSON that can be trusted to mean one thing. The message says where or why."""


BESIDE_BYTES: Final = 64 * 1024
"""A text beyond this is checked slowly in a thread: 4 MB take half a second."""

DENSE: Final = 50_000
"""Objects and lists. A text of more is read slowly: with 400,000 orjson and the collector are busy for 60 ms, and
nobody else runs meanwhile."""

_SLOW: Final = Beside("marina-json")
_SPACES: Final = b" \t\n\r"
_NUL: Final = b"\\u0000"
_UNWRITTEN: Final = "it is nested deeper than 254 levels, or a text in it holds half a character"
_NO_NUMBERS: Final = ("NaN", "Infinity")


def read_json(text: bytes) -> Any:
    """The value of a JSON text. Raises ``BadJson``."""
    if len(text) > BESIDE_BYTES and _is_dense(text):
        return _read_slowly(text)
    value = _read(text)
    return value if _is_proven(text, value) else _read_slowly(text)


def read_object(text: bytes) -> dict[str, Any]:
    """The value of a JSON text that has to be an object. Raises ``BadJson``."""
    value = read_json(text)
    if not isinstance(value, dict):
        raise BadJson("it is no object")
    return value


async def read_json_beside(text: bytes, *, team: int) -> Any:
    """``read_json``; what takes long with a large text is done in a thread, and holds up no one else.

    ``team`` is whose it is: of each team one text at a time is read there.
    """
    if len(text) <= BESIDE_BYTES:
        return read_json(text)
    if not _is_dense(text):
        value = _read(text)
        # Others have their turn between the two.
        await asyncio.sleep(0)
        if _is_proven(text, value):
            return value
    return await _SLOW.run(partial(_read_slowly, text), team=team)


def _is_dense(text: bytes) -> bool:
    return text.count(b"{") + text.count(b"[") > DENSE


def _read(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise _bad_syntax(fault) from None


def _is_proven(text: bytes, value: Any) -> bool:
    """Whether it is proven that no key stands twice in it, no number was rounded and no text holds NUL."""
    try:
        written = orjson.dumps(value)
    except TypeError:
        raise BadJson(_UNWRITTEN) from None
    # What is written back the same had no doubled key: the cheap proof, which compact clients pass. White space
    # may differ (it is taken out of texts as well, on both sides): a doubled entry would still be missing.
    same = written == text or written.translate(None, _SPACES) == text.translate(None, _SPACES)
    return same and _NUL not in text


def _read_slowly(text: bytes) -> Any:
    """The value, found out in Python: between two objects or numbers others have the interpreter."""
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=_no_doubled_key,
            parse_int=_within_64_bits,
            parse_float=_finite,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise BadJson("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise BadJson("it is no UTF-8") from None
    except json.JSONDecodeError as fault:
        raise _bad_syntax(fault) from None
    if _NUL in text and _holds_nul(value):
        raise BadJson("a text in it holds the NUL character")
    try:
        orjson.dumps(value)
    except TypeError:
        raise BadJson(_UNWRITTEN) from None
    return value


def _bad_syntax(fault: json.JSONDecodeError) -> BadJson:
    cause = fault.msg
    for word in _NO_NUMBERS:
        if fault.doc.startswith(word, fault.pos):
            cause = f"{word} is no JSON number"
    return BadJson(f"{cause} (line {fault.lineno}, column {fault.colno})")


def _no_doubled_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadJson(f"the key {name[:80]!r} stands twice in one object")
            seen.add(name)
    return made


def _within_64_bits(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise BadJson("a whole number in it is beyond 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise BadJson("a number in it is out of range")
    return number


def _no_number(word: str) -> NoReturn:
    raise BadJson(f"{word} is no JSON number")


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
