"""Stops deadlines while a person or a client is being waited for. Knows no wire and asks nobody."""

from __future__ import annotations

import asyncio


class Clock:
    """The deadline of one run of an operation: the time in which its client is asked does not count against it.

    ``seconds`` are all that it has; several questions may wait at once.
    """

    __slots__ = ("_asking", "_deadline", "_left", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._asking = 0
        self._left: float | None = None
        self._deadline: asyncio.Timeout | None = None

    @property
    def left(self) -> float:
        """Seconds that the run has from now on."""
        when = None if self._deadline is None else self._deadline.when()
        if when is None:
            return self.seconds if self._left is None else self._left
        return max(0.0, when - asyncio.get_running_loop().time())

    def keep(self, deadline: asyncio.Timeout) -> None:
        """Take the run's deadline. It is stopped at once where the run asks already."""
        self._deadline = deadline
        if self._asking:
            deadline.reschedule(None)

    def stop(self) -> None:
        """A question begins to wait."""
        self._asking += 1
        deadline = self._deadline
        if deadline is None or self._asking > 1 or deadline.expired():
            return
        when = deadline.when()
        deadline.reschedule(None)
        self._left = None if when is None else when - asyncio.get_running_loop().time()

    def start(self) -> None:
        """A question was answered, or given up."""
        self._asking -= 1
        deadline = self._deadline
        if deadline is None or self._asking or deadline.expired():
            return
        # Asked in its first step, before there was a deadline: it has all of its time yet.
        left = self.seconds if self._left is None else self._left
        deadline.reschedule(asyncio.get_running_loop().time() + left)
