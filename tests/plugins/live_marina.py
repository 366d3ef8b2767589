"""A real Marina beside the tests: its web side in a process of its own, and a Celery worker where asked for.

It runs on the test process's database, Redis and master key, so what a test makes through the services is
served at once. ``tests/conftest.py`` imports the fixtures and the report hook from here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config.local.ports import LOOPBACK, find_free_port
from config.local.process import describe_exit, start_process, stop_processes

ROOT = Path(__file__).resolve().parents[2]
WEB_MODULE = "config.asgi:application"
NO_REDIS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
"""Settings of a Marina whose Redis is away: nothing listens there."""

_START_SECONDS = 100.0
_STOP_SECONDS = 8.0
_POLL_SECONDS = 0.02
_LAST_LINES = 60

# Straight to this machine: a proxy of the environment has no part in it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(slots=True)
class LiveMarina:
    """One web process at a port of its own. It can be killed and started again at the same address."""

    log: Path
    port: int = field(default_factory=find_free_port)
    module: str = WEB_MODULE
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    heavy: LiveHeavy | None = None
    """The heavy process beside it, once ``with_heavy`` began one."""

    @property
    def base_url(self) -> str:
        """Scheme and address, as in ``MARINA_BASE_URL``."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The running web process."""
        assert self.process is not None, "Marina does not run"
        return self.process.pid

    def mcp_url(self, tenant: str, server: str | None = None) -> str:
        """Where an MCP client connects: the tenant's ``default`` server, or the one named."""
        return f"{self.base_url}/mcp/{tenant}" + (f"/{server}" if server else "")

    def app_url(self, tenant: str, page: str = "") -> str:
        """A page of the tenant's dashboard."""
        return f"{self.base_url}/app/{tenant}/{page}"

    def start(self, *, wait_for: str = "/ready") -> None:
        """Start the web process and wait until it serves."""
        self.spawn()
        self.wait(wait_for)

    @contextmanager
    def running(self, *, wait_for: str = "/ready") -> Iterator[LiveMarina]:
        """It serves while the block runs, and is gone after it."""
        try:
            self.start(wait_for=wait_for)
            yield self
        finally:
            self.stop()

    @contextmanager
    def with_heavy(self) -> Iterator[LiveHeavy]:
        """A heavy process for the length of the block, for which this one is to be started in there."""
        # A path of a socket is short, and folders of tests are not.
        with tempfile.TemporaryDirectory(prefix="marina-heavy-") as folder:
            self.heavy = LiveHeavy(Path(folder) / "socket", self.log.with_name("heavy.log"))
            try:
                self.heavy.start(self)
                yield self.heavy
            finally:
                self.heavy.stop()
                self.heavy = None

    def spawn(self) -> None:
        """Start the web process and return at once."""
        command = [sys.executable, "-m", "config.web", self.module]
        self.process = _start(command, self.variables(), self.log)

    def variables(self) -> dict[str, str]:
        """The environment of its processes."""
        heavy = {} if self.heavy is None else {"MARINA_HEAVY_SOCKET": str(self.heavy.path)}
        return {
            **os.environ,
            **_python_environment(),
            "HOST": LOOPBACK,
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "1",
            "MARINA_BASE_URL": self.base_url,
            "MARINA_DRAIN_SECONDS": "4",
            **heavy,
            **self.environment,
        }

    def wait(self, path: str = "/ready") -> None:
        """Wait until ``path`` answers 200. Fails with its last lines if it ends or takes too long."""
        assert self.process is not None, "Marina was not started"
        last = wait_until(lambda: self._why_not(path), self.process)
        if last is not None:
            pytest.fail(f"Marina did not answer {path}: {last}\n{self.last_lines()}", pytrace=False)

    def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        assert self.process is not None, "Marina does not run"
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order, within seconds. Nothing where it does not run."""
        if self.process is not None:
            stop_processes([(self.process, signal.SIGTERM)], seconds=_STOP_SECONDS)
            self.process = None

    def last_lines(self) -> str:
        """The end of what the process wrote."""
        return _tail(self.log)

    def _why_not(self, path: str) -> str | None:
        try:
            with _opener.open(f"{self.base_url}{path}", timeout=5) as answer:
                return None if answer.status == 200 else f"HTTP {answer.status}"
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code}: {error.read()[:500].decode(errors='replace')}"
        except OSError as error:
            return str(error)


@dataclass(slots=True)
class LiveHeavy:
    """A heavy process, to which a web process hands connections over at ``path``."""

    path: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, marina: LiveMarina) -> None:
        """Begin, and wait until it takes some."""
        former = self._file()
        self.process = _start(
            [sys.executable, "-m", "config.heavy", marina.module], marina.variables(), self.log
        )
        last = wait_until(lambda: "no socket" if self._file() in (0, former) else None, self.process)
        if last is not None:
            pytest.fail(f"The heavy process takes nothing: {last}\n{_tail(self.log)}", pytrace=False)

    def _file(self) -> int:
        return self.path.stat().st_ino if self.path.exists() else 0

    def kill(self) -> None:
        """``kill -9``. What it left at its path stays there."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            stop_processes([(self.process, signal.SIGTERM)], seconds=_STOP_SECONDS)
            self.process = None


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A Celery worker on the same database and Redis."""

    process: subprocess.Popen[bytes]
    log: Path


def wait_until(why_not: Callable[[], str | None], process: subprocess.Popen[bytes]) -> str | None:
    """Ask again until ``why_not`` gives None. The last reason, where the process ends or time runs out."""
    deadline = time.monotonic() + _START_SECONDS
    while (reason := why_not()) is not None:
        if process.poll() is not None:
            return f"the process ended: {describe_exit(process.returncode)}"
        if time.monotonic() > deadline:
            return f"{reason} (after {_START_SECONDS:.0f} s)"
        time.sleep(_POLL_SECONDS)
    return None


@pytest.fixture(scope="session")
def live_marina(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    """A running Marina, one for all tests of this process."""
    with LiveMarina(tmp_path_factory.mktemp("live") / "web.log").running() as marina:
        yield marina


@pytest.fixture(scope="module")
def live_worker(live_marina: LiveMarina, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveWorker]:
    """A Celery worker beside ``live_marina``, for exports and what else is queued.

    It ends with the module that asked for it: other tests look at work that no worker has taken yet.
    """
    log = tmp_path_factory.mktemp("live") / "worker.log"
    command = [
        *(sys.executable, "-m", "celery", "-A", "config.celery", "--quiet", "worker", "--loglevel", "INFO"),
        *("--pool", "threads", "--concurrency", "2", "--without-gossip", "--without-mingle"),
    ]
    environment = {
        **os.environ,
        **_python_environment(),
        "PORT": str(live_marina.port),
        "MARINA_BASE_URL": live_marina.base_url,
    }
    process = _start(command, environment, log)
    try:
        last = wait_until(_why_no_worker, process)
        if last is not None:
            pytest.fail(f"The worker does not answer: {last}\n{_tail(log)}", pytrace=False)
        yield LiveWorker(process, log)
    finally:
        stop_processes([(process, signal.SIGTERM)], seconds=_STOP_SECONDS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what Marina's processes wrote last beside a failed test that uses them."""
    report = yield
    if report.failed:
        used: Mapping[str, object] = getattr(item, "funcargs", {})
        for live in used.values():
            if isinstance(live, LiveMarina | LiveWorker):
                report.sections.append((f"last lines of {live.log.name}", _tail(live.log)))
    return report


def _why_no_worker() -> str | None:
    from config.celery import app

    return None if app.control.ping(timeout=2, limit=1) else "no answer to a ping"


def _python_environment() -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
        "PYTHONUNBUFFERED": "1",
    }


def _start(command: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output, warnings.catch_warnings():
        # Python 3.12 and later warn of a fork beside threads; what runs before exec takes no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        return start_process(command, env=environment, cwd=ROOT, output=output)


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
