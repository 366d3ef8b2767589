"""The questions of an upstream of 2026-07-28: it ends a request with them, and is sent it again with the answers.

Between the two, the client has them: what has to be known again then is kept with it, sealed. Sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from servers.execution.backends.mcp.held import Place
from servers.execution.backends.mcp.wire import NotMcp
from servers.execution.contract import Ask, AskMethod

MAX_ROUNDS: Final = 10
MAX_ASKS: Final = 20
"""Questions of one round."""
MAX_STATE: Final = 65_536
"""Characters of what an upstream wants to have back."""
STATE_SECONDS: Final = 0.1
"""How long one is left alone that wants to be asked again, and has no question."""

_NUMBERED: Final = re.compile(r"\d+\.")

METHODS: Final[Mapping[str, AskMethod]] = {
    "elicitation/create": "elicitation/create",
    "sampling/createMessage": "sampling/createMessage",
    "roots/list": "roots/list",
}


@dataclass(frozen=True, slots=True)
class Round:
    """One round: its questions by the upstream's keys, and the state to give back. ``number`` counts from one.

    ``at`` is the number of the upstream that asked: another one may not know its state.
    """

    number: int
    questions: Mapping[str, Ask]
    state: str | None = field(repr=False)
    at: int = 0

    @property
    def asks(self) -> dict[str, Ask]:
        """The questions by keys that no other round has: answers of earlier ones are there as well.

        Those of the first are the upstream's own.
        """
        return {self._key(key): ask for key, ask in self.questions.items()}

    def keep(self) -> str:
        """The round as a text."""
        kept = {
            "round": self.number,
            "questions": pack_asks(self.questions),
            "state": self.state,
            "at": self.at,
        }
        return orjson.dumps(kept).decode()

    def answered(self, params: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The parameters with the answers, by the upstream's own keys."""
        more: dict[str, Any] = {}
        if answers:
            more["inputResponses"] = {key: answers[self._key(key)] for key in self.questions}
        if self.state is not None:
            more["requestState"] = self.state
        return {**params, **more}

    def _key(self, key: str) -> str:
        return key if self.number == 1 and not _NUMBERED.match(key) else f"{self.number}.{key}"


def wants_input(result: Mapping[str, Any]) -> bool:
    """Whether a result is none yet."""
    return result.get("resultType") == "input_required"


def read_round(result: Mapping[str, Any], number: int, *, at: int = 0) -> Round:
    """The questions in a result. Raises ``NotMcp``."""
    questions, state = read_questions(result.get("inputRequests")), result.get("requestState")
    if state is not None and (not isinstance(state, str) or len(state) > MAX_STATE):
        raise NotMcp("the state that it wants to have back is no text, or is too long")
    if not questions and state is None:
        raise NotMcp("it wants to be asked again, and says not with what")
    return Round(number, questions, state, at)


def read_questions(given: Any) -> dict[str, Ask]:
    """The questions of ``inputRequests``, by their keys. Raises ``NotMcp``."""
    given = {} if given is None else given
    if not isinstance(given, dict) or len(given) > MAX_ASKS:
        raise NotMcp(f"what it asks is no object of at most {MAX_ASKS} questions")
    questions = {}
    for key, each in given.items():
        method = METHODS.get(str(each.get("method"))) if isinstance(each, dict) else None
        params = (each.get("params") or {}) if isinstance(each, dict) else None
        if method is None or not isinstance(params, dict) or len(key) > 200:
            raise NotMcp("it asks something that is no question of MCP")
        questions[key] = Ask(method, params)
    return questions


def read_kept(kept: str) -> Round | Place | None:
    """What was kept: a round, or the place of a call that waits; ``None`` where nothing was."""
    if not kept:
        return None
    value = orjson.loads(kept)
    if "held" in value:
        # Releases before calls were found elsewhere named no process.
        return Place(str(value.get("in", "")), str(value["held"]))
    # What an earlier release kept says not at which.
    return Round(value["round"], read_asks(value["questions"]), value["state"], value.get("at", 0))


def pack_asks(asks: Mapping[str, Ask]) -> dict[str, Any]:
    """Questions as JSON."""
    return {key: [ask.method, ask.params] for key, ask in asks.items()}


def read_asks(packed: Mapping[str, Any]) -> dict[str, Ask]:
    """The questions that were packed so."""
    return {key: Ask(method, params) for key, (method, params) in packed.items()}
