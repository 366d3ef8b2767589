"""Whether a JSON value holds more than some amount, found out without walking through all of a large one. Pure."""

from __future__ import annotations

from typing import Any


def holds_more(value: Any, most: int, *, characters: int | None = None) -> bool:
    """Whether there are more values in it than ``most``, or in its texts more ``characters``, names of members aside.

    Looks at no more of it than that takes.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict | list):
            most -= len(item)
            if most < 0:
                return True
            waiting.extend(item.values() if isinstance(item, dict) else item)
        elif characters is not None and isinstance(item, str):
            characters -= len(item)
            if characters < 0:
                return True
    return False
