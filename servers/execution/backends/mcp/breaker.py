"""Says whether one upstream is asked just now: a circuit breaker, which learns of what became of it and of the time.

closed
    It is asked. Faults in a row open it, and so does a probe that failed.
open
    It is not asked until a time, which comes later with each probe in a row that failed.
half-open
    One probe is under way: who has it says how it ended. Nobody else asks meanwhile.

It asks nothing itself, and reads no clock but the one that it is given.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

State = Literal["closed", "open", "half_open"]

FAULTS: Final = 5
"""In a row, of a closed one, that open it."""
FIRST_WAIT: Final = 1.0
LAST_WAIT: Final = 30.0
"""Seconds: twice as many with each opening in a row. A third is by chance, so that processes do not probe together."""
PROBE_SECONDS: Final = 15.0
"""After these a probe that nobody told the end of is taken for lost, and another may be made."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a breaker is at one time, in seconds of its clock. ``next_try`` is ``None`` of one that is closed.

    ``faults`` are those in a row.
    """

    state: State
    reason: str
    since: float
    next_try: float | None
    faults: int


class Breaker:
    """One upstream's. ``changed`` is called after each change of its state."""

    __slots__ = (
        "_chance",
        "_changed",
        "_clock",
        "_faults",
        "_next",
        "_opened",
        "_probe",
        "_reason",
        "_since",
        "_state",
    )

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        chance: Callable[[], float] = random.random,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._changed = changed
        self._state: State = "closed"
        self._reason = ""
        self._since = clock()
        self._next = 0.0
        self._faults = 0
        self._opened = 0
        self._probe = 0

    @property
    def closed(self) -> bool:
        """Whether the upstream may be asked by anybody."""
        return self._state == "closed"

    @property
    def seen(self) -> Seen:
        """What it is now."""
        return Seen(self._state, self._reason, self._since, None if self.closed else self._next, self._faults)

    def went_well(self) -> None:
        """The upstream answered. Of one that is not closed, that counts for nothing: only its probe does."""
        if self._state == "closed":
            self._faults = 0

    def went_wrong(self, reason: str) -> None:
        """It did not answer, or not as a server that works. What was asked before it opened is not counted."""
        if self._state == "closed":
            self._faults += 1
            if self._faults >= FAULTS:
                self._open(reason)

    def trip(self, reason: str) -> None:
        """It was looked at, and is not there: open it, however many faults there were."""
        if self._state == "closed":
            self._faults += 1
            self._open(reason)

    def may_probe(self) -> bool:
        """Whether somebody may take the probe now."""
        # Half-open, ``_next`` is when a probe of which nothing is heard counts as lost.
        return self._state != "closed" and self._clock() >= self._next

    def take_probe(self) -> int | None:
        """The number of a probe, for the one who is to make it; ``None`` for everybody else."""
        if not self.may_probe():
            return None
        self._probe += 1
        self._next = self._clock() + PROBE_SECONDS
        self._move("half_open", self._reason)
        return self._probe

    def end_probe(self, number: int, reason: str = "") -> None:
        """How the probe ended: well, or with this reason. Of one that was taken for lost it is nothing any more."""
        if self._state != "half_open" or number != self._probe:
            return
        if reason:
            self._faults += 1
            self._open(reason)
            return
        self._faults = self._opened = 0
        self._move("closed", "")

    def drop_probe(self, number: int) -> None:
        """The probe was given up before it had an end: another may be made at once."""
        if self._state == "half_open" and number == self._probe:
            self._next = self._clock()
            self._move("open", self._reason)

    def _open(self, reason: str) -> None:
        wait = min(LAST_WAIT, FIRST_WAIT * 2 ** min(self._opened, 10))
        self._opened += 1
        self._next = self._clock() + wait * (2 + self._chance()) / 3
        self._move("open", reason)

    def _move(self, state: State, reason: str) -> None:
        # Since when it is not asked is what counts, however often it was probed meanwhile.
        if (self._state == "closed") != (state == "closed"):
            self._since = self._clock()
        self._state, self._reason = state, reason
        self._changed()
