"""After ``kill -9``, of the writing process and of PostgreSQL: what was answered is in the log."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from tenants.audit.chain import Broken, Link, verify
from tenants.audit.writer import AuditWriter
from tests.plugins.own_cluster import ROOT, Cluster, running_cluster
from tests.tenants.audit.places import make_place

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
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that a test may kill."""
    with running_cluster() as cluster:
        yield cluster


@pytest.mark.timeout(300)
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
@pytest.mark.timeout(120)
async def test_a_writer_shows_within_seconds_that_postgresql_hangs_and_that_it_goes_on(
    own_cluster: Cluster,
) -> None:
    login = settings.ENV.writer_database_url.rpartition("@")[0]
    writer = AuditWriter(f"{login}@{own_cluster.url.rpartition('@')[2]}")
    await writer.start()
    assert writer.accepting
    own_cluster.pause()
    try:
        await _until(lambda: not writer.accepting)
    finally:
        own_cluster.resume()
    await _until(lambda: writer.accepting)
    await writer.close()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what the writer shows, it shows as a property
            await asyncio.sleep(0.01)
