"""The way back from a running operation to its client, on the wire: progress, log, questions. Decides nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from core.errors import MarinaError
from servers.endpoint.incoming import Incoming
from servers.endpoint.questions import Retries, bound_to
from servers.endpoint.sessions import principal_of
from servers.endpoint.specification import CLIENT_CAPABILITIES, INVALID_PARAMS, LOG_LEVEL
from servers.endpoint.tracing import trace_of
from servers.endpoint.wire import RpcError
from servers.execution.clock import Clock
from servers.execution.context import (
    CAPABILITY,
    LEVELS,
    TASKS_EXTENSION,
    cannot_ask,
    cannot_call,
    covers,
    fits,
)
from servers.execution.contract import (
    Ask,
    AskMethod,
    InputRequired,
    LogLevel,
    Offered,
    Outcome,
    Principal,
    Trace,
)
from servers.services.principals import principal_as

MAX_NOTICE_BYTES: Final = 64 * 1024
"""A log message beyond this is replaced by a sentence."""

MAX_TOKEN_CHARACTERS: Final = 512
"""Of a progress token, which is repeated in each notification."""


class CallContext:
    """Implements ``servers.execution.contract.Context`` for one request. Cheap to make: most need none of it."""

    __slots__ = ("_clock", "_first", "_incoming", "_told", "retries")

    def __init__(self, incoming: Incoming, target: str, arguments: object = None) -> None:
        self._incoming = incoming
        self._told = -math.inf
        self._clock = Clock(incoming.seconds)
        self._first: Callable[[], Awaitable[None]] | None = None
        self.retries: Retries | None = None
        if incoming.modern:
            params = incoming.params
            # Read before anything runs: a state that is not valid here refuses the request.
            if "requestState" in params or "inputResponses" in params:
                self.retries = self._retries(target, arguments)

    @property
    def principal(self) -> Principal:
        """See ``Context``."""
        incoming = self._incoming
        return principal_as(incoming.caller, incoming.surface.slug, incoming.request_id)

    @property
    def trace(self) -> Trace | None:
        """See ``Context``."""
        return trace_of(self._incoming.params)

    @property
    def wants_progress(self) -> bool:
        """See ``Context``."""
        return _meta(self._incoming.params).get("progressToken") is not None

    @property
    def log_level(self) -> LogLevel | None:
        """See ``Context``. From 2026-07-28 on a request has to ask for messages (server/utilities/logging)."""
        incoming = self._incoming
        least = _meta(incoming.params).get(LOG_LEVEL) if incoming.modern else incoming.log_level
        return least if least in LEVELS else None

    @property
    def kept(self) -> str:
        """See ``Context``."""
        return "" if self.retries is None else self.retries.kept

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """See ``Context``. What does not grow is dropped (basic/patterns/progress)."""
        token = _meta(self._incoming.params).get("progressToken")
        if token is None or not progress > self._told:
            return
        self._told = progress
        params: dict[str, Any] = {"progressToken": token, "progress": progress}
        if total is not None:
            params["total"] = total
        # Progress has words since 2025-03-26; before it, clients ignore them.
        if message:
            params["message"] = message
        await self._notify("notifications/progress", params)

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        """See ``Context``."""
        least = self.log_level
        if least is None or LEVELS.index(level) < LEVELS.index(least):
            return
        params: dict[str, Any] = {"level": level, "data": data}
        if logger:
            params["logger"] = logger
        await self._notify("notifications/message", params)

    def can(self, method: AskMethod, part: str = "") -> bool:
        """See ``Context``."""
        declared = self._declared(method)
        return declared is not None and (not part or isinstance(declared.get(part), Mapping))

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        """See ``Context``."""
        for ask in asks.values():
            declared = self._declared(ask.method)
            if declared is None or not covers(declared, ask):
                raise cannot_ask(ask)
        return self._answers(asks, keep) if self._incoming.modern else await self._put(asks)

    def precede(self, first: Callable[[], Awaitable[None]]) -> None:
        """See ``Context``."""
        self._first = first

    def keep(self, deadline: asyncio.Timeout) -> None:
        """See ``Context``."""
        self._clock.keep(deadline)

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        """See ``Context``. A run that may call others has a context around this one (``servers.services.nesting``)."""
        raise cannot_call()

    def tool(self, name: str) -> Offered | None:
        """See ``Context``, and ``call``."""
        return None

    @property
    def takes_tasks(self) -> bool:
        """See ``Context``. Clients of before 2026-07-28 know no such tasks, and wait for their answers."""
        return not self._incoming.modern or declares_tasks(self._incoming)

    @property
    def handed_on(self) -> bool:
        """See ``Context``."""
        return False

    async def go_on(self, *, keep: str = "", repeatable: bool = False) -> None:
        """See ``Context``. A run that may go on elsewhere has a context around this one (``services.tasks``)."""
        return

    async def resource_updated(self, uri: str) -> None:
        """See ``Context``."""
        await self._incoming.announce_resource(uri)

    async def release_stream(self) -> None:
        """See ``Context``."""
        if not self._incoming.modern:
            await self._incoming.channel().release()

    def input_required(
        self, required: InputRequired, target: str, arguments: object, version: int | None = None
    ) -> bytes:
        """The result that asks the client; ``version`` of a tool is what asks. Raises ``SourceError``."""
        retries = self.retries or self._retries(target, arguments)
        retries.version = version
        return retries.result(required.asks, self._incoming.view.identity, kept=required.kept)

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the client declared, as far as it can be asked."""
        incoming = self._incoming
        declared: Any = None
        if incoming.modern:
            declared = _meta(incoming.params).get(CLIENT_CAPABILITIES)
        elif incoming.session is not None and incoming.questions is not None:
            declared = incoming.session.capabilities
        return declared if isinstance(declared, Mapping) else {}

    def _declared(self, method: AskMethod) -> Mapping[str, Any] | None:
        """What the client declared of the capability to answer such questions; ``None``: not at all."""
        found = self.capabilities.get(CAPABILITY[method])
        return found if isinstance(found, Mapping) else None

    def _answers(self, asks: Mapping[str, Ask], keep: str) -> Mapping[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for key, ask in asks.items():
            answer = None if self.retries is None else self.retries.answer(key)
            if answer is not None and fits(ask, answer):
                found[key] = answer
        missing = {key: ask for key, ask in asks.items() if key not in found}
        if missing:
            raise InputRequired(missing, keep)
        return found

    async def _put(self, asks: Mapping[str, Ask]) -> Mapping[str, Mapping[str, Any]]:
        incoming = self._incoming
        questions = incoming.questions
        channel = incoming.channel()
        if questions is None or not channel.carries:
            raise cannot_ask(next(iter(asks.values()), None))
        if self._first is not None:
            await self._first()
        self._clock.stop()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {key: group.create_task(questions.ask(channel, ask)) for key, ask in asks.items()}
        except BaseExceptionGroup as several:
            faults = several.subgroup(MarinaError)
            if faults is None:
                raise
            raise _first(faults) from None
        finally:
            self._clock.start()
        return {key: task.result() for key, task in tasks.items()}

    async def _notify(self, method: str, params: Mapping[str, Any]) -> None:
        channel = self._incoming.channel()
        if not channel.carries:
            return
        try:
            message = orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params}, default=str)
        except (TypeError, orjson.JSONEncodeError):
            message = b""
        if not message or len(message) > MAX_NOTICE_BYTES:
            params = {
                **params,
                "data" if "data" in params else "message": "(too long to be sent, or not JSON)",
            }
            message = orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params}, default=str)
        if self._first is not None:
            # No content of a run reaches anyone before the log has the run.
            await self._first()
        await channel.send(message)

    def _retries(self, target: str, arguments: object) -> Retries:
        incoming = self._incoming
        return Retries(
            incoming.runtime.sealer,
            bound_to=bound_to(
                tenant_id=incoming.caller.tenant_id,
                server=incoming.surface.slug,
                principal=principal_of(incoming.caller),
                method=incoming.method,
                target=target,
                arguments=arguments,
            ),
            params=incoming.params,
        )


