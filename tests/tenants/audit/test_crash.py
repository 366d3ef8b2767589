"""After ``kill -9``, of the writing process and of PostgreSQL: what was answered is in the log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from tenants.audit.chain import Broken, Link, verify
from tenants.audit.writer import AuditWriter
from tests.plugins.own_cluster import ROOT, Cluster, running_cluster
from tests.tenants.audit.places import make_place
from tests.tenants.audit.writers import until

PROGRAM = Path(__file__).with_name("writing_process.py")
WAITING = 64


def _start_writing(dsn: str, tenant_ids: list[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), dsn, str(WAITING), *map(str, tenant_ids)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "platform"))), "PATH": os.defpath},
    )


class _Answers:
    """What a process prints, read all the while: one that waits for its reader would hold heads that others need."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._read: list[tuple[int, int, str]] = []
        self._more = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._read_all)
        self._thread.start()

    def _read_all(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    with self._more:
                        self._read.append(_answer(line))
                        self._more.notify()
        with self._more:
            self._over = True
            self._more.notify()

    def wait_for(self, count: int) -> None:
        with self._more:
            self._more.wait_for(lambda: self._over or len(self._read) >= count)
            assert len(self._read) >= count, "the writing process ended by itself"

    def all(self) -> list[tuple[int, int, str]]:
        """All of them, once the process has ended."""
        self._thread.join()
        self.process.wait()
        return self._read


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
        # All of it at one moment: what was sent before the writer was killed may be committed while this looks.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
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
        pair = [_Answers(_start_writing(settings.ENV.writer_database_url, tenant_ids)) for _ in range(2)]
        try:
            for each in pair:
                each.wait_for(500)
        finally:
            for each in pair:
                each.process.kill()
        for each in pair:
            answered += each.all()
            assert each.process.returncode == -signal.SIGKILL
    assert len(answered) >= 3_000
    _assert_all_there(settings.ENV.database_url, tenant_ids, answered)


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that a test may kill."""
    with running_cluster() as cluster:
        yield cluster


@pytest.mark.timeout(600)
def test_killed_under_load_postgresql_loses_nothing_that_was_answered_and_the_writer_goes_on(
    own_cluster: Cluster,
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


@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_a_writer_shows_within_seconds_that_postgresql_hangs_and_that_it_goes_on(
    own_cluster: Cluster,
) -> None:
    login = settings.ENV.writer_database_url.rpartition("@")[0]
    writer = AuditWriter(f"{login}@{own_cluster.url.rpartition('@')[2]}")
    await writer.start()
    await until(lambda: writer.accepting)
    own_cluster.pause()
    try:
        await until(lambda: not writer.accepting)
    finally:
        own_cluster.resume()
    await until(lambda: writer.accepting)
    await writer.close()
