"""Reads a large message in Python, so that other threads have the interpreter between any two values of it.

orjson keeps it until the last: 50 ms for a MB of empty objects, and as long again for the collector.
"""

from __future__ import annotations

import json
import math
from collections import deque
from json import scanner
from typing import Any, Final, NoReturn

from core.largejson import write_pieces
from servers.execution.backends.mcp.wire import NotMcp, messages_of

_SHORT: Final = 65_536
_LONG: Final = 1_048_576
_FEW: Final = 20_000
"""Values, which orjson reads in some milliseconds."""


def is_long_work(line: bytes) -> bool:
    """Whether others would wait too long for a line to be read. A line of text may be taken for one."""
    if len(line) <= _SHORT:
        return False
    return len(line) > _LONG or sum(map(line.count, (b",", b"[", b"{"))) > _FEW


def read_patiently(line: bytes) -> list[dict[str, Any]]:
    """As ``read_messages``: for a thread of its own. Raises ``NotMcp``."""
    try:
        value = _Decoder().decode(line.decode())
        # What is read here is written elsewhere: texts of half characters and too many levels are found so.
        deque(write_pieces(value), maxlen=0)
    except (ValueError, RecursionError, TypeError):
        raise NotMcp("its answer is not JSON") from None
    return messages_of(value)


class _Decoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(parse_float=_number, parse_int=_whole, parse_constant=_none)
        # The one in C looks at a whole list before anybody else runs.
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]  # the stubs lack it


def _number(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("out of range")
    return number


def _whole(digits: str) -> int | float:
    # Beyond 64 bits orjson takes them for others, too.
    whole = int(digits) if len(digits) <= 20 else 1 << 64
    return whole if -(1 << 63) <= whole < 1 << 64 else _number(digits)


def _none(word: str) -> NoReturn:
    raise ValueError(word)
