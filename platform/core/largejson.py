"""Writes large values of JSON bit by bit, so that other threads run in between. Reads nothing.

orjson keeps the interpreter until the last byte is written: 10 ms for 4 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

AT_ONCE: Final = 256
"""Members of an object, or of a list, at a time."""

FEW: Final = 16
"""Members of each of these, where they are objects or lists in turn."""

LEVELS: Final = 8
"""So deep it is looked how much there is; what is further down is written with what holds it."""

_HOLDING: Final = frozenset({dict, list})


def write_pieces(value: Any, *, level: int = 0) -> Iterator[bytes]:
    """``orjson.dumps`` of what was read from JSON, in pieces. Raises ``TypeError`` as that does, and for 255 levels.

    ``level`` is how deep the value is in another.
    """
    if level == LEVELS or not isinstance(value, dict | list) or not value:
        yield _write(value, level)
        return
    is_list = isinstance(value, list)
    members: list[Any] = value if isinstance(value, list) else list(value.items())
    between = b"[" if is_list else b"{"
    for start in range(0, len(members), AT_ONCE):
        some = members[start : start + AT_ONCE]
        inner = some if is_list else [member for _, member in some]
        if _HOLDING.isdisjoint(map(type, inner)) or all(map(_is_small, inner)):
            yield between + _write(some if is_list else dict(some), level)[1:-1]
            between = b","
            continue
        for each in some:
            yield between
            between = b","
            if not is_list:
                yield orjson.dumps(each[0]) + b":"
            yield from write_pieces(each if is_list else each[1], level=level + 1)
    yield b"]" if is_list else b"}"


def _is_small(value: Any) -> bool:
    """Whether it is no object and no list, or one of few members that are neither."""
    if not isinstance(value, dict | list):
        return True
    if len(value) > FEW:
        return False
    return _HOLDING.isdisjoint(map(type, value.values() if isinstance(value, dict) else value))


def _write(value: Any, level: int) -> bytes:
    # In as many lists as it is deep, for the bound on levels to be that of the whole.
    for _ in range(level):
        value = [value]
    return orjson.dumps(value)[level : -level or None]
