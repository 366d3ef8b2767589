"""The supervisor behind ``make run``, with real processes: what it prints, how it ends, what it leaves."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import psycopg
import pytest

from config.local import supervisor
from config.local.ports import find_free_port
from tests.config.stand_ins import ROLES
from tests.plugins.local_services import fast_place

STAND_INS = Path(__file__).with_name("stand_ins.py")
LONGEST_START = 60.0
PROMISED_STOP = 10.0
LATEST_STOP = 45.0
"""Where the supervisor itself has to wait for a processor. What it does not end would be there for ever."""


class LocalRun:
    """A supervisor under test, its output, and every process it ever had."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.home = Path(environ["MARINA_HOME"])
        self.process = subprocess.Popen(
            [sys.executable, str(STAND_INS), "run"],
            env=dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._seen: set[psutil.Process] = set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    @property
    def output(self) -> str:
        """All that was printed so far."""
        return "".join(self.lines)

    def wait_for(self, text: str) -> None:
        """Until ``text`` has been printed."""
        while text not in self.output:
            line = self._queue.get(timeout=LONGEST_START)
            assert line is not None, f"ended without {text!r}:\n{self.output}"
            self.lines.append(line)

    def wait_until_ready(self) -> LocalRun:
        """Until the block for people has been printed."""
        self.wait_for("All of it")
        self.descendants()
        return self

    def end(self, seconds: float = LONGEST_START) -> int:
        """Until it has ended by itself; its exit code."""
        code = self.process.wait(timeout=seconds)
        while (line := self._queue.get(timeout=LONGEST_START)) is not None:
            self.lines.append(line)
        self._close()
        return code

    def descendants(self) -> list[psutil.Process]:
        """What it runs now, remembered for ``survivors``."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        self._seen.update(found)
        return found

    def child(self, word: str) -> psutil.Process:
        """Its direct child with ``word`` in the command line."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if any(word in part for part in child.cmdline()))

    def survivors(self, seconds: float) -> list[psutil.Process]:
        """Processes it had that still run after at most so many seconds."""
        deadline = time.monotonic() + seconds
        while (alive := [process for process in self._seen if _runs(process)]) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.05)
        return alive

    def kill(self) -> None:
        """Whatever a test left."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=LONGEST_START)
        self._close()

    def _close(self) -> None:
        self._reader.join(timeout=LONGEST_START)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


Start = Callable[..., LocalRun]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach even where we are root; pytest's own is private."""
    path = Path(tempfile.mkdtemp(prefix="marina-run-", dir=fast_place()))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start(folder: Path, postgres_url: str, redis_url: str) -> Iterator[Start]:
    """Starts runs on one state; with ``embedded=True`` they have servers of their own."""
    runs: list[LocalRun] = []
    port = find_free_port()
    # The tests' own PostgreSQL, but a database that nobody else has.
    name = f"run_{port}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}"')
        connection.execute(f'create database "{name}"')

    def start_run(*, embedded: bool = False, **variables: str) -> LocalRun:
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MARINA_", "TEST_")) and key not in {"DATABASE_URL", "REDIS_URL", "HOST"}
        }
        servers = {"DATABASE_URL": postgres_url.rpartition("/")[0] + f"/{name}", "REDIS_URL": redis_url}
        environ = {
            **inherited,
            **({} if embedded else servers),
            "MARINA_HOME": str(folder / "home"),
            "PORT": str(port),
            **variables,
        }
        runs.append(LocalRun(environ))
        return runs[-1]

    yield start_run
    for run in runs:
        run.kill()


def test_a_run_calls_itself_once_and_leaves_a_private_demo_file(start: Start) -> None:
    run = start(embedded=True).wait_until_ready()
    assert 'call     | {"called": "tools/call list_tables"}' in run.output
    path = run.home / "demo.json"
    demo = json.loads(path.read_text())
    assert set(demo) == {
        *("base_url", "tenant", "mcp_url", "api_key", "admin_key", "users"),
        *("second", "database_url", "redis_url", "pids"),
    }
    assert demo["mcp_url"] == f"{demo['base_url']}/mcp/demo"
    assert {role: set(user) for role, user in demo["users"].items()} == {
        role: {"email", "password"} for role in ROLES
    }
    assert {name: psutil.pid_exists(pid) for name, pid in demo["pids"].items()} == {
        "web": True,
        "worker": True,
        "exporter": True,
        "runner": True,
        "beat": True,
    }
    with psycopg.connect(demo["database_url"]) as connection:
        settings = connection.execute("select current_setting('fsync'), current_setting('listen_addresses')")
        assert settings.fetchone() == ("on", "127.0.0.1")
    for name in ("demo.json", "master.key", "services.json", "run.lock"):
        assert stat.S_IMODE((run.home / name).stat().st_mode) == 0o600, name


