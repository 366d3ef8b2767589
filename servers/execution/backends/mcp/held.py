"""Calls that wait at an upstream of before 2026-07-28 while a client of 2026-07-28 is asked: its run ends meanwhile.

The upstream asks in the middle of its work and goes on where it was. The client is asked by the end of its request, and
answers with a new one: that finds the call that waits, in the process that holds it, and goes on with it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from core.errors import SourceError
from servers.execution.backends.mcp.faults import Abandoned
from servers.execution.backends.mcp.replies import Reply
from servers.execution.backends.mcp.ways import MAX_CONNECTIONS
from servers.execution.contract import InputRequired, Principal

if TYPE_CHECKING:
    from servers.execution.backends.mcp.hearing import Hearing

HELD_SECONDS: Final = 600.0
"""How long a person may take."""
MAX_HELD: Final = MAX_CONNECTIONS // 2
"""Calls that wait for their clients, of one upstream in one process: each keeps a connection, and others need some."""
MAX_HELD_EACH: Final = 8
"""Of one caller."""
MAX_HELD_STRANGERS: Final = 16
"""Of all who have no credential: they cannot be told from one another."""


class Place(NamedTuple):
    """Where a call waits: the process that holds it, and the call's name there."""

    process: str
    name: str


Whose = tuple[str, str]
"""A caller on one of a team's servers: what is kept for one is for no other."""


def whose(principal: Principal) -> Whose:
    """Whom something is kept for. Its second part is empty for whoever has no credential."""
    return principal.server, principal.identity


class Held:
    """One such call, from its beginning: most of them never ask, and are never held."""

    def __init__(self, whose: Whose) -> None:
        self.whose = whose
        self.required: InputRequired | None = None
        self.hearing: Hearing | None = None
        self._task: asyncio.Task[Reply] | None = None
        self._stuck = asyncio.Event()
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[Mapping[str, Mapping[str, Any]]] | None = None

    def begin(self, work: Any) -> None:
        """Run the call beside whoever made it."""
        self._task = asyncio.get_running_loop().create_task(work)

    async def reply(self) -> Reply | None:
        """The reply, or ``None`` when the client has to be asked first. Who is cancelled here ends the call."""
        task = self._task
        if task is None:
            raise AssertionError("the call has not begun")
        stuck = asyncio.get_running_loop().create_task(self._stuck.wait())
        try:
            await asyncio.wait({task, stuck}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            stuck.cancel()
        return task.result() if task.done() else None

    async def ask(self, required: InputRequired) -> Mapping[str, Mapping[str, Any]]:
        """Wait for the answers of a client that has to be asked. Raises ``SourceError`` where it gives none."""
        async with self._turn:
            self.required = required
            self._answer = asyncio.get_running_loop().create_future()
            self._stuck.set()
            return await self._answer

    def answer(self, answers: Mapping[str, Mapping[str, Any]] | SourceError) -> None:
        """Go on."""
        self._stuck.clear()
        waiting, self._answer, self.required = self._answer, None, None
        if waiting is None or waiting.done():
            return
        if isinstance(answers, SourceError):
            waiting.set_exception(answers)
        else:
            waiting.set_result(answers)

    def cancel(self) -> None:
        """End the call: nobody comes for it any more."""
        if self._task is not None:
            self._task.cancel()

    async def settle(self) -> None:
        """Wait for the end of a call that was cancelled."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


class Holding:
    """The calls of one upstream that wait, by names that only their clients have. ``process`` is this one's name."""

    def __init__(self, process: str = "") -> None:
        self.process = process
        self._waiting: Counter[Whose] = Counter()
        self._held: dict[str, tuple[Held, asyncio.TimerHandle]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def enter(self, whose: Whose) -> None:
        """A call of this caller waits for its client from now on. Raises ``Abandoned`` where too many do."""
        if self._waiting.total() >= MAX_HELD:
            raise _crowded("Too many calls of this data source wait for their clients' answers")
        if self._waiting[whose] >= (MAX_HELD_EACH if whose[1] else MAX_HELD_STRANGERS):
            who = "of yours" if whose[1] else "without a credential"
            raise _crowded(f"Too many calls {who} wait for an answer to what this data source asked")
        self._waiting[whose] += 1

    def leave(self, whose: Whose) -> None:
        """It does not any more."""
        self._waiting[whose] -= 1
        if not self._waiting[whose]:
            del self._waiting[whose]

    def keep(self, held: Held, name: str = "") -> InputRequired:
        """Hold a call, and give what ends the run that made it."""
        required = held.required
        if required is None:
            raise AssertionError("a call is held that asks nothing")
        name = name or secrets.token_hex(16)
        timer = asyncio.get_running_loop().call_later(HELD_SECONDS, self._give_up, name)
        self._held[name] = held, timer
        return InputRequired(required.asks, orjson.dumps({"held": name, "in": self.process}).decode())

    def take(self, name: str, whose: Whose) -> Held | None:
        """The call of this name, where it waits here and is theirs."""
        held, timer = self._held.get(name, (None, None))
        if held is None or timer is None or held.whose != whose:
            return None
        timer.cancel()
        del self._held[name]
        return held

    async def close(self) -> None:
        """End all of them, and wait until each upstream is about to be told."""
        held = [each for each, _ in self._held.values()]
        for name in list(self._held):
            self._give_up(name)
        for each in held:
            await each.settle()

    def _give_up(self, name: str) -> None:
        held, timer = self._held.pop(name)
        timer.cancel()
        held.cancel()


def _crowded(words: str) -> Abandoned:
    return Abandoned(
        f"{words}: this one was cancelled. Answer some of them, or try again later.",
        code="source_busy",
        retryable=True,
    )


def lost() -> SourceError:
    """The call is nowhere."""
    return SourceError(
        "The call that waited for this answer is not here any more: it waited too long, somebody signed in anew to the "
        "server, or the process of Marina that had it has ended. Make the call again.",
        code="call_lost",
    )
