"""Runs Marina's processes together: all of them up, or none left. Knows no table and no protocol."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from config.local.failure import StartError, StopRequested
from config.local.output import Console, Stream
from config.local.plan import Command
from config.local.process import Identity, describe_exit, start_process, stop_processes

_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 9.0
"""From the wish to end to the last process: ten seconds are promised, and killing takes a moment too."""
_APPLICATION_STOP_SECONDS: Final = 6.0
_POLL_SECONDS: Final = 0.05


@dataclass(slots=True)
class Child:
    """A process that runs, and what it says."""

    name: str
    process: subprocess.Popen[bytes]
    output: Stream
    stop_signal: signal.Signals
    is_storage: bool


class Supervisor:
    """Starts children, forwards their output, and ends them all, storage last.

    Single-threaded, as its children ask the kernel to end with the thread that started them. Every method
    that waits raises ``StopRequested`` on a signal and ``StartError`` when a service has died.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._children: list[Child] = []
        self._wish: str | None = None

    def watch_signals(self) -> None:
        """Take SIGINT, SIGTERM and SIGHUP as the wish to end, and notice at once when a child ends."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._console.watch(reader)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note_wish)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _note_wish(self, number: int, _: FrameType | None) -> None:
        self._wish = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name

    def start(
        self,
        command: Command,
        *,
        env: Mapping[str, str],
        cwd: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        identity: Identity | None = None,
        is_storage: bool = False,
    ) -> Child:
        """Start a service: something that runs until we end it."""
        process = start_process(command.argv, env=env, cwd=cwd, stop_signal=stop_signal, identity=identity)
        if process.stdout is None:
            raise AssertionError("start_process gives a pipe")
        child = Child(
            command.name, process, self._console.attach(command.name, process.stdout), stop_signal, is_storage
        )
        self._children.append(child)
        return child

    def run_step(self, command: Command, *, env: Mapping[str, str], cwd: Path) -> None:
        """Run something that ends by itself, to its end. Raises ``StartError`` if it fails."""
        child = self.start(command, env=env, cwd=cwd)
        while child.process.poll() is None:
            self.pump(besides=child)
        self._children.remove(child)
        self._console.drain(child.output)
        if child.process.returncode != 0:
            raise StartError(
                f"The step {command.name!r} ended with {describe_exit(child.process.returncode)}; "
                "the lines above say why."
            )

    def wait_until(self, is_ready: Callable[[], bool], child: Child) -> None:
        """Wait for a service just started to answer. Raises ``StartError`` if it takes too long."""
        deadline = time.monotonic() + _READY_SECONDS
        while not is_ready():
            if time.monotonic() > deadline:
                raise StartError(f"{child.name} runs but did not answer within {_READY_SECONDS:.0f} s.")
            self.pump()

    def pump(self, seconds: float = _POLL_SECONDS, *, besides: Child | None = None) -> None:
        """Forward output for a moment; then see if we are to end, or a service (not ``besides``) died."""
        self._console.pump(seconds)
        if self._wish is not None:
            raise StopRequested(self._wish)
        dead = [
            child for child in self._children if child is not besides and child.process.poll() is not None
        ]
        if dead:
            raise StartError("\n".join(self._describe_death(child) for child in dead))

    def _describe_death(self, child: Child) -> str:
        self._console.drain(child.output)
        lines = [
            f"{child.name} (process {child.process.pid}) died: {describe_exit(child.process.returncode)}."
        ]
        if child.output.last_lines:
            lines += ["Its last lines:", *(f"    {line}" for line in child.output.last_lines)]
        else:
            lines.append("It said nothing.")
        return "\n".join(lines)

    def stop_all(self) -> None:
        """End every child within the promised time: the application first, then what it stores in."""
        deadline = time.monotonic() + _STOP_SECONDS
        self._stop(
            [child for child in self._children if not child.is_storage], seconds=_APPLICATION_STOP_SECONDS
        )
        self._stop(
            [child for child in self._children if child.is_storage], seconds=deadline - time.monotonic()
        )
        self._children.clear()

    def _stop(self, children: list[Child], *, seconds: float) -> None:
        pairs = [(child.process, child.stop_signal) for child in children]
        stop_processes(pairs, seconds=seconds, meanwhile=self._forward_quietly)
        for child in children:
            with suppress(StopRequested):
                self._console.drain(child.output)

    def _forward_quietly(self) -> None:
        with suppress(StopRequested):
            self._console.pump(_POLL_SECONDS)
