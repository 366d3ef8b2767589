"""Runs a tool's Python in a worker process of the sandbox, with the tools that it may call. Decides no rights.

The interpreter is pydantic-monty: it has no files, no network and no processes to give away, counts its own time and
memory, and lives in a process of its own, which is replaced when it ends. Between runs nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic_monty import (
    AsyncMonty,
    MontyConversionError,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySyntaxError,
)

from core.errors import MarinaError, SourceError, Unavailable
from core.turns import take_long_turns
from servers.execution.backends.code.checking import function_name
from servers.execution.backends.code.settings import CodeSettings
from servers.execution.contract import Context, InputRequired, Outcome

MAX_WORKERS: Final = 2
"""Processes of the sandbox, for each process of Marina. Runs beyond wait for one, within their own time."""

RUNS_OF_A_WORKER: Final = 500
NICE: Final = 10
"""A tenth of a core's time is still theirs where the web process wants all of it."""

MAX_CALLS: Final = 200
"""Of other tools, in one run."""

MAX_RECURSION: Final = 200
MAX_SLEEP_SECONDS: Final = 1.0
MAX_PRINTED: Final = 64 * 1024
"""Characters of ``print``; the rest is dropped, and said to be."""
DROPPED_SECONDS: Final = 0.005
"""Of rest, for each piece of 8 KB that is dropped. To read half a gigabyte a second takes a core of the web process."""
LINES_AT_ONCE: Final = 50
"""Told to the client, before others have their turn."""

_LOST: Final = "outcome_unrecorded"
_BOUNDS: Final = {
    "TimeoutError": "code_too_slow",
    "MemoryError": "code_too_large",
    "RecursionError": "code_too_deep",
}


