"""Sandboxes with a door, for real: what is made in there from outside, when, and what is left of it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from pathlib import Path

import pytest

from core import doors, sandboxed
from core.doors import NoDoor, open_door
from core.sandbox import DOOR_PORT, Box
from core.sandboxed import NoSandbox, Sandboxed, start, try_sandbox
from tests.core.test_sandbox import PYTHON, all_processes, command_of
from tests.leftovers import Leftovers

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to wait for a processor is neither stuck nor deaf."""
    monkeypatch.setattr(sandboxed, "START_SECONDS", 60.0)
    monkeypatch.setattr(sandboxed, "CLOSE_SECONDS", 60.0)
    monkeypatch.setattr(doors, "OPEN_SECONDS", 60.0)


CALLER = (
    "import socket, sys\n"
    f"with socket.create_connection(('127.0.0.1', {DOOR_PORT}), 20) as door:\n"
    "    door.sendall(b'hello')\n"
    "    print(door.recv(100).decode())\n"
    "for address in [('127.0.0.1', int(sys.argv[1])), ('169.254.169.254', 80)]:\n"
    "    try:\n"
    "        socket.create_connection(address, 20)\n"
    "    except OSError as fault:\n"
    "        print(type(fault).__name__, fault.errno)\n"
)


def box(*words: str, door: bool = True) -> Box:
    return Box([PYTHON, "-c", *words], folders=[sys.base_prefix], door=door)


async def caller_meets_us(listens: int) -> str:
    sandboxed = await start(box(CALLER, str(listens)))
    loop = asyncio.get_running_loop()
    door = sandboxed.take_door()
    try:
        assert door is not None
        async with asyncio.timeout(30):
            met, _ = await loop.sock_accept(door)
            with met:
                assert await loop.sock_recv(met, 100) == b"hello"
                await loop.sock_sendall(met, b"to you")
            return (await sandboxed.stdout.read()).decode()
    finally:
        await sandboxed.end(at_once=True)
        if door is not None:
            door.close()


async def test_a_program_meets_us_on_its_loopback_and_nobody_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        said = await caller_meets_us(ours.getsockname()[1])
    # ECONNREFUSED: its loopback is its own. ENETUNREACH: there is nothing beyond.
    assert said.splitlines() == [
        "to you",
        "ConnectionRefusedError 111",
        "OSError 101",
    ]


async def test_the_program_is_not_begun_before_the_door_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    async def slow(process: int, port: int) -> socket.socket:
        made = await open_door(process, port)
        await asyncio.sleep(0.5)
        seen.extend(
            pid for pid in all_processes() if mark in command_of(pid) and "bwrap" not in command_of(pid)
        )
        return made

    monkeypatch.setattr(sandboxed, "open_door", slow)
    mark = f"1000.{secrets.randbelow(10**9)}"
    made = await start(Box(["/bin/sleep", mark], door=True))
    assert seen == []
    async with asyncio.timeout(30):
        while not any(command_of(pid).startswith("/bin/sleep\0" + mark) for pid in all_processes()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await made.end(at_once=True)


async def test_where_none_can_be_made_nothing_is_begun_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await try_sandbox(door=True) == ""
    left = Leftovers()
    # There is no such process.
    with pytest.raises(NoDoor):
        await open_door(2**30, DOOR_PORT)

    async def fail(process: int, port: int) -> socket.socket:
        raise NoDoor("Operation not permitted")

    monkeypatch.setattr(sandboxed, "open_door", fail)
    mark = f"1000.{secrets.randbelow(10**9)}"
    with pytest.raises(NoSandbox) as fault:
        await start(Box(["/bin/sleep", mark], door=True))
    said = str(fault.value)
    assert "no hosts can be allowed: Operation not permitted; in a container, its seccomp profile" in said
    assert "no hosts can be allowed" in await try_sandbox(door=True)
    assert await try_sandbox() == ""
    assert not [pid for pid in all_processes() if mark in command_of(pid)]
    await left.none()


async def test_what_ends_before_its_door_is_there_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await try_sandbox(door=True) == ""
    left = Leftovers()

    async def end(process: int, port: int) -> socket.socket:
        made = await open_door(process, port)
        os.kill(process, signal.SIGKILL)
        async with asyncio.timeout(30):
            while not sandboxed._is_over(process):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return made

    monkeypatch.setattr(sandboxed, "open_door", end)
    assert "what was begun has ended" in await try_sandbox(door=True)
    await left.none()


async def test_nothing_is_left_of_it() -> None:
    assert await try_sandbox(door=True) == ""
    left = Leftovers()
    for _ in range(20):
        # Nobody takes the door of these.
        made = await start(Box(["/bin/true"], door=True))
        await made.end()
        assert made.status == 0
    await left.none()


async def test_who_gives_up_while_it_begins_leaves_nothing() -> None:
    assert await try_sandbox(door=True) == ""
    left = Leftovers()
    mark = f"1000.{secrets.randbelow(10**9)}"
    for milliseconds in range(0, 150, 10):
        beginning = asyncio.create_task(start(Box(["/bin/sleep", mark], door=True)))
        await asyncio.sleep(milliseconds / 1_000)
        beginning.cancel()
        (begun,) = await asyncio.gather(beginning, return_exceptions=True)
        if isinstance(begun, Sandboxed):
            await begun.end(at_once=True)
    async with asyncio.timeout(30):
        while any(mark in command_of(pid) for pid in all_processes()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await left.none()


async def test_a_process_that_takes_too_long_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "joining.py"
    program.write_text("import time; time.sleep(1000)")
    monkeypatch.setattr(doors, "_JOINING", program)
    monkeypatch.setattr(doors, "OPEN_SECONDS", 0.5)
    assert "it took too long" in await try_sandbox(door=True)
    assert not [pid for pid in all_processes() if str(program) in command_of(pid)]
