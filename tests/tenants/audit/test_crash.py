"""After ``kill -9``, of the writing process and of PostgreSQL: what was answered is in the log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

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
from tenants.audit.chain import Broken, Link, verify
from tests.tenants.audit.places import make_place

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(__file__).with_name("writing_process.py")
WAITING = 64


def _start_writing(dsn: str, tenant_ids: list[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), dsn, str(WAITING), *map(str, tenant_ids)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "platform"))), "PATH": os.defpath},
    )


def _read_answers(process: subprocess.Popen[bytes], count: int) -> list[tuple[int, int, str]]:
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(count)]
    assert lines[-1], "the writing process ended by itself"
    return [_answer(line) for line in lines]


def _read_rest(process: subprocess.Popen[bytes]) -> list[tuple[int, int, str]]:
    assert process.stdout is not None
    with process.stdout:
        answers = [_answer(line) for line in process.stdout if line.endswith(b"\n")]
    process.wait()
    return answers


def _answer(line: bytes) -> tuple[int, int, str]:
    tenant_id, seq, request_id = line.decode().split()
    return int(tenant_id), int(seq), request_id


def _assert_all_there(url: str, tenant_ids: list[int], answered: list[tuple[int, int, str]]) -> None:
    with psycopg.connect(url) as connection:
        for tenant_id in tenant_ids:
            rows = connection.execute(
                "SELECT seq, (extract(epoch FROM at) * 1000000)::bigint, body, hash, request_id "
                "FROM tenants_auditrecord WHERE tenant_id = %s ORDER BY seq",
                [tenant_id],
            ).fetchall()
            head = connection.execute(
                "SELECT seq, hash FROM tenants_audithead WHERE tenant_id = %s", [tenant_id]
            ).fetchone()
            end = verify(tenant_id, (Link(*row[:4]) for row in rows))
            assert not isinstance(end, Broken), end
            assert head == (end.seq, end.hash)
            promised = {(seq, name) for at, seq, name in answered if at == tenant_id}
            assert promised
            assert promised <= {(row[0], row[4]) for row in rows}


def test_six_times_killed_under_load_the_writer_loses_nothing_that_it_answered() -> None:
    tenant_ids = [make_place().tenant_id for _ in range(10)]
    answered: list[tuple[int, int, str]] = []
    for _ in range(3):
        # Two at once, on the same tenants: each dies in the middle of a batch of its own.
        pair = [_start_writing(settings.ENV.writer_database_url, tenant_ids) for _ in range(2)]
        for process in pair:
            answered += _read_answers(process, 500)
        for process in pair:
            process.kill()
        for process in pair:
            answered += _read_rest(process)
            assert process.returncode == -signal.SIGKILL
    assert len(answered) >= 3_000
    _assert_all_there(settings.ENV.database_url, tenant_ids, answered)


@pytest.fixture
def own_cluster() -> Iterator[_Cluster]:
    """A PostgreSQL that a test may kill, set up as Marina's, with fsync on."""
    with tempfile.TemporaryDirectory(prefix="marina-crash-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL may run as another user, who passes through here.
        Path(folder).chmod(0o711)
        cluster = _Cluster(Path(folder))
        cluster.start()
        try:
            cluster.set_up()
            yield cluster
        finally:
            cluster.kill()


class _Cluster:
    def __init__(self, folder: Path) -> None:
        identity = find_unprivileged_identity()
        home = folder / "postgres"
        home.mkdir()
        if identity is not None:
            os.chown(home, identity.uid, identity.gid)
        self._home, self._identity = home, identity
        self._install = reachable_install(find_postgres(), identity, copies=folder)
        self._port = find_free_port()
        self._process: subprocess.Popen[bytes] | None = None
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
        self._prepare()
        with (self._home.parent / "log").open("ab") as log:
            self._process = start_process(
                self._cluster.command,
                env=POSTGRES_ENVIRONMENT,
                cwd=self._home,
                stop_signal=STOP_SIGNAL,
                identity=self._identity,
                output=log,
            )
        deadline = time.monotonic() + 30
        while not self._cluster.is_ready():
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.01)

    def kill(self) -> None:
        """``kill -9`` of the postmaster; its children end once they notice, and ``start`` ends those that do not."""
        if self._process is not None:
            kill_group(self._process.pid)
            self._process.wait()

    def set_up(self) -> None:
        with psycopg.connect(self._cluster.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE marina")
        subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "setup_database", "-v", "0"],
            env={**os.environ, "DATABASE_URL": self.url, "DJANGO_SETTINGS_MODULE": "config.settings"},
            check=True,
        )


@pytest.mark.timeout(300)
def test_killed_under_load_postgresql_loses_nothing_that_was_answered_and_the_writer_goes_on(
    own_cluster: _Cluster,
) -> None:
    with psycopg.connect(own_cluster.url, autocommit=True) as connection:
        tenant_ids = [
            row[0]
            for row in connection.execute(
                "INSERT INTO tenants_tenant (slug, name, surface_version, created_at) "
                "SELECT 'crash-' || n, 'x', 1, now() FROM generate_series(1, 10) AS n RETURNING id"
            )
        ]
    login = settings.ENV.writer_database_url.rpartition("@")[0]
    process = _start_writing(f"{login}@{own_cluster.url.rpartition('@')[2]}", tenant_ids)
    answered: list[tuple[int, int, str]] = []
    try:
        for _ in range(3):
            answered += _read_answers(process, 500)
            own_cluster.kill()
            own_cluster.start()
        answered += _read_answers(process, 500)
    finally:
        process.kill()
        answered += _read_rest(process)
    _assert_all_there(own_cluster.url, tenant_ids, answered)
