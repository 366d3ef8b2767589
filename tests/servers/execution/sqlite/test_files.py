"""Which files are opened, and what becomes of files that are damaged, hostile, locked, or swapped meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.backends.sqlite import SqliteBackend, gate
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from servers.execution.folders import beneath
from tests.servers.execution.sqlite.conftest import OTHER, Quay, Run, make_file

pytestmark = pytest.mark.anyio

Refused = Callable[..., Awaitable[SourceError]]
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement)
print("ready", flush=True)
sys.stdin.read()
"""
SWAP = """
import os, sys
target, link, mark = sys.argv[1:]
while os.path.exists(mark):
    os.rename(target, target + ".kept")
    os.symlink(link, target)
    os.unlink(target)
    os.rename(target + ".kept", target)
"""


@contextmanager
def writer(file: Path, *statements: str) -> Iterator[Callable[[], None]]:
    """Another process that has run these statements and has the file open; what is given ends it."""
    command = [sys.executable, "-c", WRITER, str(file), *statements]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def end() -> None:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0

    try:
        assert process.stdout.readline() == "ready\n"
        yield end
    finally:
        end()
        process.stdout.close()


@contextmanager
def swapping(target: Path, link: Path, mark: Path) -> Iterator[None]:
    """Another process swaps ``target`` for a link, again and again."""
    mark.touch()
    swapper = subprocess.Popen([sys.executable, "-c", SWAP, str(target), str(link), str(mark)])
    try:
        yield
    finally:
        mark.unlink()
        assert swapper.wait(timeout=60) == 0


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
COUNT = "SELECT count(*) AS n FROM item"


@pytest.mark.parametrize(
    "path",
    [
        "../8/theirs.db",
        "data/../../8/theirs.db",
        "/etc/passwd",
        "..",
        ".",
        "a\\b.db",
        "a\x00b.db",
        "a\nb.db",
        "",
        None,
        7,
        "x" * 1_025,
    ],
)
async def test_a_path_that_leaves_the_teams_folder_is_refused(path: object, engine: Engine) -> None:
    with pytest.raises(InvalidInput) as caught:
        engine.backend("sqlite").clean_settings({"path": path})
    assert [fault["path"] for fault in caught.value.errors] == ["path"]


async def test_the_path_of_another_team_is_refused(
    quay: Quay, engine: Engine, make_source: Callable[..., Source]
) -> None:
    source = make_source(path=f"{quay.allowed}/{OTHER}/theirs.db")
    assert (await engine.check(source)).code == "source_denied"
    with pytest.raises(SourceError) as caught:
        await engine.execute(source, Operation("list_tables", {}), {}, timeout=5)
    assert caught.value.code == "source_denied"


def test_without_folders_or_openat2_there_is_no_such_source(quay: Quay) -> None:
    for backend in (SqliteBackend(), SqliteBackend(roots=[quay.allowed], supported=False)):
        with pytest.raises(InvalidInput, match="Folders of this machine are not offered"):
            backend.clean_settings({"path": "shop.db"})


async def test_settings_are_stored_with_every_default_and_every_fault_is_named(engine: Engine) -> None:
    backend = engine.backend("sqlite")
    assert backend.clean_settings({"path": "./data//shop.db", "masks": {"Item.IBAN": "hidden"}}) == {
        "path": "data/shop.db",
        "tables": [],
        "masks": {"Item.IBAN": "hidden"},
        "allow_writes": False,
        "statement_timeout": 10,
        "slow_query_seconds": 1,
        "row_limit": 1000,
        "max_bytes": 1048576,
    }
    with pytest.raises(InvalidInput) as caught:
        backend.clean_settings(
            {
                "path": "a.db",
                "tables": ["", 3],
                "masks": {"item": "hidden", "a.b": "seen"},
                "allow_writes": 1,
                "row_limit": 0,
                "max_bytes": True,
                "mode": "rwc",
            }
        )
    assert {fault["path"] for fault in caught.value.errors} == {
        "tables.0",
        "tables.1",
        "masks.item",
        "masks.a.b",
        "allow_writes",
        "row_limit",
        "max_bytes",
        "mode",
    }


