"""Runs operations on data sources: picks the backend by kind, keeps the deadline and the size of results.

It decides nothing about who may call what: that is done before, in ``servers/services/calls.py``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from core.eager import Started
from core.errors import InvalidInput, SourceError
from core.hostedcommands import HostedCommand
from core.outbound import AllowAddress
from core.talks import Talks
from servers.execution.addresses import allow_public
from servers.execution.backends import Maker, list_makers
from servers.execution.broken import BrokenBackend
from servers.execution.context import NOBODY
from servers.execution.contract import (
    Backend,
    Completion,
    Context,
    Health,
    NoteHosted,
    NoteSlow,
    NoteUpstream,
    Operation,
    Outcome,
    SignIns,
    Source,
)
from servers.execution.notes import NoteChanged

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds for one operation, everything included."""
MAX_RESULT_BYTES: Final = 8_388_608
"""No backend's result may be larger, whatever its own settings say."""
LARGE_BYTES: Final = 262_144
"""Of a result: others have a turn between what the backend made of it and what is made of that."""
CHECK_TIMEOUT: Final = 12.0
COMPLETE_TIMEOUT: Final = 5.0
"""A person waits for these while typing."""
MAX_COMPLETIONS: Final = 100
"""2025-11-25 server/utilities/completion, "Completion Results": at most 100 values."""


