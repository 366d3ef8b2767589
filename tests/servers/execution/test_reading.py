"""Statements are parsed at once where they are short, and otherwise in a thread, one after another."""

from __future__ import annotations

import asyncio
import threading

import pytest

from core.errors import SourceError
from servers.execution.sql.reading import AT_ONCE, Reading

pytestmark = pytest.mark.anyio

LONG = "x" * (AT_ONCE + 1)


async def test_a_short_text_is_read_on_the_loop_and_a_long_one_in_a_thread() -> None:
    reading, here = Reading(), threading.get_ident()
    assert await reading.read(LONG[:AT_ONCE], threading.get_ident) == here
    assert await reading.read(LONG, threading.get_ident) != here


async def test_long_texts_are_read_one_after_another() -> None:
    reading, under_way, most = Reading(), 0, 0
    go_on = threading.Event()

    def work() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        assert go_on.wait(20)
        under_way -= 1

    waiting = [asyncio.ensure_future(reading.read(LONG, work)) for _ in range(3)]
    # A short one waits for none of them.
    assert await reading.read("SELECT 1", lambda: "read") == "read"
    go_on.set()
    await asyncio.gather(*waiting)
    assert most == 1


async def test_what_is_wrong_with_a_long_text_is_raised_and_the_next_is_read() -> None:
    reading = Reading()

    def refuse() -> None:
        raise SourceError("It is no SQL.", code="query_invalid")

    with pytest.raises(SourceError, match=r"It is no SQL\."):
        await reading.read(LONG, refuse)
    assert await reading.read(LONG, lambda: 1) == 1
