"""Runs the command of a data source in a sandbox and talks to it: begun on demand, again when it ends, by one process.

All calls of the source share it. What it writes beside its messages, and how it fares, is noted for the source's page.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from time import monotonic, time
from typing import Any, Final

from core.egress import VARIABLES, Egress
from core.errors import SourceError
from core.finishing import heed, stop
from core.hostedcommands import HostedCommand
from core.outbound import AllowAddress
from core.outbound_http import OutboundRefused
from core.sandbox import MEGABYTE, Box
from core.sandboxed import NoSandbox, Sandboxed, start
from servers.execution.backends.mcp.faults import SessionLost, named
from servers.execution.backends.mcp.hearing import ALL_CAPABILITIES
from servers.execution.backends.mcp.hosting import Hosting
from servers.execution.backends.mcp.keptlines import KeptLines
from servers.execution.backends.mcp.lines import WritingPace, lines_of
from servers.execution.backends.mcp.session import Conversation, Server, begin, discover
from servers.execution.backends.mcp.settings import McpSettings
from servers.execution.backends.mcp.stdio import MAX_NOTED_BYTES, StdioWay
from servers.execution.backends.mcp.wire import Headers, RpcError
from servers.execution.contract import Hosted, HostedState, Source

IDLE_SECONDS: Final = 300.0
"""How long a command that nobody uses goes on."""
PROBE_SECONDS: Final = 10.0
"""How long it may be silent when it is asked of which era it is (2026-07-28 basic/transports/stdio)."""
START_SECONDS: Final = 60.0
"""For a command to be there and its handshake done. Whoever waits may have given up before."""
SETTLED_SECONDS: Final = 60.0
"""A command that lived so long is not one that fails to start."""
PATIENCE_SECONDS: Final = 2.0
"""A call waits so long for a command that is begun again soon."""
LATE_CALLS: Final = 3
"""Calls in a row whose time ran out while it said nothing at all. Then it is asked whether it is there."""
PING_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 1.0
"""How often it is looked at what a command uses."""
SHARE: Final = 0.25
"""Of a processor: a command that computes more stands back behind others, until it has made up for it."""
SPARE_SECONDS: Final = 20.0
"""Of a processor that it has before, to start, and what it makes up for at most."""
OVERTIME_SECONDS: Final = 600.0
"""How long a command that is too old may go on with what it has begun."""

logger = logging.getLogger(__name__)


class HostedConnector:
    """Implements ``Connector`` for a command. ``source``: whose it is, where it is stored, else ``team`` says so.

    ``aside``: it runs for a look only, and how it fares is not how the source does.
    """

    shared: bool = True
    idle_seconds: float = IDLE_SECONDS

    def __init__(
        self,
        settings: McpSettings,
        hosting: Hosting,
        source: Source | None = None,
        *,
        team: int = 0,
        aside: bool = False,
        changed: Callable[[], None],
    ) -> None:
        self._changed = changed
        self._settings = settings
        self._team = team if source is None else source.tenant_id
        self._hosting = hosting
        self._source = source
        self._aside = aside
        self._run: _Run | None = None
        self._beginning: asyncio.Task[_Run] | None = None
        self._old: set[_Run] = set()
        """Runs that have not answered yet what they were asked, when they were too old."""
        self._ending: set[asyncio.Task[None]] = set()
        self._backoff = hosting.backoff_of(source)
        self._speaks_first = True
        self._closed = False
        self._lines = KeptLines(settings.secrets, self._told)
        self._state = Hosted("stopped", time(), number=next(hosting.numbers))

    @property
    def lines(self) -> Sequence[str]:
        """The last that it wrote."""
        return self._lines.kept

    async def connect(self, capabilities: Mapping[str, Any]) -> Conversation:
        """See ``Connector``. An upstream of before 2026-07-28 has one session, which all callers share."""
        run = await self._ready()
        if run.conversation is not None:
            return run.conversation
        if run.server is None:
            raise AssertionError("a command is ready before it said what it is")
        return Conversation(run.way, run.server, capabilities)

    def sign(self, headers: Headers) -> None:
        """See ``Connector``. A command is not signed in to."""

    def forget(self) -> None:
        """See ``Connector``. What runs says itself when it is over."""

    def late(self) -> None:
        """See ``Connector``."""
        if self._run is not None:
            self._run.late()

    async def close(self) -> None:
        """See ``Connector``."""
        self._closed = True
        await stop(self._beginning)
        run, self._run = self._run, None
        for each in (*self._old, *(() if run is None else (run,))):
            self._later(each.end())
        if self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)
        self._lines.flush()
        if self._state.state != "stopped":
            self._say("stopped")

    async def _ready(self) -> _Run:
        """What runs, begun where nothing does. Whoever stops waiting does not stop the beginning."""
        run = self._run
        if run is not None and run.over is None and not run.is_old:
            return run
        if run is not None:
            self._run = None
            if run.over is None:
                self._old.add(run)
                self._later(run.end(patient=True))
            else:
                # It ended before it was known to have begun.
                self._failed(run.why)
        if self._beginning is None or self._beginning.done():
            await self._wait_for_turn()
        if self._beginning is None or self._beginning.done():
            self._beginning = asyncio.get_running_loop().create_task(self._begin())
            # Told to whoever waits; and where nobody does any more, by the state.
            self._beginning.add_done_callback(heed)
        return await asyncio.shield(self._beginning)

    async def _wait_for_turn(self) -> None:
        left = self._backoff.left
        if left > PATIENCE_SECONDS:
            raise SourceError(
                f"{named(self._settings.url)} ended {self._backoff.failures} times in a row, last because "
                f"{self._backoff.reason}. It is begun again in {left:.0f} s. The page of the data source shows what it "
                "wrote.",
                code="source_restarting",
                data={"seconds": round(left, 1)},
                retryable=True,
            )
        if left > 0:
            await asyncio.sleep(left)

    async def _begin(self) -> _Run:
        command = self._hosting.command_of(self._settings)
        self._say("starting")
        try:
            async with asyncio.timeout(START_SECONDS):
                run = await self._begun(command)
        except TimeoutError:
            raise self._failed(f"it did not answer within {START_SECONDS:g} s") from None
        except NoSandbox as fault:
            raise self._failed(f"no sandbox could be made: {fault}", "source_unavailable") from None
        except (OutboundRefused, SessionLost) as fault:
            raise self._failed(str(fault) or "it ended") from None
        except SourceError as fault:
            if fault.code == "source_busy":
                self._say("stopped", reason="too many commands run")
            else:
                self._failed("it did not answer as an MCP server does")
            raise
        except Exception:
            logger.exception("a hosted command could not be begun")
            raise self._failed("it could not be begun") from None
        if self._closed:
            await run.end()
            raise SourceError("The data source is closed.", code="source_unavailable", retryable=True)
        self._run = run
        self._state = replace(self._state, next_try=None)
        self._say("running", since=time())
        return run

    async def _begun(self, command: HostedCommand) -> _Run:
        """A command that runs and has said what it is; a second one where the first took the question amiss."""
        while True:
            run = await self._start(command)
            try:
                if self._speaks_first:
                    run.server = await _probe(run.way)
                if run.server is None:
                    run.conversation = await begin(run.way, ALL_CAPABILITIES)
                return run
            except (OutboundRefused, SessionLost):
                why = await run.ended()
                if not self._speaks_first or run.asked_more:
                    raise OutboundRefused(why, "broken") from None
                # There are servers of before 2026-07-28 that end when anything but a handshake comes first.
                self._speaks_first = False
            except BaseException:
                await run.end()
                raise

    async def _start(self, command: HostedCommand) -> _Run:
        team = self._team
        self._hosting.take_place(team)
        try:
            box = Box(
                (*command.run, *self._settings.args),
                {**self._settings.env, **(VARIABLES if command.hosts else {})},
                command.folders,
                network=command.network,
                door=bool(command.hosts),
                bounds=command.bounds,
            )
            sandboxed = await start(box)
        except BaseException:
            self._hosting.leave_place(team)
            raise
        run = _Run(
            sandboxed,
            self._settings.url,
            command,
            team=team,
            allow=self._hosting.allow,
            lines=self._lines,
            gone=lambda run: self._gone(run, team),
        )
        run.way.channel.changed = self._changed
        return run

    def _gone(self, run: _Run, team: int) -> None:
        """A command ended, by itself or not."""
        self._hosting.leave_place(team)
        self._old.discard(run)
        if self._run is run:
            self._run = None
            if run.wanted:
                if monotonic() - run.began > SETTLED_SECONDS:
                    self._backoff.failures = 0
                self._failed(run.why)
            else:
                self._say("stopped", reason=run.why)

    def _failed(self, why: str, code: str = "source_failed") -> SourceError:
        self._speaks_first = True
        self._hosting.failed(self._source, self._backoff, why)
        self._state = replace(self._state, restarts=self._backoff.failures)
        self._say("waiting", reason=why, next_try=time() + self._backoff.left)
        return SourceError(
            f"{named(self._settings.url)} did not start: {why}. The page of the data source shows what it wrote.",
            code=code,
            retryable=True,
        )

    def _say(self, state: HostedState, *, reason: str = "", **more: Any) -> None:
        self._state = replace(self._state, state=state, reason=reason, at=time(), **more)
        self._told([])

    def _told(self, lines: Sequence[str]) -> None:
        if self._source is not None:
            self._hosting.note(self._source, None if self._aside else self._state, lines)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Run:
    """One process of a command, from its start to its end. ``over`` says why it ended, or is ending."""

    def __init__(
        self,
        sandboxed: Sandboxed,
        url: str,
        command: HostedCommand,
        *,
        team: int,
        allow: AllowAddress,
        lines: KeptLines,
        gone: Callable[[_Run], None],
    ) -> None:
        self._sandboxed = sandboxed
        self._command = command
        self._lines = lines
        self._gone = gone
        self._pace = WritingPace()
        self.way = StdioWay(
            url, stdin=sandboxed.stdin, stdout=sandboxed.stdout, note=lines.add, pace=self._pace, team=team
        )
        door = sandboxed.take_door()
        self._egress = (
            None
            if door is None
            else Egress(door, command.hosts, name=command.name, allow=allow, note=lines.say)
        )
        self.server: Server | None = None
        self.conversation: Conversation | None = None
        self.began = monotonic()
        self.why = ""
        self.wanted = True
        """Whether it was to go on."""
        self._heard = 0
        self._late = 0
        """Calls that ran out of time since it said the last of so many messages."""
        self._pinging: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._watching = loop.create_task(self._watch())
        self._life = loop.create_task(self._live())

    @property
    def over(self) -> OutboundRefused | None:
        """Why nothing can be asked of it any more."""
        return self.way.channel.over

    @property
    def is_old(self) -> bool:
        """Whether another one has to take its place."""
        return monotonic() - self.began > self._command.bounds.life_seconds

    @property
    def asked_more(self) -> bool:
        """Whether it got beyond the question of which era it is."""
        return self.server is not None or self.conversation is not None

    async def ended(self) -> str:
        """Wait for its end, which is near, and say why."""
        if self._sandboxed.running:
            await self._sandboxed.end()
        await asyncio.shield(self._life)
        return self.why

    async def end(self, *, patient: bool = False) -> None:
        """End it with all that it began. ``patient``: when it has answered what it was asked."""
        self.wanted = False
        if patient:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OVERTIME_SECONDS):
                    await self.way.channel.settle()
        if self._sandboxed.running:
            await self._sandboxed.end()
        await asyncio.shield(self._life)

    def late(self) -> None:
        """A call's time ran out. One that hangs is found out, and ended: it would not end by itself."""
        heard = self.way.channel.heard
        self._late = self._late + 1 if heard == self._heard else 1
        self._heard = heard
        if self._late >= LATE_CALLS and self._pinging is None:
            self._pinging = asyncio.get_running_loop().create_task(self._ping())

    async def _ping(self) -> None:
        heard = self.way.channel.heard
        with contextlib.suppress(OutboundRefused, SessionLost, SourceError, RpcError, TimeoutError):
            async with asyncio.timeout(PING_SECONDS):
                if self.conversation is None:
                    await discover(self.way)
                else:
                    await self.conversation.request("ping", {}, most_bytes=MAX_NOTED_BYTES)
        if self.way.channel.heard != heard:
            self._pinging = None
            return
        self.why = self.why or f"it answered none of {self._late} calls, nor a ping"
        self._lines.say(f"Marina ended it: {self.why}")
        await self._sandboxed.end(at_once=True)

    async def _live(self) -> None:
        """Hand out what it says, until it ends or has to."""
        sandboxed = self._sandboxed
        beside = asyncio.get_running_loop().create_task(self._read_beside())
        try:
            why = await self.way.read()
            if why:
                self.why = self.why or why
                await sandboxed.end(at_once=True)
            # Its output has ended; itself not, perhaps.
            await sandboxed.end()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await beside
        except Exception:
            logger.exception("what a hosted command wrote could not be read")
            self.why = self.why or "what it wrote could not be read"
        finally:
            for task in (self._watching, self._pinging, beside):
                if task is not None:
                    task.cancel()
            self.why = self.why or _words_of(sandboxed.status, self.wanted)
            self.way.channel.end(OutboundRefused(self.why, "broken"))
            self._gone(self)
            # Whatever happened: nothing else ends it.
            await sandboxed.end(at_once=True)
            if self._egress is not None:
                await self._egress.close()

    async def _read_beside(self) -> None:
        part = False
        async for line, ends in lines_of(self._sandboxed.stderr, self._pace, most=MAX_NOTED_BYTES):
            if not part:
                self._lines.add(line.decode(errors="replace"))
            part = not ends

    async def _watch(self) -> None:
        """Keep it behind others, and end it where it uses too much: bounds of the kernel's are each process's own."""
        most = self._command.bounds.memory * MEGABYTE
        overtime = self._command.bounds.life_seconds + OVERTIME_SECONDS
        spare, used, behind = SPARE_SECONDS, 0.0, False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._pace.free = not self._sandboxed.running
            used, before = self._sandboxed.computed(), used
            spare += LOOK_SECONDS * SHARE - max(0.0, used - before)
            spare = max(-SPARE_SECONDS, min(spare, SPARE_SECONDS))
            if behind or spare < 0:
                behind = spare < 0
                self._sandboxed.give_way(19 if behind else 0)
            if self._sandboxed.memory() > most:
                self.why = f"its processes used more than {self._command.bounds.memory} MB of memory"
            elif monotonic() - self.began > overtime:
                self.why = "it was older than it may be"
            else:
                continue
            await self._sandboxed.end(at_once=True)
            self._pace.free = True
            return


async def _probe(way: StdioWay) -> Server | None:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await discover(way)
    except TimeoutError:
        return None


def _words_of(status: int | None, wanted: bool) -> str:
    if not wanted:
        return ""
    if status is not None and status > 128:
        return f"its command was ended by signal {status - 128}"
    return f"its command ended with status {status}"
