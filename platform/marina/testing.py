"""For a plugin's own tests: a context that keeps what it was told and answers from a script. Needs no server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marina.asking import Method, Question
from marina.context import Caller, Context, LogLevel
from marina.errors import ClientCannot

TESTER = Caller(actor="tester", team="team", server="default", request_id="request-1")


@dataclass(slots=True)
class Script:
    """What a client would answer, by key, and afterwards what it was told. A key without an answer: it cannot."""

    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    told: list[tuple[float, float | None, str]] = field(default_factory=list)
    logged: list[tuple[LogLevel, Any]] = field(default_factory=list)
    asked: dict[str, Question] = field(default_factory=dict)
    updated: list[str] = field(default_factory=list)
    released: int = 0
    went_on: int = 0

    def context(self, settings: Any = None, caller: Caller = TESTER) -> Context[Any]:
        """A context that works on this script."""
        return Context(self, caller=caller, settings=settings)

    async def progress(self, done: float, total: float | None, message: str) -> None:
        self.told.append((done, total, message))

    async def log(self, level: LogLevel, data: Any, logger: str) -> None:
        self.logged.append((level, data))

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Mapping[str, Any]]:
        self.asked.update(questions)
        for key in questions:
            if key not in self.answers:
                message = f"The script has no answer for {key}."
                raise ClientCannot(message)
        return {key: self.answers[key] for key in questions}

    def can(self, method: Method) -> bool:
        # A script without answers is a client that cannot be asked.
        return bool(self.answers)

    async def takes_long(self) -> None:
        self.went_on += 1

    async def resource_updated(self, uri: str) -> None:
        self.updated.append(uri)

    async def release_stream(self) -> None:
        self.released += 1


def accept(**content: Any) -> dict[str, Any]:
    """The answer of a person who filled in a form."""
    return {"action": "accept", "content": content}


def decline() -> dict[str, Any]:
    """The answer of a person who said no."""
    return {"action": "decline"}


def say(text: str, model: str = "model") -> dict[str, Any]:
    """The answer of the client's model."""
    return {"role": "assistant", "content": {"type": "text", "text": text}, "model": model}
