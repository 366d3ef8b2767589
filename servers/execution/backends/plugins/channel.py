"""What a plugin's context speaks through: Marina's own context, in the words of the plugin author's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.errors import SourceError
from marina.plugin import AskFailed, Caller, ClientCannot, ClientRefused, ClientSilent, Question
from servers.execution.contract import Ask, AskMethod, Context, GoesOn, InputRequired, LogLevel

_FAILURES: Final[Mapping[str, type[AskFailed]]] = {
    "client_cannot": ClientCannot,
    "client_refused": ClientRefused,
    "client_silent": ClientSilent,
}


class Way:
    """Implements ``marina.plugin.Channel``, and remembers what must not get lost in the function's own handlers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: dict[str, Ask] = {}
        self._goes_on: GoesOn | None = None

    @property
    def end(self) -> InputRequired | GoesOn | None:
        """The end of this run, when the function asked what the client has not answered yet, or said that it goes on.

        A function that catches ``Exception`` around its question, or asks in a task group, hides it.
        """
        return InputRequired(self._open) if self._open else self._goes_on

    @property
    def caller(self) -> Caller:
        who = self._context.principal
        return Caller(actor=who.actor, team=who.tenant, server=who.server, request_id=who.request_id)

    @property
    def trace(self) -> Mapping[str, str] | None:
        trace = self._context.trace
        return None if trace is None else trace.carried

    async def progress(self, done: float, total: float | None, message: str) -> None:
        await self._context.progress(done, total, message)

    async def log(self, level: LogLevel, data: Any, logger: str) -> None:
        await self._context.log(level, data, logger)

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Mapping[str, Any]]:
        asks = {key: Ask(question.method, question.params) for key, question in questions.items()}
        try:
            return await self._context.ask(asks)
        except InputRequired as end:
            self._open.update(end.asks)
            raise
        except SourceError as fault:
            failure = _FAILURES.get(fault.code)
            if failure is None:
                raise
            raise failure(fault.message) from fault

    def can(self, method: AskMethod) -> bool:
        return self._context.can(method)

    async def takes_long(self) -> None:
        try:
            await self._context.go_on()
        except GoesOn as end:
            self._goes_on = end
            raise

    async def resource_updated(self, uri: str) -> None:
        await self._context.resource_updated(uri)

    async def release_stream(self) -> None:
        await self._context.release_stream()
