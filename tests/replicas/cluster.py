"""Three real web processes over one PostgreSQL and one Redis, behind a proxy that keeps to no replica.

What a test makes through the services is served at once, as with ``live_marina``.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from config.local.ports import LOOPBACK, find_free_port
from config.local.process import start_process, stop_processes
from tests.factories import Team
from tests.faults.web import KillableWeb
from tests.plugins.live_marina import ROOT
from tests.replicas.proxy import Ending

COUNT = 3
PYTHONPATH = f"{ROOT}{os.pathsep}{ROOT / 'platform'}"
_START_SECONDS = 30.0
_UP_SECONDS = (0.6, 0.2, 1.0, 0.4)
"""How long a replica lives between two kills: other moments each time."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What the proxy wrote of one request. Times are seconds since the epoch."""

    method: str
    path: str
    began: float
    ended: float
    replica: int | None
    status: int | None
    ending: Ending

    @property
    def is_lost(self) -> bool:
        """Whether its replica broke off with this request in flight."""
        return self.ending is Ending.LOST


@dataclass(slots=True)
class Kills:
    """How often a replica was killed so far."""

    count: int = 0


class Replicas:
    """The web processes and the proxy; ``base_url`` is the proxy's, and what clients know."""

    def __init__(
        self,
        folder: Path,
        *,
        count: int = COUNT,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._port = find_free_port()
        self._proxy: subprocess.Popen[bytes] | None = None
        self.base_url = f"http://{LOOPBACK}:{self._port}"
        given = {"MARINA_BASE_URL": self.base_url, **(environment or {})}
        self.webs = [KillableWeb(folder / f"web-{number}.log", given) for number in range(count)]

    def mcp_url(self, tenant: str, server: str | None = None) -> str:
        """Where an MCP client connects, through the proxy."""
        return f"{self.base_url}/mcp/{tenant}" + (f"/{server}" if server else "")

    def post(self, team: Team, path: str, body: Mapping[str, Any]) -> Any:
        """Make something of the team's as an admin does: by REST, through the proxy."""
        answer = httpx2.post(
            f"{self.base_url}/api/v1/tenants/{team.slug}/{path}",
            headers={"Authorization": f"Bearer {team.key('admin')}"},
            json=body,
            timeout=30,
            trust_env=False,
        )
        assert answer.status_code == 201, answer.text
        return answer.json()

    def start(self) -> None:
        """Start all of them and wait until they serve."""
        with ThreadPoolExecutor(len(self.webs)) as together:
            list(together.map(KillableWeb.start, self.webs))
        ports = [str(web.port) for web in self.webs]
        with (self._folder / "proxy.log").open("wb") as output:
            self._proxy = start_process(
                [sys.executable, "-m", "tests.replicas.proxy", str(self._port), *ports],
                env={**os.environ, "PYTHONPATH": PYTHONPATH},
                cwd=ROOT,
                output=output,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not _takes_connections(self._port):
            if self._proxy.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"The proxy did not start:\n{self.last_lines()}", pytrace=False)
            time.sleep(0.02)

    def close(self) -> None:
        """End all of them in order."""
        if self._proxy is not None:
            stop_processes([(self._proxy, signal.SIGTERM)], seconds=5)
        with ThreadPoolExecutor(len(self.webs)) as together:
            list(together.map(KillableWeb.close, self.webs))

    def passed(self, since: float = 0.0) -> list[Passed]:
        """The requests that ended, of those that had not when ``since`` (seconds since the epoch) came."""
        whole = (self._folder / "proxy.log").read_text().rpartition("\n")[0]
        rows = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        passed = [Passed(**{**row, "ending": Ending(row["ending"])}) for row in rows]
        return [request for request in passed if request.ended >= since]

    def last_lines(self, count: int = 25) -> str:
        """The end of what each process wrote, but for the proxy's lines on requests."""
        texts = []
        for log in sorted(self._folder.glob("*.log")):
            lines = [line for line in log.read_text(errors="replace").splitlines() if line[:1] != "{"]
            texts.append("\n".join((f"--- {log.name}", *lines[-count:])))
        return "\n".join(texts)

    @contextmanager
    def killing(self, number: int = 0) -> Iterator[Kills]:
        """While the block runs, ``kill -9`` one replica and start it again, without end. It runs afterwards."""
        enough, kills, faults = threading.Event(), Kills(), list[BaseException]()
        web = self.webs[number]

        def kill_for_ever() -> None:
            try:
                for seconds in itertools.cycle(_UP_SECONDS):
                    if enough.wait(seconds):
                        return
                    web.kill()
                    kills.count += 1
                    web.start()
            except BaseException as fault:  # noqa: BLE001 - raised again in the test's own thread
                faults.append(fault)

        thread = threading.Thread(target=kill_for_ever, name="killing")
        thread.start()
        try:
            yield kills
        finally:
            enough.set()
            thread.join()
        if faults:
            raise faults[0]


@contextmanager
def running_replicas(
    folder: Path, *, count: int = COUNT, environment: Mapping[str, str] | None = None
) -> Iterator[Replicas]:
    """Replicas that run until the block ends."""
    with ExitStack() as ending:
        made = Replicas(folder, count=count, environment=environment)
        ending.callback(made.close)
        made.start()
        yield made


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
