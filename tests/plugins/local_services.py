"""Real PostgreSQL and Redis for the tests. Makes no database, role or table: that is the suite's own job.

One PostgreSQL cluster a test run: the first process (pytest itself, or pytest-xdist's controller) starts it,
in memory where the machine has /dev/shm, and ends it; workers find it by ``TEST_DATABASE_URL``. Each process
that runs tests has a Redis of its own, so a test may flush it. ``TEST_DATABASE_URL`` (a role that may create
roles and databases) and ``TEST_REDIS_URL`` set by hand win over both; with several workers each then
takes its own Redis database by number.

``tests/conftest.py`` calls ``start_local_services`` before anything reads the settings; what it started ends with
the process.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM, Signals
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import pytest

from config.local.ports import find_free_port
from config.local.postgres import (
    POSTGRES_ENVIRONMENT,
    STOP_SIGNAL,
    find_postgres,
    prepare_cluster,
    reachable_install,
)
from config.local.process import find_unprivileged_identity, start_process, stop_processes
from config.local.redis import RedisServer, find_redis

DATABASE_VARIABLE = "TEST_DATABASE_URL"
REDIS_VARIABLE = "TEST_REDIS_URL"
_READY_SECONDS = 90.0
_PREFIX = "marina-test-"


@dataclass(frozen=True, slots=True)
class LocalServices:
    """Where the servers of this test process are."""

    postgres_url: str
    redis_url: str


_services: LocalServices | None = None
_scratch: Path | None = None
_lock: IO[str] | None = None
_running: list[tuple[subprocess.Popen[bytes], Signals]] = []


def start_local_services() -> LocalServices:
    """Start what does not run yet; safe to call again. Sets both variables, for workers too."""
    global _services
    if _services is None:
        atexit.register(stop_local_services)
        worker = os.environ.get("PYTEST_XDIST_WORKER")
        postgres_url = os.environ.get(DATABASE_VARIABLE) or _start_postgres()
        os.environ[DATABASE_VARIABLE] = postgres_url
        # The controller of pytest-xdist has a Redis too (settings name one); workers must not share it.
        given = os.environ.get(REDIS_VARIABLE)
        ours = os.environ.get("_TEST_REDIS_IS_OURS")
        if given and not ours:
            redis_url = _own_redis_database(given, worker)
        else:
            os.environ["_TEST_REDIS_IS_OURS"] = "1"
            redis_url = _start_redis()
            os.environ[REDIS_VARIABLE] = redis_url
        _services = LocalServices(postgres_url, redis_url)
    return _services


def stop_local_services() -> None:
    """End what this process started, and drop its files. Safe to call again."""
    global _services, _scratch, _lock
    processes = list(_running)
    _running.clear()
    stop_processes(processes, seconds=30)
    if _scratch is not None:
        shutil.rmtree(_scratch, ignore_errors=True)
    _scratch = None
    if _lock is not None:
        _lock.close()
    _lock = None
    _services = None


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The bootstrap superuser's URL of the run's PostgreSQL (database ``postgres``), one for all workers."""
    return start_local_services().postgres_url


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The URL of a Redis that only this process uses."""
    return start_local_services().redis_url


def _start_postgres() -> str:
    identity = find_unprivileged_identity()
    scratch = _scratch_folder()
    install = reachable_install(find_postgres(), identity, copies=scratch)
    home = scratch / "postgres"
    home.mkdir()
    if identity is not None:
        os.chown(home, identity.uid, identity.gid)
    port = find_free_port()
    cluster = prepare_cluster(
        install=install,
        data=home / "data",
        port=port,
        password=secrets.token_urlsafe(16),
        identity=identity,
        durable=False,
    )
    log = scratch / "postgres.log"
    with log.open("wb") as output:
        process = start_process(
            cluster.command,
            env=POSTGRES_ENVIRONMENT,
            cwd=home,
            stop_signal=STOP_SIGNAL,
            identity=identity,
            output=output,
        )
    _running.append((process, STOP_SIGNAL))
    _wait_until(cluster.is_ready, process, log)
    return cluster.url("postgres")


def _start_redis() -> str:
    directory = _scratch_folder()
    server = RedisServer(find_redis(), directory, find_free_port())
    log = directory / "redis.log"
    with log.open("wb") as output:
        process = start_process(server.command, env=POSTGRES_ENVIRONMENT, cwd=directory, output=output)
    _running.append((process, SIGTERM))
    _wait_until(server.is_ready, process, log)
    return server.url


def _wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.exit(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}", returncode=3)
        time.sleep(0.01)


def fast_place() -> Path:
    """Where scratch folders go: in memory where the machine has such a place, so that no commit waits."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30:
        return memory
    return Path(tempfile.gettempdir())


def _scratch_folder() -> Path:
    """This process's own folder."""
    global _scratch, _lock
    if _scratch is None:
        place = fast_place()
        _drop_abandoned_scratch(place)
        _scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        _lock = (_scratch / "lock").open("w")
        fcntl.flock(_lock, fcntl.LOCK_EX)
        # PostgreSQL may run as another user, who passes through here; what lies inside guards itself.
        _scratch.chmod(0o711)
    return _scratch


def _drop_abandoned_scratch(place: Path) -> None:
    """Remove what killed test runs left in memory: folders whose lock nobody holds."""
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            with (folder / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # In use, another user's, or so new that its lock is not there yet.
            continue
        shutil.rmtree(folder, ignore_errors=True)


def _own_redis_database(url: str, worker: str | None) -> str:
    if worker is None:
        return url
    return urlunsplit(urlsplit(url)._replace(path=f"/{int(worker.removeprefix('gw')) + 1}"))