class Sandbox:
    """The worker processes, started with the first run, on one event loop."""

    def __init__(self) -> None:
        self._pool: AsyncMonty | None = None
        self._starting = asyncio.Lock()

    async def pool(self) -> AsyncMonty:
        """The pool, started. Raises ``SourceError`` where the sandbox is not installed whole."""
        if self._pool is None:
            async with self._starting:
                if self._pool is None:
                    pool = AsyncMonty(
                        min_processes=1, max_processes=MAX_WORKERS, max_checkouts_per_worker=RUNS_OF_A_WORKER
                    )
                    try:
                        await pool.__aenter__()
                    except (OSError, MontyError):
                        raise SourceError(
                            "The sandbox for Python does not start on this installation. Tell its operator: the "
                            "program monty of pydantic-monty-runtime has to be installed beside Marina.",
                            code="sandbox_away",
                        ) from None
                    self._pool = pool
        return self._pool

    async def close(self) -> None:
        """End the processes. The next run starts others."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__(None, None, None)


async def run_code(
    sandbox: Sandbox,
    code: str,
    values: Mapping[str, Any],
    tools: list[str],
    *,
    settings: CodeSettings,
    context: Context,
    name: str,
) -> Outcome:
    """Run the code with these values. Raises ``SourceError`` with the line of a fault, and what its calls raise."""
    calls = _Calls(context)
    printed = _Printed(asyncio.get_running_loop())
    pool = await sandbox.pool()
    session = pool.checkout(
        script_name="tool.py",
        limits={
            "max_feed_duration_secs": settings.max_seconds,
            "max_memory": settings.max_memory_mb * 1_000_000,
            "max_recursion_depth": MAX_RECURSION,
            "max_suspensions": MAX_CALLS * 4,
            "max_total_sleep_secs": MAX_SLEEP_SECONDS,
        },
    )
    telling = asyncio.create_task(printed.tell(context, name))
    try:
        async with session as started:
            _give_way(started.worker_pid)
            result = await started.feed_run(
                code,
                inputs=dict(values),
                external_lookup={function_name(tool): calls.function(tool) for tool in tools},
                print_callback=printed.take,
            )
    except MontyError as fault:
        # What the log or the client has to say goes before what the code made of it.
        raise calls.end or _translated(fault) from None
    finally:
        await printed.finish(telling)
    if calls.end is not None:
        raise calls.end
    return _outcome(result, printed.text)


def _give_way(worker: int | None) -> None:
    """Let the sandbox's process run where nobody else wants to: where cores are short, all teams wait for the loop."""
    if worker is None:
        return
    with contextlib.suppress(OSError):
        # On Linux each thread has a priority of its own.
        for thread in Path(f"/proc/{worker}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE)
            take_long_turns(int(thread.name))


class _Calls:
    """The tools as the code finds them. ``end`` is what must end the run, whatever the code catches."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._count = 0
        self.end: Exception | None = None

    def function(self, tool: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **arguments: Any) -> Any:
            if args:
                raise TypeError(f"{function_name(tool)} takes its arguments by name")
            if self.end is not None:
                raise RuntimeError("the run is over")
            self._count += 1
            if self._count > MAX_CALLS:
                raise RuntimeError(f"a run may call tools {MAX_CALLS} times")
            try:
                outcome = await self._context.call(tool, arguments, key=f"call {self._count}")
            except InputRequired as required:
                self.end = required
                raise RuntimeError("the client is asked") from None
            except MarinaError as fault:
                if isinstance(fault, Unavailable) or fault.code == _LOST:
                    self.end = fault
                raise RuntimeError(fault.message) from None
            return outcome.text if outcome.structured is None else _plain(outcome.structured)

        return call


class _Printed:
    """What the code prints, told to the client line by line as it comes. Taken on threads of the sandbox, not the loop.

    Beyond what is kept nobody reads on for a while: the code waits with its next ``print``, and its time goes on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._taken = 0
        self._parts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def take(self, stream: str, text: str) -> None:
        left = MAX_PRINTED - self._taken
        if left < 0:
            time.sleep(DROPPED_SECONDS)
            return
        kept = text if len(text) <= left else f"{text[:left]}\n(more was printed than is kept)\n"
        self._taken += len(text)
        self._parts.append(kept)
        self._loop.call_soon_threadsafe(self._queue.put_nowait, kept)

    async def tell(self, context: Context, name: str) -> None:
        rest = ""
        while (text := await self._queue.get()) is not None:
            *lines, rest = (rest + text).split("\n")
            for told, line in enumerate(lines, 1):
                await context.log("info", line, name)
                if not told % LINES_AT_ONCE:
                    await asyncio.sleep(0)
        if rest:
            await context.log("info", rest, name)

    async def finish(self, telling: asyncio.Task[None]) -> None:
        self._loop.call_soon(self._queue.put_nowait, None)
        await telling


def _translated(fault: MontyError) -> SourceError:
    if isinstance(fault, MontyCrashedError):
        return SourceError(
            "The sandbox ended with the code in it: it took more than it may. Let it do less.",
            code="code_crashed",
        )
    if isinstance(fault, MontyConversionError):
        return SourceError("A value could not be handed to the code: it is no JSON.", code="code_failed")
    kind = type(fault.exception()).__name__
    where = ""
    if isinstance(fault, MontyRuntimeError | MontySyntaxError):
        frames = fault.traceback()
        where = f"line {frames[-1].line}: " if frames else ""
    # The code's own words: it has seen nothing but its arguments and what its caller's calls gave.
    words = str(fault)[:1_000]
    return SourceError(f"The code failed: {where}{words}", code=_BOUNDS.get(kind, "code_failed"))


def _plain(value: Any) -> Any:
    """A value as JSON has it. Dates and decimals, which sources give, become texts."""
    return orjson.loads(orjson.dumps(value, default=str))


def _outcome(result: Any, printed: str) -> Outcome:
    try:
        written = orjson.dumps(result, default=_as_json, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError, RecursionError):
        raise SourceError(
            f"The code's result is of the type {type(result).__name__}, or holds what JSON has no word for. Give "
            "numbers, texts, lists and dictionaries.",
            code="result_not_json",
        ) from None
    structured = orjson.loads(written)
    if structured is None:
        return Outcome(None, printed or "(no result)", size=len(printed))
    return Outcome(structured, "", size=len(written))


def _as_json(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    raise TypeError
