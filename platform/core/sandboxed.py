"""Runs programs in a sandbox (``core.sandbox``): starts them, reads what they use, and ends all that they began.

Used from one event loop, whose thread lives as long as the programs may: they die with it. What they say is for whoever
started them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import platform
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from core.doors import ENVIRONMENT, NoDoor, open_door, readable
from core.memory import resident_bytes
from core.sandbox import DOOR_PORT, Box, missing_tools, texts_of, words_of
from core.seccomp import make_filter

START_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0
"""How long a program may take to end by itself when its input ends, before it is told to."""
TERM_SECONDS: Final = 2.0
"""How long it may take when it is told to (SIGTERM), before it is killed."""
KILL_SECONDS: Final = 5.0
TRY_SECONDS: Final = 4.0
"""For a program that does nothing, to see whether there can be others."""
STREAM_BYTES: Final = 65_536
"""What is held of a stream that nobody reads, half of it."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_FORBIDDEN: Final = os.strerror(errno.EPERM)


Stream = TypeVar("Stream", asyncio.StreamReader, asyncio.StreamWriter)


class NoSandbox(Exception):
    """No sandbox can be made on this machine. The message says why."""


class Sandboxed:
    """One program that was started, with all that it began. Its three streams are the caller's to read and write."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        transport: asyncio.SubprocessTransport,
        first: int,
        *,
        nested: bool,
        door: socket.socket | None = None,
    ) -> None:
        self._process = process
        self._transport = transport
        self._first = first
        self._nested = nested
        self._door = door
        self._ending: asyncio.Task[None] | None = None

    @property
    def stdin(self) -> asyncio.StreamWriter:
        """Its input."""
        return _there(self._process.stdin)

    @property
    def stdout(self) -> asyncio.StreamReader:
        """Its output."""
        return _there(self._process.stdout)

    @property
    def stderr(self) -> asyncio.StreamReader:
        """What it says beside."""
        return _there(self._process.stderr)

    @property
    def first(self) -> int:
        """The number of the first process of the sandbox, as this machine counts them."""
        return self._first

    def take_door(self) -> socket.socket | None:
        """What listens in the sandbox, where it has a door: the caller's from now on, to close when it has ended."""
        door, self._door = self._door, None
        return door

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def status(self) -> int | None:
        """With which status it ended: 128 and the number of a signal, where one ended it."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else code

    async def wait(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    def memory(self) -> int:
        """Bytes of memory that all processes in the sandbox hold just now, as far as it can be told."""
        return sum(resident_bytes(pid) for pid in self._inside())

    def computed(self) -> float:
        """Seconds of a processor that it has used, as far as it can be told."""
        return sum(map(_computed, self._inside()))

    def give_way(self, nice: int) -> None:
        """Have others run before it where ``nice`` is 19, as if it were one of them where that is 0.

        Where Linux groups processes by sessions (sched_autogroup_enabled), how nice a process is counts within its
        session alone: the session has to be. Programs may take that back, or begin another one: say it again.
        """
        for pid in list(self._inside()):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/autogroup").write_text(str(nice))

    def processes(self) -> int:
        """How many processes there are in the sandbox, its own first one not counted."""
        return sum(1 for _ in self._inside())

    async def end(self, *, at_once: bool = False) -> None:
        """End it with all that it began: its input ends, then SIGTERM, then SIGKILL. ``at_once``: only the last.

        Whoever is cancelled here does not stop that.
        """
        if self._ending is None or (at_once and not self._ending.done()):
            if self._ending is not None:
                self._ending.cancel()
            self._ending = asyncio.get_running_loop().create_task(self._end(at_once))
        ending = self._ending
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(ending)
        if not ending.done():
            # It was whoever waits here that was cancelled.
            raise asyncio.CancelledError
        if self._ending is not ending:
            # Somebody else does not wait so long.
            await self.end()

    async def _end(self, at_once: bool) -> None:
        try:
            await self._stop(at_once)
        finally:
            # What nobody read of its streams goes with it.
            self._transport.close()
            if (door := self.take_door()) is not None:
                door.close()

    async def _stop(self, at_once: bool) -> None:
        self.stdin.close()
        if not at_once:
            if await self._ended(CLOSE_SECONDS):
                return
            for pid in list(self._inside()):
                _signal(pid, signal.SIGTERM)
            if await self._ended(TERM_SECONDS):
                return
        if self.running:
            # With the first process of its namespace, all others in it end.
            _signal(self._first, signal.SIGKILL)
            if await self._ended(KILL_SECONDS):
                return
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _inside(self) -> Iterator[int]:
        """The processes in the sandbox, without what made it."""
        first = _innermost(self._first, nested=self._nested)
        return _below(first) if first else iter(())

    async def _ended(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        return not self.running


async def start(box: Box) -> Sandboxed:
    """Start a program. Raises ``NoSandbox`` where none can be made.

    Whoever is cancelled here leaves nothing behind: what is being made is made, and ended.
    """
    beginning = asyncio.get_running_loop().create_task(_start(box))
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:
        ending = asyncio.get_running_loop().create_task(_end_unwanted(beginning))
        # The loop holds tasks weakly.
        _unwanted.add(ending)
        ending.add_done_callback(_unwanted.discard)
        raise


_unwanted: Final[set[asyncio.Task[None]]] = set()


async def _end_unwanted(beginning: asyncio.Task[Sandboxed]) -> None:
    with contextlib.suppress(NoSandbox):
        await (await beginning).end(at_once=True)


async def _start(box: Box) -> Sandboxed:
    if missing := missing_tools():
        raise NoSandbox(f"these programs are not installed here: {missing}")
    filtered = make_filter(platform.machine())
    nested = os.geteuid() == 0
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as given:
        try:
            pipes = [_pipe(reads=ours, writes=given) for _ in range(2 if nested else 1)]
            held = _pipe(reads=given, writes=ours)[0] if box.door else None
            files = [_file(text, given) for text in texts_of(box, filtered)]
            loop = asyncio.get_running_loop()
            transport, protocol = await loop.subprocess_exec(
                lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=STREAM_BYTES, loop=loop),
                *words_of(
                    box, files, [writing for _, writing in pipes], filtered=filtered is not None, held=held
                ),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
                pass_fds=[*files, *(writing for _, writing in pipes), *(() if held is None else (held,))],
            )
        except (OSError, ValueError) as fault:
            raise NoSandbox(f"it could not be started ({type(fault).__name__})") from None
        given.close()
        process = asyncio.subprocess.Process(transport, protocol, loop)
        try:
            told = [await _told(process, end) for end, _ in pipes]
            # The program is held until this is there: it may want it at once.
            door = await _door(process, told[0], nested=nested) if box.door else None
        except BaseException:
            transport.close()
            raise
        return Sandboxed(process, transport, told[0], nested=nested, door=door)


async def _told(process: asyncio.subprocess.Process, reading: int) -> int:
    """Which process bubblewrap says that it made. Raises ``NoSandbox`` where it made none."""
    try:
        async with asyncio.timeout(START_SECONDS):
            said = await _read_all(reading)
        return int(json.loads(said)["child-pid"])
    except (TimeoutError, json.JSONDecodeError, KeyError, TypeError):
        raise NoSandbox(await _end_unmade(process) or "bubblewrap made none") from None
    except BaseException:
        _kill_with_all(process.pid)
        raise


async def _door(process: asyncio.subprocess.Process, first: int, *, nested: bool) -> socket.socket:
    """What listens on the loopback of what is being made. Raises ``NoSandbox``, and ends that, where nothing can."""
    try:
        return await _open(process.pid, _innermost(first, nested=nested))
    except NoDoor as fault:
        if why := await _end_unmade(process):
            # It ended before the program began, and that was all that was wrong.
            raise NoSandbox(why) from None
        # What containers forbid unless they are told.
        hint = "; in a container, its seccomp profile has to allow setns" if _FORBIDDEN in str(fault) else ""
        raise NoSandbox(
            f"the network of a sandbox cannot be entered, so no hosts can be allowed: {fault}{hint}"
        ) from None
    except BaseException:
        _kill_with_all(process.pid)
        raise


async def _end_unmade(process: asyncio.subprocess.Process) -> str:
    """Why bubblewrap says that it can make no sandbox, once it has ended; empty where it does not say."""
    _kill_with_all(process.pid)
    words = (await _there(process.stderr).read(2_000)).decode(errors="replace")
    await process.wait()
    why = next((line for line in words.splitlines() if line.startswith("bwrap: ")), "")
    return why.removeprefix("bwrap: ")[:300]


async def _open(pid: int, inner: int) -> socket.socket:
    door = await open_door(inner, DOOR_PORT)
    if inner in _below(pid) and not _is_over(inner):
        return door
    # Its number may have been another's when the door was made.
    door.close()
    raise NoDoor("what was begun has ended")


def _kill_with_all(pid: int) -> None:
    """Kill bubblewrap before it has said what it made: what it began does not die with it yet."""
    # Stopped, it begins nothing more while what it began is looked up.
    _signal(pid, signal.SIGSTOP)
    for _ in range(1_000):
        begun = [each for each in _below(pid) if not _is_over(each)]
        if not begun:
            break
        for each in begun:
            _signal(each, signal.SIGKILL)
    _signal(pid, signal.SIGKILL)


def _is_over(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    return words[0] in "ZX"


async def _read_all(file: int) -> bytes:
    os.set_blocking(file, False)
    said = b""
    while True:
        try:
            piece = os.read(file, 4_096)
        except BlockingIOError:
            await readable(file)
            continue
        said += piece
        if not piece or said.rstrip().endswith(b"}"):
            return said


async def try_sandbox(*, door: bool = False) -> str:
    """Make a sandbox and end it: why none can be made here, empty where one can. ``door``: one that has a door."""
    try:
        made = await start(Box(["/bin/true"], door=door))
    except NoSandbox as fault:
        return str(fault)
    with contextlib.suppress(TimeoutError):
        # A busy machine may stand still for longer than a program that is to end is given.
        async with asyncio.timeout(TRY_SECONDS):
            await made.wait()
    await made.end()
    return "" if made.status == 0 else f"a program in it ended with status {made.status}"


def _pipe(*, reads: contextlib.ExitStack, writes: contextlib.ExitStack) -> tuple[int, int]:
    """Its two ends, each to be closed by whoever has it."""
    ends = os.pipe()
    reads.callback(os.close, ends[0])
    writes.callback(os.close, ends[1])
    return ends


def _file(text: bytes, given: contextlib.ExitStack) -> int:
    file = os.memfd_create("given", os.MFD_CLOEXEC)
    given.callback(os.close, file)
    os.write(file, text)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _innermost(first: int, *, nested: bool) -> int:
    """The first process of the sandbox itself, where it may be within another; 0 where there is none."""
    for _ in range(2 if nested else 0):
        first = next(iter(_children(first)), 0)
    return first


def _below(first: int) -> Iterator[int]:
    """The processes that a process began, and those that these began."""
    waiting = [first]
    for _ in range(10_000):
        if not waiting:
            return
        children = list(_children(waiting.pop()))
        yield from children
        waiting.extend(children)


def _children(pid: int) -> Sequence[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _computed(pid: int) -> float:
    """With what those used that it began and that are over."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, words[11:15])) / _TICKS


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _there(stream: Stream | None) -> Stream:
    if stream is None:
        raise AssertionError("its streams are piped")
    return stream