def _link(own: Path) -> None:
    (own / "x.db").symlink_to(own / "shop.db")


def _hard_link(own: Path) -> None:
    os.link(own.parent / str(OTHER) / "theirs.db", own / "x.db")


def _pipe(own: Path) -> None:
    os.mkfifo(own / "x.db")


def _folder(own: Path) -> None:
    (own / "x.db").mkdir()


def _text(own: Path) -> None:
    (own / "x.db").write_text("no database at all\n" * 100)


def _journal_pipe(own: Path) -> None:
    shutil.copy(own / "shop.db", own / "x.db")
    os.mkfifo(own / "x.db-journal")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda own: None, "source_missing"),
        (_link, "source_denied"),
        (_hard_link, "source_denied"),
        (_pipe, "source_denied"),
        (_folder, "source_denied"),
        (_text, "source_failed"),
        (_journal_pipe, None),
    ],
)
async def test_only_plain_database_files_are_opened(
    make: Callable[[Path], None],
    code: str | None,
    quay: Quay,
    engine: Engine,
    make_source: Callable[..., Source],
) -> None:
    make(quay.own)
    source = make_source(path="x.db")
    health = await engine.check(source)
    if code is not None:
        assert (health.state, health.code) == ("unhealthy", code)
        with pytest.raises(SourceError) as caught:
            await engine.execute(source, Operation("list_tables", {}), {}, timeout=5)
        assert caught.value.code == code


async def test_an_empty_file_and_one_without_tables_are_degraded(
    quay: Quay, engine: Engine, make_source: Callable[..., Source]
) -> None:
    (quay.own / "x.db").touch()
    assert (await engine.check(make_source(path="x.db"))).code == "no_tables"
    assert (await engine.check(make_source(tables=["gone"]))).code == "no_tables"
    assert (await engine.check(make_source())).state == "healthy"
    assert (await engine.check(make_source(allow_writes=True))).state == "healthy"
    assert (await engine.check(make_source(masks={"item.gone": "hidden"}))).code == "mask_missing"


async def test_damaged_files_are_errors_and_nothing_more(quay: Quay, run: Run, engine: Engine) -> None:
    whole = quay.file.read_bytes()
    chance = random.Random(4711)
    bad = quay.own / "bad.db"
    outcomes = set()
    for number in range(150):
        data = bytearray(whole)
        if number % 3 == 0:
            del data[chance.randrange(len(data)) :]
        for _ in range(chance.choice((1, 10, 200))):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        bad.write_bytes(data)
        for operation, arguments in (
            ("query_database", {"query": "SELECT * FROM item ORDER BY name"}),
            ("query_database", {"query": "SELECT * FROM page WHERE page MATCH 'harbour'"}),
            ("get_schema", {}),
            ("analyze_table", {"table": "item"}),
            ("execute_transaction", {"queries": ["UPDATE item SET price = price + 1", "DELETE FROM page"]}),
        ):
            settings = {"path": "bad.db", "allow_writes": operation == "execute_transaction"}
            try:
                await run(operation, settings=settings, **arguments)
                outcomes.add("ok")
            except (SourceError, InvalidInput) as fault:
                outcomes.add(fault.code)
        for beside in quay.own.glob("bad.db-*"):
            beside.unlink()
    assert outcomes <= {
        "ok",
        "source_failed",
        "query_invalid",
        "query_refused",
        "invalid_input",
        "result_too_large",
    }
    assert {"ok", "source_failed"} <= outcomes
    assert (await run("query_database", query=COUNT)).structured["rows"] == [{"n": 2}]


HOSTILE = [
    "CREATE VIEW item AS SELECT load_extension('x') AS a",
    "CREATE VIEW item AS SELECT * FROM pragma_query_only(0)",
    "CREATE VIEW item AS SELECT * FROM sqlite_schema",
    "CREATE VIEW item AS SELECT fts3_tokenizer('simple') AS a",
]


@pytest.mark.parametrize("schema", HOSTILE)
async def test_what_a_file_brings_has_no_more_rights_than_a_query(
    schema: str, quay: Quay, refused: Refused
) -> None:
    make_file(quay.own / "x.db", schema)
    fault = await refused("SELECT * FROM item", settings={"path": "x.db"})
    assert fault.code in ("query_refused", "query_invalid")


