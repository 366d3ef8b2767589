"""The way back from a running function to whoever called it: progress, log, questions. Thin: the host does the work."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Protocol, overload

from pydantic import BaseModel
from typing_extensions import TypeVar

from marina.asking import (
    DEFAULT_MAX_TOKENS,
    Answer,
    Asked,
    Elicit,
    ElicitUrl,
    Method,
    Question,
    Root,
    Roots,
    Sample,
    Sampled,
    Unfit,
)
from marina.content import Message
from marina.errors import ToolError

SettingsT = TypeVar("SettingsT", default=Any)
ModelT = TypeVar("ModelT", bound=BaseModel)
AnswerT = TypeVar("AnswerT")

LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]

TIMES_ASKED: Final = 3
"""How often a question is put before an answer that does not fit becomes a failure."""

_METHODS: Final[Mapping[str, Method]] = {
    "elicit": "elicitation/create",
    "sample": "sampling/createMessage",
    "roots": "roots/list",
}

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. ``actor`` is how the team's log names them; ``request_id`` finds the call in Marina's own log."""

    actor: str
    team: str
    server: str
    request_id: str


class Channel(Protocol):
    """What a host (Marina, or a test) gives a context to work with."""

    async def progress(self, done: float, total: float | None, message: str) -> None: ...

    async def log(self, level: LogLevel, data: Any, logger: str) -> None: ...

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Mapping[str, Any]]: ...

    def can(self, method: Method) -> bool: ...

    async def takes_long(self) -> None: ...

    async def resource_updated(self, uri: str) -> None: ...

    async def release_stream(self) -> None: ...


class Context(Generic[SettingsT]):
    """Given to every function that has a parameter annotated ``Context`` or ``Context[MySettings]``.

    Clients of 2026-07-28 are asked by ending the call: when they have answered, the function runs again from its
    beginning, and each question that was answered gives its answer at once. So ask before you act, and give a
    question the same key in every run.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        caller: Caller,
        settings: SettingsT,
        logger: str = "plugin",
        trace: Mapping[str, str] | None = None,
    ) -> None:
        self._channel = channel
        self._logger = logger
        self.caller = caller
        self.settings = settings
        self.trace: Mapping[str, str] = trace or {}
        """W3C Trace Context of the call, to pass on: ``traceparent``, ``tracestate``, ``baggage``. Often empty."""

    async def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell how far the work is. ``done`` must grow. Dropped where the client asked for no progress."""
        await self._channel.progress(done, total, message)

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        """Send the client a log message: any JSON value. Dropped below the level that the client asked for."""
        await self._channel.log(level, data, logger or self._logger)

    @overload
    async def elicit(self, key: str, message: str, schema: type[ModelT]) -> Answer[ModelT]: ...

    @overload
    async def elicit(self, key: str, message: str, schema: Mapping[str, Any]) -> Answer[dict[str, Any]]: ...

    async def elicit(
        self, key: str, message: str, schema: type[BaseModel] | Mapping[str, Any]
    ) -> Answer[Any]:
        """Show the person a form. An answer that does not fit the schema is asked for again.

        Raises ``AskFailed``; ``ToolError`` where the third answer does not fit either.
        """
        asked: Elicit[Any] = Elicit(message, schema)
        return await self._ask_one(key, asked)

    async def elicit_url(self, key: str, message: str, url: str) -> Answer[None]:
        """Send the person to a page, for what the client must not see. Raises ``AskFailed``."""
        return await self._ask_one(key, ElicitUrl(message, url))

    async def sample(
        self,
        key: str,
        messages: str | Message | Sequence[str | Message],
        *,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        system_prompt: str = "",
        temperature: float | None = None,
        stop_sequences: Sequence[str] = (),
        model_preferences: Mapping[str, Any] | None = None,
    ) -> Sampled:
        """Ask the client's model. Raises ``AskFailed``."""
        return await self._ask_one(
            key, Sample(messages, max_tokens, system_prompt, temperature, stop_sequences, model_preferences)
        )

    async def roots(self, key: str = "roots") -> tuple[Root, ...]:
        """The places that the client lets servers work in. Raises ``AskFailed``."""
        return await self._ask_one(key, Roots())

    async def ask(self, **questions: Asked[Any]) -> dict[str, Any]:
        """Put several questions in one round: ``ask(name=Elicit(…), model=Sample(…))``. Answers by name.

        Raises ``AskFailed`` when one of them got no answer.
        """
        for key in questions:
            if _KEY.fullmatch(key) is None:
                message = f"The key {key!r} is not made of 1 to 64 letters, digits, _ and -."
                raise ValueError(message)
        answers: dict[str, Any] = {}
        complaints = dict.fromkeys(questions, "")
        for time in range(1, TIMES_ASKED + 1):
            # A key of its own each time: the answer that did not fit stays the answer of the first key.
            keys = {name: name if time == 1 else f"{name}.{time}" for name in complaints}
            results = await self._channel.ask(
                {keys[name]: questions[name].question(complaint) for name, complaint in complaints.items()}
            )
            unfit: dict[str, str] = {}
            for name, key in keys.items():
                try:
                    answers[name] = _read(questions[name], results.get(key))
                except Unfit as fault:
                    unfit[name] = str(fault)
            if not unfit:
                return answers
            complaints = {name: f"The answer before did not fit. {fault}" for name, fault in unfit.items()}
        raise ToolError(f"The client's answers did not fit what was asked for: {'; '.join(unfit.values())}")

    def can(self, what: Literal["elicit", "sample", "roots"]) -> bool:
        """Whether the client declared that it can be asked so."""
        return self._channel.can(_METHODS[what])

    async def takes_long(self) -> None:
        """Say that what comes now takes long, in a tool that is declared with ``runs="begins_inline"``.

        The function ends here and runs again from its beginning at a worker, with the answers that it had; there this
        does nothing.
        """
        await self._channel.takes_long()

    async def resource_updated(self, uri: str) -> None:
        """Tell every client that subscribed to the resource that it changed."""
        await self._channel.resource_updated(uri)

    async def release_stream(self) -> None:
        """Let go of the client's stream while the work goes on: the client comes back for the result."""
        await self._channel.release_stream()

    async def _ask_one(self, key: str, asked: Asked[AnswerT]) -> AnswerT:
        answer: AnswerT = (await self.ask(**{key: asked}))[key]
        return answer


def _read(asked: Asked[AnswerT], result: object) -> AnswerT:
    if not isinstance(result, Mapping):
        raise Unfit("The answer is no object.")
    return asked.read(result)