class Engine:
    """One object a process and event loop. ``close`` it before the loop ends.

    Without ``makers``, the kinds that are installed. Each is made when it is first asked for, on whatever thread.
    """

    def __init__(
        self,
        *,
        allow_address: AllowAddress = allow_public,
        files_roots: Sequence[Path] = (),
        hosted_commands: Sequence[HostedCommand] = (),
        makers: Mapping[str, Maker] | None = None,
        max_result_bytes: int = MAX_RESULT_BYTES,
        note_slow: NoteSlow | None = None,
        note_hosted: NoteHosted | None = None,
        note_upstream: NoteUpstream | None = None,
        note_changed: NoteChanged | None = None,
        talks: Talks | None = None,
        sign_ins: SignIns | None = None,
    ) -> None:
        self._makers = makers or list_makers(
            allow_address=allow_address,
            files_roots=files_roots,
            hosted_commands=hosted_commands,
            note_slow=note_slow,
            note_hosted=note_hosted,
            note_upstream=note_upstream,
            note_changed=note_changed,
            talks=talks,
            sign_ins=sign_ins,
        )
        self._backends: dict[str, Backend] = {}
        self._max_result_bytes = max_result_bytes

    @property
    def kinds(self) -> Sequence[str]:
        """The names of all kinds, made or not."""
        return tuple(self._makers)

    def backend(self, kind: str) -> Backend:
        """The backend of a kind. Raises ``InvalidInput`` for an unknown one."""
        backend = self._backends.get(kind) or self._make(kind)
        if backend is None:
            message = f"There is no kind of data source named {kind}. Known: {', '.join(self._makers)}."
            raise InvalidInput(message, errors=[{"path": "kind", "message": message}])
        return backend

    def find(self, kind: str) -> Backend | None:
        """The backend of a kind, where it is installed."""
        return self._backends.get(kind) or self._make(kind)

    def _make(self, kind: str) -> Backend | None:
        maker = self._makers.get(kind)
        # Made twice at once, the first counts: the other has opened nothing yet.
        return None if maker is None else self._backends.setdefault(kind, _made(kind, maker))

    def composes(self, kind: str) -> bool:
        """Whether operations on sources of this kind may call tools. Of one that is not installed: no."""
        backend = self.find(kind)
        return backend is not None and backend.composes

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float = DEFAULT_TIMEOUT,
        context: Context = NOBODY,
    ) -> Outcome:
        """Run one operation within ``timeout`` seconds. Raises ``SourceError``, ``InvalidInput``, ``InputRequired``.

        When the deadline passes or the caller is cancelled, the backend stops the work at the source too.
        """
        backend = self.backend(source.kind)
        try:
            work = Started(backend.execute(source, operation, arguments, timeout=timeout, context=context))
            if work.done:
                outcome = work.result
            else:
                # A timer costs more than a call that never waits, so only what waits gets one.
                async with asyncio.timeout(timeout) as deadline:
                    context.keep(deadline)
                    outcome = await work
        except TimeoutError:
            raise timed_out(source.name, timeout) from None
        if not _is_plain(outcome.rows, outcome.size, outcome.truncated):
            raise SourceError(
                "The result's rows or size are no whole numbers, or truncated is neither true nor false, so it could "
                f"not be recorded. Tell whoever runs Marina: the kind {source.kind} is at fault.",
                code="result_invalid",
            )
        if outcome.content is not None:
            # Backends count what they read; blocks may hold more than that, and travel as they are.
            size = _bytes_of(outcome.content)
            if size > outcome.size:
                outcome = replace(outcome, size=size)
        if outcome.size > self._max_result_bytes:
            raise SourceError(
                f"The result has {outcome.size} bytes; {self._max_result_bytes} are allowed. Ask for less.",
                code="result_too_large",
                data={"max_bytes": self._max_result_bytes},
            )
        if outcome.size > LARGE_BYTES:
            await asyncio.sleep(0)
        return outcome

    async def complete(
        self,
        source: Source,
        operation: Operation,
        argument: str,
        value: str,
        given: Mapping[str, str],
        *,
        timeout: float = COMPLETE_TIMEOUT,
        context: Context = NOBODY,
    ) -> Completion:
        """Values that complete an argument, ``MAX_COMPLETIONS`` at most. Raises ``SourceError`` or ``InvalidInput``."""
        backend = self.backend(source.kind)
        try:
            async with asyncio.timeout(timeout):
                found = await backend.complete(
                    source, operation, argument, value, given, timeout=timeout, context=context
                )
        except TimeoutError:
            raise timed_out(source.name, timeout, "named no values within {} s.") from None
        if len(found.values) <= MAX_COMPLETIONS:
            return found
        return Completion(found.values[:MAX_COMPLETIONS], found.total or len(found.values), has_more=True)

    async def check(self, source: Source) -> Health:
        """Say whether a source works, in words. Never raises for a bad source."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                return await self.backend(source.kind).check(source)
        except TimeoutError:
            reason = f"The data source did not answer within {CHECK_TIMEOUT:g} s."
            return Health("unhealthy", reason, "source_timeout", CHECK_TIMEOUT * 1_000)
        except Exception:
            # The checks of all other teams' sources follow.
            logger.exception("the check of a data source failed", extra={"kind": source.kind})
            return Health("unhealthy", "Marina could not check it: its own log says why.", "internal")

    async def close(self) -> None:
        """Close every pool of every kind that was made."""
        for backend in tuple(self._backends.values()):
            await backend.close()


def _made(kind: str, maker: Maker) -> Backend:
    try:
        return maker()
    except ImportError as fault:
        logger.exception("a kind of data source cannot be imported", extra={"kind": kind})
        reason = f"Data sources of the kind {kind} do not work on this installation: {type(fault).__name__}."
        return BrokenBackend(kind, f"{reason} Whoever runs Marina can mend this; its log says more.")


def timed_out(
    source: str, seconds: float, words: str = "did not answer within {} s, and the call was stopped."
) -> SourceError:
    """What a call is told whose deadline passed."""
    return SourceError(
        f"The data source {source} {words.format(f'{seconds:g}')}",
        code="source_timeout",
        data={"seconds": seconds},
        retryable=True,
    )


def _is_plain(rows: object, size: object, truncated: object) -> bool:
    """Whether the log takes what it keeps of an outcome: a plugin's kind may have filled it in anyhow."""
    return type(size) is int and type(truncated) is bool and (rows is None or type(rows) is int)


def _bytes_of(content: Sequence[Mapping[str, Any]]) -> int:
    return len(orjson.dumps(content, default=_as_json))


def _as_json(value: Any) -> Any:
    """What orjson does not know: any sequence and mapping that a backend may use, and the rest as text."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) else str(value)
