"""Which commands may run for data sources, and how many do in this process. Starts none."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import Final
from uuid import UUID

from core.egress import VARIABLES
from core.errors import SourceError
from core.hostedcommands import HostedCommand
from core.outbound import AllowAddress
from servers.execution.addresses import allow_public
from servers.execution.backends.mcp.settings import McpSettings
from servers.execution.contract import Hosted, NoteHosted, Source

FIRST_WAIT_SECONDS: Final = 1.0
LAST_WAIT_SECONDS: Final = 300.0
FORGOTTEN_SECONDS: Final = 600.0
"""After the time at which a command could have been begun again it is forgotten that it ended."""
MAX_RUNS: Final = 64
"""Commands of one process of Marina."""
MAX_RUNS_OF_TEAM: Final = 16


def _nothing(source: Source, hosted: Hosted | None, lines: Sequence[str]) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Backoff:
    """How often a command ended in a row, why it did last, and when it may be begun again."""

    failures: int = 0
    reason: str = ""
    next_at: float = field(default_factory=monotonic)

    @property
    def left(self) -> float:
        """Seconds until then."""
        return max(0.0, self.next_at - monotonic())

    def failed(self, reason: str) -> None:
        """It ended once more."""
        self.failures += 1
        self.reason = reason
        wait = min(FIRST_WAIT_SECONDS * 2 ** min(self.failures - 1, 16), LAST_WAIT_SECONDS)
        # By a different time for each: what fails together would begin again together.
        self.next_at = monotonic() + wait * random.uniform(0.75, 1.25)  # noqa: S311 - no secret


@dataclass(slots=True)
class Hosting:
    """What commands the operator allows, and how many run in this process just now."""

    commands: Mapping[str, HostedCommand] = field(default_factory=dict)
    allow: AllowAddress = allow_public
    note: NoteHosted = _nothing
    running: dict[int, int] = field(default_factory=dict)
    """By team."""

    numbers: Iterator[int] = field(default_factory=count)
    """Of those that run commands, one after another."""
    backoffs: dict[tuple[UUID, int], Backoff] = field(default_factory=dict)
    """By source and its version."""

    def backoff_of(self, source: Source | None) -> Backoff:
        """What is known of the source's command, whoever begins it: a call, or a check."""
        if source is None:
            return Backoff()
        old = monotonic() - FORGOTTEN_SECONDS
        for key in [key for key, each in self.backoffs.items() if each.next_at < old]:
            del self.backoffs[key]
        return self.backoffs.setdefault((source.id, source.version), Backoff())

    def failed(self, source: Source | None, backoff: Backoff, reason: str) -> None:
        """The source's command ended once more."""
        backoff.failed(reason)
        if source is not None:
            # It may have been forgotten while it ran.
            self.backoffs[source.id, source.version] = backoff

    def command_of(self, settings: McpSettings) -> HostedCommand:
        """The command that these settings choose. Raises ``SourceError``, with the ``setting`` at fault in its data."""
        command = self.commands.get(settings.command)
        if command is None:
            allowed = ", ".join(self.commands) or "none"
            raise _denied(
                "command",
                f"The operator does not allow the command {settings.command} here. Allowed: {allowed}.",
            )
        if settings.args and not command.arguments:
            raise _denied(
                "args",
                f"The operator allows the command {settings.command} without further arguments. Leave args out.",
            )
        if command.hosts and (own := sorted(settings.env.keys() & VARIABLES.keys())):
            raise _denied(
                f"env.{own[0]}",
                f"The operator allows the command {settings.command} some hosts, which it reaches by a proxy of "
                f"Marina's. Leave {own[0]} out.",
            )
        return command

    def take_place(self, team: int) -> None:
        """Count one more. Raises ``SourceError`` where there are too many."""
        if sum(self.running.values()) >= MAX_RUNS or self.running.get(team, 0) >= MAX_RUNS_OF_TEAM:
            whose = "this team" if self.running.get(team, 0) >= MAX_RUNS_OF_TEAM else "all teams together"
            raise SourceError(
                f"As many commands as may of {whose} run in this process of Marina. Try again when some have ended.",
                code="source_busy",
                retryable=True,
            )
        self.running[team] = self.running.get(team, 0) + 1

    def leave_place(self, team: int) -> None:
        """Count one less."""
        left = self.running.get(team, 0) - 1
        if left > 0:
            self.running[team] = left
        else:
            self.running.pop(team, None)


def _denied(setting: str, message: str) -> SourceError:
    return SourceError(message, code="source_denied", data={"setting": setting})