def check_meta(params: Mapping[str, Any], *, modern: bool) -> None:
    """Raise ``RpcError`` when a request asks for progress or log messages in a way that there is not."""
    meta = params.get("_meta")
    if meta is None:
        return
    if not isinstance(meta, dict):
        raise _invalid("params._meta must be an object.")
    token = meta.get("progressToken")
    if token is not None and not (
        type(token) is int or (type(token) is str and len(token) <= MAX_TOKEN_CHARACTERS)
    ):
        raise _invalid(
            "params._meta.progressToken must be a whole number or a string of at most "
            f"{MAX_TOKEN_CHARACTERS} characters."
        )
    level = meta.get(LOG_LEVEL) if modern else None
    if level is not None and level not in LEVELS:
        raise _invalid(f"params._meta[{LOG_LEVEL!r}] must be one of {', '.join(LEVELS)}.")


def required_capabilities(refused: Mapping[str, Any]) -> dict[str, Any]:
    """What a client has to declare to be asked what it could not be (the ``data`` of ``cannot_ask``)."""
    if "extension" in refused:
        return {"extensions": {str(refused["extension"]): {}}}
    part = refused.get("part")
    detail: dict[str, Any] = {str(part): {}} if part else {}
    return {name: detail for known, name in CAPABILITY.items() if known == refused.get("method")}


def _invalid(message: str) -> RpcError:
    return RpcError(INVALID_PARAMS, message, data={"code": "params_invalid"})


def _meta(params: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = params.get("_meta")
    return meta if isinstance(meta, Mapping) else {}


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    fault = group.exceptions[0]
    return _first(fault) if isinstance(fault, BaseExceptionGroup) else fault


def declares_tasks(incoming: Incoming) -> bool:
    """Whether this very request comes from a client that takes a task for an answer."""
    meta = incoming.params.get("_meta")
    declared = meta.get(CLIENT_CAPABILITIES) if incoming.modern and isinstance(meta, Mapping) else None
    extensions = declared.get("extensions") if isinstance(declared, Mapping) else None
    return isinstance(extensions, Mapping) and isinstance(extensions.get(TASKS_EXTENSION), Mapping)
