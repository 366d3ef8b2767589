"""A PostgreSQL of one test's own, set up as Marina's, with fsync on: to be killed, or stopped as if it hung."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from config.local.ports import find_free_port
from config.local.postgres import (
    POSTGRES_ENVIRONMENT,
    STOP_SIGNAL,
    PostgresCluster,
    find_postgres,
    prepare_cluster,
    reachable_install,
)
from config.local.process import find_unprivileged_identity, kill_group, start_process

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for a cluster and what belongs to it."""
    with tempfile.TemporaryDirectory(prefix="marina-own-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL may run as another user, who passes through here.
        Path(folder).chmod(0o711)
        yield Path(folder)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster that runs and is set up. It ends with the block, in whatever state it is then."""
    with own_folder() as folder:
        cluster = Cluster(folder)
        cluster.start()
        try:
            cluster.set_up()
            yield cluster
        finally:
            cluster.resume()
            cluster.kill()


class Cluster:
    """One PostgreSQL. ``url`` is its superuser's, of the database that is set up.

    ``environment`` is what its processes have beside the usual.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        identity = find_unprivileged_identity()
        home = folder / "postgres"
        home.mkdir()
        if identity is not None:
            os.chown(home, identity.uid, identity.gid)
        self._home, self._identity = home, identity
        self._install = reachable_install(find_postgres(), identity, copies=folder)
        self._port = find_free_port()
        self._environment = {**POSTGRES_ENVIRONMENT, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._stopped: list[psutil.Process] = []
        self._cluster = self._prepare()
        self.url = self._cluster.url("marina")

    def _prepare(self) -> PostgresCluster:
        """Also ends whatever a killed postmaster left behind."""
        return prepare_cluster(
            install=self._install,
            data=self._home / "data",
            port=self._port,
            password="test",
            identity=self._identity,
            durable=False,  # of the making only: fsync stays on
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.spawn()
        deadline = time.monotonic() + 90
        while not self._cluster.is_ready():
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.01)

    def spawn(self) -> None:
        """Start it and return at once. What a killed one left behind is ended first."""
        self._prepare()
        with (self._home.parent / "log").open("ab") as log:
            self.process = start_process(
                self._cluster.command,
                env=self._environment,
                cwd=self._home,
                stop_signal=STOP_SIGNAL,
                identity=self._identity,
                output=log,
            )

    def kill(self) -> None:
        """``kill -9`` of the postmaster; its children end once they notice, and ``start`` ends those that do not."""
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait()

    def pause(self) -> None:
        """Stop it where it stands: connections stay open, and nothing answers."""
        assert self.process is not None, "PostgreSQL does not run"
        postmaster = psutil.Process(self.process.pid)
        # The postmaster first, so that it starts no other child meanwhile.
        postmaster.send_signal(signal.SIGSTOP)
        self._stopped = [postmaster]
        for child in postmaster.children(recursive=True):
            child.send_signal(signal.SIGSTOP)
            self._stopped.append(child)

    def resume(self) -> None:
        """Let it go on. Nothing where it was not paused."""
        stopped, self._stopped = self._stopped, []
        for process in stopped:
            # One that was ending when it was stopped is gone as soon as the postmaster, which is first, goes on.
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    def set_up(self) -> None:
        with psycopg.connect(self._cluster.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE marina")
        self.run_python(str(ROOT / "manage.py"), "setup_database", "-v", "0")

    def run_python(self, *arguments: str) -> str:
        """What a Python process prints that has this database for Marina's."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env={
                **os.environ,
                "DATABASE_URL": self.url,
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
            },
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout
