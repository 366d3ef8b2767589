"""No text brings the process down or holds it: nesting, runs of signs, and letters beyond ASCII are bounded."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pglast.parser import ParseError, parse_sql_protobuf, scan

from core.errors import SourceError
from servers.execution.backends.postgres import syntax
from servers.execution.backends.postgres.parsing import MAX_QUERY_BYTES, Policy, read_statement
from servers.execution.backends.postgres.syntax import Unreadable, parse_statements, scan_tokens
from servers.execution.sql.reading import AT_ONCE

HOSTILE = Path(__file__).with_name("parse_hostile.py")
SMALL_STACK = 2 * 1024 * 1024


def limit_stack() -> None:
    resource.setrlimit(resource.RLIMIT_STACK, (SMALL_STACK, SMALL_STACK))


@pytest.mark.parametrize(
    ("where", "small_process"),
    [("main", False), ("0", True), ("256", False)],
    ids=["main-thread", "thread-of-2-MiB", "thread-of-256-KiB"],
)
def test_deep_nesting_is_refused_and_the_process_lives_whatever_its_stack(
    where: str, small_process: bool
) -> None:
    done = subprocess.run(
        [sys.executable, str(HOSTILE), where],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=limit_stack if small_process else None,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (done.returncode, lines[-1:], done.stderr[-500:])
    assert len(lines) > 100, lines[-1:]
    assert [line for line in lines if not line.endswith(": sql.nesting")] == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FROM a WHERE " + " AND ".join(f"x <> {number}" for number in range(500)),
        "SELECT 1 FROM a WHERE " + " OR ".join(f"(x = {number} AND y IS NOT NULL)" for number in range(500)),
        "SELECT 1 FROM a WHERE NOT (x OR y) AND " + " OR NOT ".join(["x = 1 AND y"] * 300),
        "SELECT 1 FROM a WHERE x IN (" + ", ".join(str(number) for number in range(9_000)) + ")",
        "SELECT 1 FROM a WHERE x IN (" + ", ".join(f"'Zürich {number}'" for number in range(2_000)) + ")",
        "VALUES " + ", ".join(f"({number}, 'x')" for number in range(3_000)),
        "SELECT " + " || ".join(["a"] * 300),
        " UNION ALL ".join(["SELECT 1"] * 300),
        "SELECT 1 FROM a" + " LEFT JOIN b USING (id)" * 100,
        "SELECT " + ", ".join(["größe", '"Straße"', "'é'"] * 200),
        "SELECT '" + "=" * 20_000 + "' /*" + "*" * 3_000 + "*/ -- " + "-" * 20_000,
        "SELECT 1 -- " + "é" * 30_000,
    ],
    ids=lambda text: text[:30],
)
def test_long_query_that_is_not_deep_is_accepted(text: str) -> None:
    assert read_statement(text, Policy()).sql.startswith(text[:30])


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 " + "/*" * 30_000,
        "SELECT 1 " + "/*" * 16_000 + "*/" * 16_000,
        "SELECT 1 " + "/**/" * 16_000,
        "SELECT '" + "/*" * 30_000 + "'",
        "SELECT " + "+" * 60_000 + "1",
        "SELECT " + "+-" * 30_000 + "1",
        "SELECT " + "é," * 20_000 + "1",
        'SELECT 1 AS "' + "é" * 20_000 + '"' + ", 1" * 8_000,
    ],
    ids=lambda text: text[:15] + text[-5:],
)
def test_text_that_would_take_seconds_to_scan_is_refused(text: str) -> None:
    assert len(text.encode()) <= MAX_QUERY_BYTES
    for names in (None, ("a",)):
        with pytest.raises(SourceError) as caught:
            read_statement(text, Policy(), names=names)
        assert (caught.value.code, caught.value.data) == ("query_refused", {"rule": "sql.text"})


@pytest.mark.parametrize(
    "text",
    [
        "'é' é \"é\" $é$ é $é$",
        "E'\\é' U&'é' B'é' X'é'",
        "é /* é */ -- é\n é",
        "é.é:é::é",
        "$1é",
    ],
)
def test_tokens_beyond_ascii_have_the_places_of_the_text_itself(text: str) -> None:
    expected = [(token.start, token.end, token.name) for token in scan(text)]
    assert [(token.start, token.end, token.name) for token in scan_tokens(text)] == expected


@pytest.mark.parametrize("text", ["1é5", "0é1", "'é", "/* é"])
def test_what_postgresqls_scanner_refuses_is_refused(text: str) -> None:
    for read in (scan, scan_tokens, parse_statements):
        with pytest.raises((ParseError, Unreadable)):
            read(f"SELECT {text}")


def test_names_beyond_ascii_are_read_as_written_and_strings_are_not_needed() -> None:
    (tree,) = parse_statements("SELECT 'é' FROM \"Zürich\".größe /* é */")
    (table,) = tree.stmt.fromClause
    assert (table.schemaname, table.relname, table.location) == ("Zürich", "größe", 16)


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("SELECT 'é' é é", 'syntax error at or near "é"', 14),
        ("SELECT 'é' 'ü'", "syntax error at or near \"'ü'\"", 12),
        ("SELECT 'é", 'unterminated quoted string at or near "\'é"', 8),
        ("SELECT 1é5", 'trailing junk after numeric literal at or near "1é5"', 8),
    ],
)
def test_syntax_error_quotes_the_callers_own_letters(text: str, message: str, position: int) -> None:
    with pytest.raises(SourceError) as caught:
        read_statement(text, Policy())
    assert message in caught.value.message
    assert caught.value.data["position"] == position


def test_name_beyond_ascii_is_never_taken_for_a_function_that_is_allowed() -> None:
    for name in ("siné", "é", "zé", "maé", "mé"):
        with pytest.raises(SourceError) as caught:
            read_statement(f"SELECT {name}(1)", Policy())
        assert caught.value.data["rule"] == "sql.function"


def next_key() -> int:
    """The lowest key for values of threads that is free in this process."""
    key = ctypes.c_uint()
    libc = ctypes.CDLL(None)
    assert libc.pthread_key_create(ctypes.byref(key), None) == 0
    assert libc.pthread_key_delete(key) == 0
    return key.value


def test_threads_that_read_sql_use_up_nothing_of_the_process() -> None:
    before = next_key()
    for number in range(50):
        reader = threading.Thread(target=parse_statements, args=(f"SELECT 'é', {number}",))
        reader.start()
        reader.join()
    # One for each thread that is kept, where none of them had read anything before.
    assert next_key() - before <= 4


def test_a_forked_process_reads_sql_too() -> None:
    program = (
        "import os, signal\n"
        "from servers.execution.backends.postgres.syntax import parse_statements\n"
        "signal.alarm(20)\n"
        "parse_statements('SELECT 1')\n"
        "child = os.fork()\n"
        "signal.alarm(20)\n"
        "read = len(parse_statements('SELECT 1; SELECT 2'))\n"
        "if child == 0:\n"
        "    os._exit(read)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr) == (2, "")


def test_a_short_text_waits_for_no_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    in_time: list[bool] = []

    def dawdle(sql: str) -> object:
        if len(sql) > AT_ONCE:
            in_time.append(go_on.wait(20))
        return parse_sql_protobuf(sql)

    monkeypatch.setattr(syntax, "parse_sql_protobuf", dawdle)
    long = "SELECT 1" + ", 1" * AT_ONCE
    readers = [threading.Thread(target=parse_statements, args=(long,)) for _ in range(8)]
    for reader in readers:
        reader.start()
    assert len(parse_statements("SELECT 1")) == 1
    go_on.set()
    for reader in readers:
        reader.join()
    assert in_time == [True] * 8