def test_no_secret_is_in_a_process_argument(start: Start) -> None:
    run = start(embedded=True).wait_until_ready()
    password = json.loads((run.home / "services.json").read_text())["postgres_password"]
    secrets = {password, (run.home / "master.key").read_text().strip(), "mcp_live_a_b"}
    arguments = "\n".join(part for child in run.descendants() for part in child.cmdline())
    assert arguments
    assert not [secret for secret in secrets if secret in arguments]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_process_in_time(start: Start, number: signal.Signals) -> None:
    run = start(embedded=True).wait_until_ready()
    run.process.send_signal(number)
    assert run.end(LATEST_STOP) == 0
    assert "marina   | Stopped" in run.output
    assert run.survivors(LATEST_STOP) == []


def test_a_child_that_ignores_signals_is_ended_in_time_with_its_own_child(start: Start) -> None:
    assert supervisor._STOP_SECONDS < PROMISED_STOP
    run = start(STAND_IN_WORKER="stubborn")
    run.wait_for("worker-child waits")
    run.wait_until_ready()
    assert len(run.descendants()) == 6
    run.process.send_signal(signal.SIGTERM)
    assert run.end(LATEST_STOP) == 0
    assert run.survivors(LATEST_STOP) == []


def test_a_child_that_dies_ends_the_rest_and_is_named_with_its_last_words(start: Start) -> None:
    run = start(STAND_IN_BEAT="die")
    assert run.end() == 1
    assert "died: exit code 7." in run.output
    assert "marina   |     beat: the disk is on fire" in run.output
    assert run.survivors(LATEST_STOP) == []


def test_a_child_that_is_killed_ends_the_rest_and_is_named_with_the_signal(start: Start) -> None:
    run = start().wait_until_ready()
    web = json.loads((run.home / "demo.json").read_text())["pids"]["web"]
    os.kill(web, signal.SIGKILL)
    assert run.end(LATEST_STOP) == 1
    assert f"web (process {web}) died: SIGKILL." in run.output
    assert run.survivors(LATEST_STOP) == []


def test_a_failed_step_ends_the_run_before_any_service(start: Start) -> None:
    run = start(STAND_IN_SETUP="die")
    assert run.end() == 1
    assert "setup    | setup: the disk is on fire" in run.output
    assert "The step 'setup' ended with exit code 7" in run.output
    assert "worker   |" not in run.output


def test_a_second_run_on_the_same_state_names_the_first(start: Start) -> None:
    first = start().wait_until_ready()
    second = start()
    assert second.end() == 1
    assert f"process {first.process.pid}, http://127.0.0.1:" in second.output
    assert first.process.poll() is None
    assert (first.home / "demo.json").exists()


def test_a_taken_port_names_the_port_and_the_variable(start: Start) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = start(PORT=str(port))
        assert run.end() == 1
    assert f"Port {port} on 127.0.0.1 is taken" in run.output
    assert "Set PORT to another one" in run.output


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("WEB_CONCURRENCY", "0"),
        ("MARINA_BASE_URL", "ftp://x"),
        ("MARINA_MASTER_KEY", "short"),
        ("REDIS_URL", "http://x"),
    ],
)
def test_a_bad_variable_is_named_before_anything_starts(start: Start, name: str, value: str) -> None:
    run = start(**{name: value})
    assert run.end() == 1
    assert name in run.output
    assert "setup    |" not in run.output


def test_a_killed_supervisor_takes_its_children_along_and_the_next_run_has_the_data(start: Start) -> None:
    run = start(embedded=True).wait_until_ready()
    assert "runs so far: 1" in run.output
    run.process.kill()
    run.end()
    assert run.survivors(LATEST_STOP) == []
    again = start(embedded=True).wait_until_ready()
    assert "runs so far: 2" in again.output


def test_a_killed_postgres_ends_the_run_and_the_next_run_has_the_data(start: Start) -> None:
    run = start(embedded=True).wait_until_ready()
    run.child("bin/postgres").kill()
    assert run.end(LATEST_STOP) == 1
    assert "died: SIGKILL." in run.output
    again = start(embedded=True).wait_until_ready()
    assert "runs so far: 2" in again.output


def test_a_lost_master_key_is_not_replaced_where_there_are_data(start: Start) -> None:
    run = start(embedded=True).wait_until_ready()
    run.kill()
    key = run.home / "master.key"
    kept = key.read_text()
    key.unlink()
    again = start(embedded=True)
    assert again.end() == 1
    assert "Put the file back" in again.output
    assert not key.exists()
    key.write_text(kept)
    key.chmod(0o644)
    start(embedded=True).wait_until_ready()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_output_of_a_child_cannot_steer_the_terminal(start: Start) -> None:
    run = start()
    run.wait_for("beat waits")
    assert "\x1b" not in run.output
