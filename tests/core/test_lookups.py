"""A resolver that does not answer holds up look-ups of its kind alone, and those only until they are too many."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from core import fetching
from core.fetching import FetchRefused, fetch_document
from core.lookups import Crowded, Lookups
from core.outbound import AddressRule, Denied, Unresolved, resolve

SLOW = "slow.invalid"


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """One name is not answered until the event is set; all others are asked as ever."""
    over, ask = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == SLOW:
            over.wait(100)
            raise socket.gaierror
        return ask(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield over
    over.set()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Lookups:
    lookups = Lookups("few", threads=2, waiting=1)
    monkeypatch.setattr(fetching, "OF_STRANGERS", lookups)
    return lookups


@pytest.mark.anyio
async def test_names_that_are_not_answered_hold_up_no_other_work(silent: threading.Event) -> None:
    stuck = [
        asyncio.create_task(
            fetch_document(f"https://{SLOW}/{number}.json", rule=AddressRule(), seconds=100, most_bytes=1_000)
        )
        for number in range(40)
    ]
    async with asyncio.timeout(60):
        refused = await asyncio.gather(*stuck[16:], return_exceptions=True)
        # The loop's own threads, and those of data sources, are free.
        assert await asyncio.gather(*(asyncio.to_thread(lambda: 1) for _ in range(40))) == [1] * 40
        with pytest.raises(Denied):
            await resolve("localhost", 443, allow=AddressRule().allows)
    assert all("too many" in str(error) for error in refused)
    silent.set()
    await asyncio.gather(*stuck, return_exceptions=True)


@pytest.mark.anyio
async def test_who_gave_up_waiting_gives_no_place_back_before_the_thread_is_free(
    silent: threading.Event, few: Lookups
) -> None:
    for _ in range(2):
        with pytest.raises(FetchRefused, match="did not answer"):
            # Long enough for the thread to have begun: a look-up that has not is taken back.
            await fetch_document(f"https://{SLOW}/c.json", rule=AddressRule(), seconds=0.5, most_bytes=1)
    waiting = asyncio.create_task(few.addresses("localhost", 443))
    await asyncio.sleep(0)
    with pytest.raises(Crowded):
        await few.addresses("localhost", 443)
    silent.set()
    assert await asyncio.wait_for(waiting, 60)
    assert await few.addresses("127.0.0.1", 443) == ["127.0.0.1"]
    with pytest.raises(Unresolved):
        await resolve(SLOW, 443, allow=lambda address: True, lookups=few)