async def test_triggers_write_by_the_same_rules(quay: Quay, run: Run) -> None:
    make_file(
        quay.own / "x.db",
        "CREATE TABLE item (a); CREATE TABLE seen (a); "
        "CREATE TRIGGER t AFTER INSERT ON item BEGIN INSERT INTO seen SELECT load_extension(new.a); END;",
    )
    settings = {"path": "x.db", "allow_writes": True}
    with pytest.raises(SourceError):
        await run("execute_transaction", queries=["INSERT INTO item VALUES (1)"], settings=settings)
    assert quay.rows("SELECT count(*) FROM item", quay.own / "x.db") == [(0,)]


def test_the_librarys_calls_open_and_remove_the_databases_own_files_alone(quay: Quay) -> None:
    (quay.own / "notes.txt").write_text("kept")
    (quay.own / "shop.db-journal").write_text("")
    folder = os.open(quay.own, os.O_PATH | os.O_DIRECTORY)
    base = f"/proc/self/fd/{folder}"
    others = (
        f"{quay.own}/notes.txt",
        f"{base}/notes.txt",
        f"{base}/../8/theirs.db",
        "/proc/self/fd/0",
        "/etc/passwd",
    )
    with beneath.closing(folder), gate.admitted(folder, "shop.db", writable=False) as path:
        for other in others:
            assert gate._open(other.encode(), os.O_RDONLY, 0) == -1
            assert gate._unlink(other.encode()) == -1
        assert gate._open(path.encode(), os.O_RDWR, 0) == -1
        assert gate._unlink(path.encode()) == -1
        os.close(gate._open(path.encode(), os.O_RDONLY, 0))
        assert gate._unlink(f"{path}-journal".encode()) == 0
    assert gate._open(path.encode(), os.O_RDONLY, 0) == -1
    assert sorted(each.name for each in quay.own.iterdir()) == ["data", "notes.txt", "shop.db"]


@pytest.mark.parametrize("present", [True, False])
async def test_a_database_in_wal_mode_is_read_and_written(present: bool, quay: Quay, run: Run) -> None:
    count = "SELECT count(*) AS n FROM sale"
    with writer(quay.file, "PRAGMA journal_mode = WAL", "INSERT INTO sale VALUES (1, 5)") as end:
        if not present:
            end()
        assert (await run("query_database", query=count)).structured["rows"] == [{"n": 1}]
        written = ["INSERT INTO sale VALUES (2, 1)"]
        await run("execute_transaction", queries=written, settings={"allow_writes": True})
        assert (await run("query_database", query=count)).structured["rows"] == [{"n": 2}]
    assert quay.rows("SELECT count(*) FROM sale") == [(2,)]


