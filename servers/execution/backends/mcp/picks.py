"""Which of what a server offers is taken: by name, or by patterns with ``*`` and ``?``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import re2

MAX_PICKS: Final = 500
MAX_PATTERN: Final = 256


@dataclass(frozen=True, slots=True)
class Picks:
    """The patterns as they were given: with none, or with none but those that leave out, everything else is taken."""

    patterns: Sequence[str] = field(default=())

    def take(self, name: str) -> bool:
        """Whether what has this name is taken."""
        wanted = [each for each in self.patterns if not each.startswith("!")]
        unwanted = [each[1:] for each in self.patterns if each.startswith("!")]
        if any(_compiled(each).fullmatch(name) for each in unwanted):
            return False
        return not wanted or any(_compiled(each).fullmatch(name) for each in wanted)


def pick_faults(given: Any) -> list[tuple[str, str]]:
    """What is wrong with patterns as they were entered: each fault with its place."""
    if given in (None, "", []):
        return []
    if not isinstance(given, list) or len(given) > MAX_PICKS:
        return [("", f"Give a list of at most {MAX_PICKS} names or patterns.")]
    return [
        (f".{index}", f"Give a name or a pattern of at most {MAX_PATTERN} characters.")
        for index, each in enumerate(given)
        if not isinstance(each, str) or not 0 < len(each.removeprefix("!")) <= MAX_PATTERN
    ]


@lru_cache(maxsize=1_024)
def _compiled(pattern: str) -> Any:
    # On RE2, in linear time: many stars in a row are no trap.
    parts = [".*" if each == "*" else "." if each == "?" else re2.escape(each) for each in pattern]
    return re2.compile("(?s)" + "".join(parts))
