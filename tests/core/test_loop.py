"""Who waits for the loop: database connections are for those who use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from django.conf import settings
from django.db import connection, transaction

from core.loop import run_async
from tests.together import do_at_once


def ask_the_database() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return int(cursor.fetchone()[0])


def test_more_may_wait_than_there_are_connections() -> None:
    waiters = settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"] + 2
    all_wait, waiting = asyncio.Event(), 0

    async def wait() -> None:
        nonlocal waiting
        waiting += 1
        if waiting == waiters:
            all_wait.set()
        async with asyncio.timeout(60):
            await all_wait.wait()

    def serve() -> int:
        before = ask_the_database()
        run_async(wait(), timeout=90)
        return before + ask_the_database()

    acts: list[Callable[[], int]] = [serve] * waiters
    assert do_at_once(acts) == [2] * waiters


def test_a_transaction_that_is_open_goes_on() -> None:
    async def answer() -> str:
        return "here"

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT txid_current()")
        before = cursor.fetchone()
        assert run_async(answer()) == "here"
        cursor.execute("SELECT txid_current()")
        assert cursor.fetchone() == before
