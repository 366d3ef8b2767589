"""The web process that the fault tests kill and start again, at one address."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from config.local.ports import LOOPBACK, find_free_port
from tests.plugins.live_marina import ROOT

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class KillableWeb:
    """Starts Marina's web process as often as it is asked to. ``close`` ends it in order."""

    def __init__(self, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self.port = find_free_port()
        self.base_url = f"http://{LOOPBACK}:{self.port}"
        self.pid = 0
        variables = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
            "PORT": str(self.port),
            "MARINA_BASE_URL": self.base_url,
            **(environment or {}),
        }
        with log.open("ab") as output:
            self._starter = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.preloaded", str(self.port)],
                cwd=ROOT,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )

    def start(self) -> None:
        """Start a web process and wait until it serves."""
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        self._starter.stdin.write("start\n")
        self._starter.stdin.flush()
        line = self._starter.stdout.readline()
        if not line:
            pytest.fail(f"Marina did not start:\n{self._last_lines()}", pytrace=False)
        self.pid = int(line)
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_serving():
            if time.monotonic() > deadline:
                pytest.fail(f"Marina does not answer:\n{self._last_lines()}", pytrace=False)
            time.sleep(0.01)

    def kill(self) -> None:
        """``kill -9``: it can do nothing any more, whatever it was at."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it in order: what is in flight is answered. Safe to call again."""
        if self._starter.stdin is not None and not self._starter.stdin.closed:
            self._starter.stdin.close()
        try:
            self._starter.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._starter.kill()
            self._starter.wait()
        if self._starter.stdout is not None:
            self._starter.stdout.close()

    def _is_serving(self) -> bool:
        try:
            with _opener.open(f"{self.base_url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
