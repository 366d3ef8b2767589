"""How fast something may be used, with some of what was not used kept for later. Waits for nothing itself."""

from __future__ import annotations

from time import monotonic
from typing import Final

SAVED_SECONDS: Final = 2.0
"""What was not used in so long may be used at once."""


class Pace:
    """So many units a second."""

    def __init__(self, a_second: float) -> None:
        self._a_second = a_second
        self._used_until = 0.0

    def count(self, units: float) -> float:
        """Count what was used. For how many seconds it is too early for more, where this was too much; else 0."""
        now = monotonic()
        self._used_until = max(self._used_until, now - SAVED_SECONDS) + units / self._a_second
        return max(0.0, self._used_until - now)
