"""Statements are parsed at once where they are short, and otherwise in a thread or a program, one after another."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial

import pytest

from core import aside as aside_module
from core.aside import Aside
from core.errors import SourceError
from servers.execution.backends.postgres import parsing, tables
from servers.execution.backends.postgres.parsing import Policy
from servers.execution.backends.postgres.syntax import Unreadable
from servers.execution.backends.postgres.writing import WriteWalk
from servers.execution.backends.sqlite import statements
from servers.execution.sql import reading as reading_module
from servers.execution.sql.reading import AT_ONCE, IN_THREAD, Reading
from servers.execution.sql.transactions import MOST_PAUSE_SECONDS, Query, read_queries
from tests.core import asides

pytestmark = pytest.mark.anyio

LONG = "x" * (AT_ONCE + 1)
VERY_LONG = "x" * (IN_THREAD + 1)


async def test_a_short_text_is_read_on_the_loop_and_a_long_one_in_a_thread() -> None:
    reading, here = Reading(), threading.get_ident()
    assert await reading.read(LONG[:AT_ONCE], threading.get_ident, team=1) == here
    assert await reading.read(LONG, threading.get_ident, team=1) != here


async def test_long_texts_are_read_one_after_another() -> None:
    reading, under_way, most = Reading(), 0, 0
    go_on = threading.Event()

    def work() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        assert go_on.wait(20)
        under_way -= 1

    waiting = [asyncio.ensure_future(reading.read(LONG, work, team=team)) for team in (1, 1, 2)]
    # A short one waits for none of them.
    assert await reading.read("SELECT 1", lambda: "read", team=1) == "read"
    go_on.set()
    await asyncio.gather(*waiting)
    assert most == 1


async def test_what_is_wrong_with_a_long_text_is_raised_and_the_next_is_read() -> None:
    reading = Reading()

    def refuse() -> None:
        raise SourceError("It is no SQL.", code="query_invalid")

    with pytest.raises(SourceError, match=r"It is no SQL\."):
        await reading.read(LONG, refuse, team=1)
    assert await reading.read(LONG, lambda: 1, team=1) == 1


async def test_one_that_nobody_waits_for_keeps_the_thread_until_it_is_done() -> None:
    reading = Reading()
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        begun.set()
        assert go_on.wait(20)
        done.append("first")

    left = asyncio.ensure_future(reading.read(LONG, work, team=1))
    await asyncio.to_thread(begun.wait, 20)
    left.cancel()
    await asyncio.wait([left])
    following = asyncio.ensure_future(reading.read(LONG, lambda: done.append("second"), team=1))
    await asyncio.sleep(0)
    go_on.set()
    await following
    assert done == ["first", "second"]


async def test_a_team_with_many_long_texts_has_one_turn_at_a_time() -> None:
    reading = Reading()
    done: list[int] = []
    many = [asyncio.ensure_future(reading.read(LONG, lambda: done.append(1), team=1)) for _ in range(10)]
    await asyncio.sleep(0)
    await reading.read(LONG, lambda: done.append(2), team=2)
    await asyncio.gather(*many)
    assert done.index(2) <= 1


async def test_a_transactions_statements_leave_the_loop_as_long_as_each_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[float] = []
    sleep, me = asyncio.sleep, asyncio.current_task()

    async def note(seconds: float) -> None:
        if asyncio.current_task() is not me:
            # The loop is the tests' own, and others wait on it.
            await sleep(seconds)
            return
        left.append(seconds)
        await sleep(0)

    async def read(query: Query) -> str:
        until = time.monotonic() + float(query.sql)
        while time.monotonic() < until:
            pass
        return query.sql

    monkeypatch.setattr(asyncio, "sleep", note)
    assert await read_queries({"queries": ["0.004", "0.06", "0"]}, read) == ["0.004", "0.06", "0"]
    assert len(left) == 2
    assert 0.004 <= left[0] <= left[1] == MOST_PAUSE_SECONDS

    # What a program reads leaves it alone.
    left.clear()
    many = [f"0.004{'0' * 200}"] * 45
    assert await read_queries({"queries": many}, read) == many
    assert left == []


async def test_a_very_long_text_is_read_by_a_program_of_all_kinds() -> None:
    pids = [await Reading().read(VERY_LONG, os.getpid, team=team) for team in (1, 2)]
    assert pids[0] == pids[1] != os.getpid()


async def test_short_texts_of_one_call_are_read_where_one_as_long_is() -> None:
    reading, here = Reading(), threading.get_ident()
    assert await reading.read("x", threading.get_ident, team=1, together=AT_ONCE) == here
    assert await reading.read("x", threading.get_ident, team=1, together=AT_ONCE + 1) != here
    assert await reading.read("x", os.getpid, team=1, together=IN_THREAD) == os.getpid()
    assert await reading.read("x", os.getpid, team=1, together=IN_THREAD + 1) != os.getpid()


async def test_what_the_program_cannot_read_is_refused_with_what_to_do() -> None:
    with pytest.raises(SourceError, match="Make it shorter") as caught:
        await Reading().read(VERY_LONG, asides.crash, team=1)
    assert (caught.value.code, caught.value.data) == ("query_refused", {"rule": "sql.length"})


async def test_without_a_program_a_thread_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "_ASIDE", Aside("tests-none"))
    monkeypatch.setattr(aside_module, "_PROGRAM", "core.no_such_program")
    assert await Reading().read(VERY_LONG, os.getpid, team=1) == os.getpid()


NUMBERS = ", ".join(["1"] * 4_000)


@pytest.mark.parametrize(
    "work",
    [
        partial(parsing.read_statement, f"SELECT {NUMBERS}", Policy()),
        partial(parsing.read_statement, f"SELECT :a, {NUMBERS}", Policy(), names=("a",)),
        partial(
            parsing.read_statement, f"SELECT x FROM t, s.u WHERE x IN ({NUMBERS})", Policy(confined=True)
        ),
        partial(
            parsing.read_statement,
            f"DELETE FROM t WHERE x IN ({NUMBERS})",
            Policy(),
            names=None,
            walk=WriteWalk,
        ),
        partial(parsing.read_statement, f"SELECT {NUMBERS} FROM", Policy()),
        partial(parsing.read_statement, f"SELECT pg_sleep(1), {NUMBERS}", Policy(schemas=("s",))),
        partial(tables.locate_tables, f"SELECT x FROM t, s.u WHERE x IN ({NUMBERS})"),
        partial(tables.locate_tables, f"SELECT {NUMBERS} FROM"),
        partial(statements.read_statement, f"SELECT :a, {NUMBERS}", confined=True),
        partial(statements.read_statement, f"SELECT {NUMBERS}; SELECT 1", confined=False),
    ],
    ids=lambda work: work.args[0][:12],
)
async def test_what_comes_of_a_statement_there_is_what_comes_of_it_here(work: Callable[[], object]) -> None:
    found = []
    for read in (work, partial(Reading().read, VERY_LONG, work, team=1)):
        try:
            made = read()
            found.append(await made if isinstance(made, Coroutine) else made)
        except (SourceError, Unreadable) as fault:
            fault.__dict__.pop("__notes__", None)
            found.append((type(fault), fault.args, vars(fault)))
    assert found[0] == found[1]
