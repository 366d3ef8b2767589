"""How many calls may wait for their clients' answers at one upstream: so many that others still find a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from core.errors import SourceError
from servers.execution.backends.mcp.held import MAX_HELD, MAX_HELD_EACH, MAX_HELD_STRANGERS
from servers.execution.contract import Ask as Question
from servers.execution.contract import InputRequired, Operation
from tests.farside import FarSide
from tests.servers.execution.mcp.conftest import Ask
from tests.servers.execution.mcp.test_asking import Answers, OfLegacy, OfModern, answer_of
from tests.servers.execution.mcp.test_replicas import until_it_is
from tests.servers.execution.mcp.test_untaken import Curious

pytestmark = pytest.mark.anyio


@pytest.fixture
def curious(side: FarSide) -> Curious:
    return Curious(side, aside={"prompts/get": {"messages": []}})


async def asked_of(ask: Ask, url: str, who: str) -> OfModern:
    """A client whose call waits for it."""
    with pytest.raises(InputRequired) as asked:
        await ask.call(url, "any", client=OfModern(who))
    answers = {key: answer_of(each) for key, each in asked.value.asks.items()}
    return OfModern(who, answers=answers, kept=asked.value.kept)


async def busy(ask: Ask, url: str, who: str) -> str:
    with pytest.raises(SourceError) as caught:
        await ask.call(url, "any", client=OfModern(who))
    assert (caught.value.code, caught.value.retryable) == ("source_busy", True)
    return caught.value.message


async def test_one_caller_has_some_and_no_others_place(ask: Ask, curious: Curious) -> None:
    waiting = [await asked_of(ask, curious.url, "key:1") for _ in range(MAX_HELD_EACH)]
    assert "Too many calls of yours wait" in await busy(ask, curious.url, "key:1")
    await asked_of(ask, curious.url, "key:2")
    # Whoever answers has a place again.
    assert not (await ask.call(curious.url, "any", client=waiting[0])).failed
    await ask.backend.upstreams.close()
    assert "notifications/cancelled" in curious.told


async def test_strangers_share_what_they_have(ask: Ask, curious: Curious) -> None:
    for _ in range(MAX_HELD_STRANGERS):
        await asked_of(ask, curious.url, "")
    assert "without a credential" in await busy(ask, curious.url, "")
    await asked_of(ask, curious.url, "key:1")


async def test_all_together_leave_connections_to_others(ask: Ask, curious: Curious) -> None:
    for number in range(MAX_HELD):
        await asked_of(ask, curious.url, f"key:{number % 6}")
    assert "Too many calls of this data source" in await busy(ask, curious.url, "key:7")
    greets = [
        ask.run(curious.url, Operation("prompt", {"name": "greet"}), {}, timeout=30, client=OfModern("key:8"))
        for _ in range(8)
    ]
    assert all(each.content == [] for each in await asyncio.gather(*greets))


def waiting_at(ask: Ask) -> int:
    return sum(each.holding._waiting.total() for each in ask.backend.upstreams._kept.values())


class Slow(OfLegacy):
    """Takes its time to answer while the call goes on."""

    answers = asyncio.Event()

    async def ask(self, asks: Mapping[str, Question], *, keep: str = "") -> Answers:
        await self.answers.wait()
        return await super().ask(asks, keep=keep)


async def test_clients_that_are_asked_while_the_call_goes_on_count_too(ask: Ask, curious: Curious) -> None:
    Slow.answers = asyncio.Event()
    calls = [
        asyncio.create_task(ask.call(curious.url, "any", client=Slow("key:1"))) for _ in range(MAX_HELD_EACH)
    ]
    await until_it_is(lambda: waiting_at(ask) == MAX_HELD_EACH)
    assert "Too many calls of yours wait" in await busy(ask, curious.url, "key:1")
    Slow.answers.set()
    assert not any(each.failed for each in await asyncio.gather(*calls))
    assert waiting_at(ask) == 0
