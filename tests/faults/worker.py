"""Celery's processes, as the fault tests kill them and start them again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.local.process import kill_group, start_process, stop_processes
from tests.plugins.live_marina import ROOT

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


class CeleryProcess:
    """One process of Celery's, started as often as it is asked to. ``arguments`` come after the application's name."""

    def __init__(
        self, log: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._command = [sys.executable, "-m", "celery", "-A", "config.celery", "--quiet", *arguments]
        self._variables = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
            "CELERY_SKIP_CHECKS": "1",
            **(environment or {}),
        }

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self.process is not None
        return self.process.pid

    def spawn(self) -> None:
        """Start it and return at once."""
        with self.log.open("ab") as output:
            self.process = start_process(self._command, env=self._variables, cwd=ROOT, output=output)

    def kill(self) -> None:
        """``kill -9``, of what it has started, too: it can do nothing any more, whatever it was at."""
        assert self.process is not None
        kill_group(self.process.pid)
        self.process.wait()

    def close(self) -> None:
        """End it in order. Safe to call again."""
        if self.process is not None and self.process.poll() is None:
            stop_processes([(self.process, signal.SIGTERM)], seconds=_STOP_SECONDS)


class KillableWorker(CeleryProcess):
    """A worker for tasks."""

    def __init__(self, log: Path, environment: Mapping[str, str] | None = None, *, slots: int = 8) -> None:
        self.name = f"tasks-{os.getpid()}-{id(self)}@{socket.gethostname()}"
        """Where Celery's own messages reach it."""
        arguments = [
            *("worker", "--queues", "tasks", "--pool", "threads", "--concurrency", str(slots)),
            *("--loglevel", "INFO", "--hostname", self.name),
            *("--without-gossip", "--without-mingle"),
        ]
        super().__init__(log, arguments, environment)

    def start(self) -> None:
        """Start a worker and wait until it takes work."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        self.spawn()
        assert self.process is not None
        deadline = time.monotonic() + _START_SECONDS
        while " ready." not in self.log.read_text(errors="replace")[begin:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                lines = self.log.read_text(errors="replace").splitlines()[-40:]
                pytest.fail("\n".join(["The worker did not start:", *lines]), pytrace=False)
            time.sleep(0.02)


@contextmanager
def running_worker(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[KillableWorker]:
    """A worker that runs until the block ends."""
    worker = KillableWorker(folder / "tasks.log", environment)
    try:
        worker.start()
        yield worker
    finally:
        worker.close()
