"""Contexts by hand, one for each era: they are the contract between endpoint and execution."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from servers.execution.context import Detached
from servers.execution.contract import Ask, AskMethod, InputRequired, LogLevel, Outcome, Principal

PRINCIPAL = Principal(actor="key:k1", tenant="acme", server="default", request_id="req-7")

ALL: Final[frozenset[AskMethod]] = frozenset({"elicitation/create", "sampling/createMessage", "roots/list"})

Answers = Mapping[str, Mapping[str, Any]]


class Listening(Detached):
    """Keeps what it was told. Its client cannot be asked."""

    abilities: frozenset[AskMethod] = frozenset()

    def __init__(self) -> None:
        super().__init__(PRINCIPAL)
        self.told: list[tuple[str, Any]] = []
        self.rounds: list[dict[str, Ask]] = []

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        self.told.append(("progress", (progress, total, message)))

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        self.told.append(("log", (level, data, logger)))

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Answers:
        self.rounds.append(dict(asks))
        return await super().ask(asks)

    def can(self, method: AskMethod, part: str = "") -> bool:
        return method in self.abilities

    async def resource_updated(self, uri: str) -> None:
        self.told.append(("updated", uri))

    async def release_stream(self) -> None:
        self.told.append(("released", None))


class Answering(Listening):
    """A client up to 2025-11-25: asked while the call goes on."""

    abilities = ALL

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Answers:
        self.rounds.append(dict(asks))
        return {key: self._answers[key] for key in asks}


class Remembering(Listening):
    """A client of 2026-07-28, in one run of the operation: what is not answered yet ends it."""

    abilities = ALL

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Answers:
        missing = {key: ask for key, ask in asks.items() if key not in self._answers}
        if missing:
            raise InputRequired(missing)
        return {key: self._answers[key] for key in asks}


async def play_rounds(
    run: Callable[[Remembering], Awaitable[Outcome]], answers: Answers
) -> tuple[Outcome, list[dict[str, Ask]]]:
    """Run an operation until it ends, answering each round from ``answers``; the rounds are given too."""
    given: dict[str, Mapping[str, Any]] = {}
    rounds: list[dict[str, Ask]] = []
    while True:
        try:
            return await run(Remembering(dict(given))), rounds
        except InputRequired as end:
            rounds.append(dict(end.asks))
            given.update({key: answers[key] for key in end.asks})