async def test_a_lock_that_stays_is_said(quay: Quay, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.execution.backends.sqlite.session._BUSY_SECONDS", 0.2)
    with writer(quay.file, "BEGIN EXCLUSIVE"):
        for operation, more in (
            ("query_database", {"query": COUNT}),
            ("execute_transaction", {"queries": ["DELETE FROM sale"], "settings": {"allow_writes": True}}),
        ):
            with pytest.raises(SourceError, match="locked") as caught:
                await run(operation, **more)
            assert (caught.value.code, caught.value.retryable) == ("source_timeout", True)
    assert (await run("query_database", query=COUNT)).structured["rows"] == [{"n": 2}]


@pytest.mark.parametrize("swapped", ["data", "data/shop.db"])
async def test_a_race_of_links_lets_no_other_database_in(swapped: str, quay: Quay, run: Run) -> None:
    outside = quay.allowed.parent / "outside"
    outside.mkdir()
    make_file(outside / "shop.db", "CREATE TABLE item (id); CREATE TABLE outside (a)")
    shutil.copy(quay.file, quay.own / "data" / "shop.db")
    link = outside if swapped == "data" else outside / "shop.db"
    seen: set[int] = set()
    faults: set[str] = set()
    with swapping(quay.own / swapped, link, quay.own / "mark"):
        ends = monotonic() + 2.0
        while monotonic() < ends or (not faults and monotonic() < ends + 60):
            try:
                outcome = await run("query_database", query=COUNT, settings={"path": "data/shop.db"})
                seen.add(outcome.structured["rows"][0]["n"])
            except SourceError as fault:
                faults.add(fault.code)
    assert seen <= {2}
    assert faults <= {"source_missing", "source_denied"}
    assert faults


async def test_work_ends_at_its_time_limit_and_when_nobody_waits(
    engine: Engine, make_source: Callable[..., Source], quay: Quay, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So much before the engine's own, which says it in other words.
    monkeypatch.setattr("servers.execution.backends.sqlite.asked._MARGIN", 9.0)
    endless = {
        "query": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    }
    source = make_source()
    query = Operation("query_database", {})
    with pytest.raises(SourceError, match="time limit") as caught:
        await engine.execute(source, query, endless, timeout=10)
    assert caught.value.code == "source_timeout"
    calls = [asyncio.create_task(engine.execute(source, query, endless, timeout=20)) for _ in range(4)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    # The team's two places are free again long before those queries' time is over.
    found = await engine.execute(source, query, {"query": COUNT}, timeout=15)
    assert found.structured["rows"] == [{"n": 2}]


@pytest.mark.parametrize(
    "query",
    [
        f"{ENDLESS} SELECT i FROM n ORDER BY i DESC",
        f"{ENDLESS} SELECT DISTINCT hex(randomblob(900)) FROM n LIMIT 1 OFFSET 9000000",
        "SELECT hex(zeroblob(1000000000))",
        "SELECT printf('%.*c', 1000000000, 'a')",
        "WITH RECURSIVE n(s) AS (SELECT 'aaaaaaaa' UNION ALL SELECT s || s FROM n) SELECT s FROM n",
    ],
)
async def test_memory_is_bounded(query: str, refused: Refused, run: Run) -> None:
    fault = await refused(query, timeout=15)
    assert fault.code in ("source_failed", "result_too_large", "source_timeout")
    assert (await run("query_database", query=COUNT)).structured["rows"] == [{"n": 2}]


async def test_a_transaction_is_all_or_nothing(quay: Quay, run: Run) -> None:
    writing: dict[str, Any] = {"settings": {"allow_writes": True}}
    outcome = await run(
        "execute_transaction",
        queries=[
            {"query": "INSERT INTO item (name, price) VALUES (:n, $p)", "params": {"n": "cup", "p": 3}},
            {"query": "UPDATE item SET price = ? WHERE name = ?", "params": [4, "cup"]},
            "WITH d AS (SELECT 'vase' AS n) DELETE FROM item WHERE name IN (SELECT n FROM d)",
            "REPLACE INTO sale VALUES (1, 2)",
            "DELETE FROM sale WHERE amount > 100",
        ],
        **writing,
    )
    assert [(each["command"], each["row_count"]) for each in outcome.structured["results"]] == [
        ("INSERT", 1),
        ("UPDATE", 1),
        ("DELETE", 1),
        ("REPLACE", 1),
        ("DELETE", 0),
    ]
    assert outcome.structured["row_count"] == 4
    before = quay.checksum()
    for last, message in (
        ("INSERT INTO item (name) VALUES ('cup')", "UNIQUE"),
        ("INSERT INTO sale VALUES (99, 1)", "FOREIGN KEY"),
        ("INSERT INTO sale VALUES (1, 0)", "CHECK"),
        ("INSERT INTO nowhere VALUES (1)", "no such table"),
    ):
        with pytest.raises(SourceError, match=message) as caught:
            await run("execute_transaction", queries=["DELETE FROM sale", last], **writing)
        assert caught.value.message.startswith("Query 2: ")
        assert caught.value.message.endswith("Nothing was changed.")
    assert quay.checksum() == before
    with pytest.raises(SourceError) as caught:
        await run("execute_transaction", queries=["DELETE FROM sale"])
    assert caught.value.data["rule"] == "sql.read_only"
    with pytest.raises(InvalidInput):
        await run("execute_transaction", queries=[], **writing)
