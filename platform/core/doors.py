"""Listens on the loopback of a sandbox, from outside: what is made there by a short-lived process is ours from then on.

A socket is of the network in which it was made, whoever has it. So the only one whom a sandbox meets on its own network
can be this process, and no program of ours has to run in there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Final

OPEN_SECONDS: Final = 10.0
_JOINING: Final = Path(__file__).with_name("joining.py")
ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
"""Of programs that make sandboxes: nothing of ours."""


class NoDoor(Exception):
    """Nobody can listen there. The message says why."""


async def open_door(process: int, port: int) -> socket.socket:
    """A listener at a port of the loopback of the process's network. Raises ``NoDoor``."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            words = [sys.executable, "-I", "-S", str(_JOINING), str(process), str(port)]
            try:
                joiner = await asyncio.create_subprocess_exec(
                    *words,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    env=ENVIRONMENT,
                    cwd="/",
                    pass_fds=[theirs.fileno()],
                )
            except (OSError, ValueError) as fault:
                raise NoDoor(f"it could not be started ({type(fault).__name__})") from None
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                ours.setblocking(False)
                await readable(ours)
                return _received(ours)
        except TimeoutError:
            raise NoDoor("it took too long") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                joiner.kill()
            await joiner.wait()


def _received(way: socket.socket) -> socket.socket:
    said, files, _, _ = socket.recv_fds(way, 200, 1)
    if not files:
        raise NoDoor(said.decode(errors="replace") or "it ended")
    for file in files:
        os.set_inheritable(file, False)
    listener = socket.socket(fileno=files[0])
    listener.setblocking(False)
    return listener


async def readable(file: int | socket.socket) -> None:
    """Wait until something can be read."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(file, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(file)
