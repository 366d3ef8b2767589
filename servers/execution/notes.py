"""What backends note while they work, for people to read: of slow statements, hosted commands, servers behind a source.

Plain types. Whoever takes a note down returns at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from servers.execution.contract import Source


@dataclass(frozen=True, slots=True)
class SlowStatement:
    """A statement that took long. It has no values in it. ``outcome``: ``ok``, ``cancelled``, or the error's code."""

    statement: str
    seconds: float
    outcome: str


NoteSlow = Callable[["Source", SlowStatement], None]
"""Takes down a slow statement of a source. Returns at once."""


NoteChanged = Callable[["Source"], None]
"""Takes down that a source said in the middle of its work that what it brings changed. Returns at once."""


HostedState = Literal["stopped", "starting", "running", "waiting"]


@dataclass(frozen=True, slots=True)
class Hosted:
    """How the command fares that a process of Marina runs for a source. Times are in seconds since the epoch.

    ``waiting``: it ended, and is begun again at ``next_try``. ``restarts`` counts its ends in a row; ``since`` is when
    what runs, or ran last, was begun; ``at`` when this was so. ``number`` is greater of whoever runs it later.
    """

    state: HostedState
    at: float
    since: float | None = None
    restarts: int = 0
    reason: str = ""
    next_try: float | None = None
    number: int = 0


NoteHosted = Callable[["Source", Hosted | None, Sequence[str]], None]
"""Takes down how a source's command fares, and lines that it wrote. Returns at once."""


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """Whether one of the servers behind a source is asked, by one process: ``closed`` is asked, ``open`` is not until
    ``next_seconds`` from now, ``half_open`` is being looked at. ``seconds`` is for how long it has been asked, or not.
    """

    number: int
    url: str
    state: Literal["closed", "open", "half_open"]
    reason: str
    seconds: float
    next_seconds: float | None
    faults: int


NoteUpstream = Callable[["Source", UpstreamState], None]
"""Takes down that it changed whether a server behind a source is asked. Returns at once."""
