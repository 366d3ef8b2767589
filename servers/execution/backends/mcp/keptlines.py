"""The last lines that a command wrote beside its messages, and what was said of it. Shows nobody any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from servers.execution.backends.mcp.masking import masked, sought

MAX_LINE: Final = 500
"""Characters kept of a line."""
KEPT_LINES: Final = 100
LINES_A_SECOND: Final = 20
"""Lines noted; what is more is counted."""


class KeptLines:
    """The last lines of a command, with no secret in them; handed on once a second."""

    def __init__(self, secrets: Sequence[str], told: Callable[[Sequence[str]], None]) -> None:
        # A line has one line of a value that has several.
        parts = {part for secret in secrets for part in (secret, *secret.splitlines())}
        self._secrets = sought(parts)
        self._told = told
        self._fresh: list[str] = []
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self.kept: list[str] = []

    def add(self, line: str) -> None:
        """Keep one that it wrote."""
        if len(self._fresh) >= LINES_A_SECOND:
            self._dropped += 1
        else:
            self.say(line)

    def say(self, line: str) -> None:
        """Keep one of ours, however much the command writes."""
        line = masked(line, self._secrets)[:MAX_LINE]
        line = "".join(sign if sign.isprintable() else " " for sign in line).rstrip()
        self._fresh.append(line)
        self.kept = [*self.kept[1 - KEPT_LINES :], line]
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1, self._hand_on)

    def flush(self) -> None:
        """Hand on what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._hand_on()

    def _hand_on(self) -> None:
        self._timer = None
        fresh, self._fresh = self._fresh, []
        if self._dropped:
            fresh.append(f"… and {self._dropped} more lines within a second")
            self._dropped = 0
        self._told(fresh)
