"""The worker that runs tasks, as the fault tests kill it and start it again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.local.process import kill_group, start_process, stop_processes
from tests.plugins.live_marina import ROOT

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


class KillableWorker:
    """Starts a worker for tasks as often as it is asked to. ``close`` ends it in order."""

    def __init__(self, log: Path, environment: Mapping[str, str] | None = None, *, slots: int = 8) -> None:
        self.log = log
        self._slots = slots
        self._variables = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
            "CELERY_SKIP_CHECKS": "1",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the worker that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start a worker and wait until it takes work."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        arguments = [
            *(sys.executable, "-m", "celery", "-A", "config.celery", "--quiet", "worker"),
            *("--queues", "tasks", "--pool", "threads", "--concurrency", str(self._slots)),
            *("--loglevel", "INFO", "--hostname", f"tasks-{os.getpid()}-{id(self)}@%h"),
            *("--without-gossip", "--without-mingle"),
        ]
        with self.log.open("ab") as output:
            self._process = start_process(arguments, env=self._variables, cwd=ROOT, output=output)
        deadline = time.monotonic() + _START_SECONDS
        while " ready." not in self.log.read_text(errors="replace")[begin:]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                lines = self.log.read_text(errors="replace").splitlines()[-40:]
                pytest.fail("\n".join(["The worker did not start:", *lines]), pytrace=False)
            time.sleep(0.02)

    def kill(self) -> None:
        """``kill -9``: it can do nothing any more, whatever it was at."""
        kill_group(self.pid)
        assert self._process is not None
        self._process.wait()

    def close(self) -> None:
        """End it in order. Safe to call again."""
        if self._process is not None and self._process.poll() is None:
            stop_processes([(self._process, signal.SIGTERM)], seconds=_STOP_SECONDS)


@contextmanager
def running_worker(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[KillableWorker]:
    """A worker that runs until the block ends."""
    worker = KillableWorker(folder / "tasks.log", environment)
    try:
        worker.start()
        yield worker
    finally:
        worker.close()
