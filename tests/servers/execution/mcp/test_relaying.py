"""Calls that wait in one process, and whose answers come to another: two engines, which talk over the real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from django.conf import settings

from core import talks
from core.bus import Bus
from core.errors import SourceError
from core.outbound import AddressRule, parse_networks
from core.talks import Talks
from servers.execution.contract import InputRequired
from servers.execution.engine import Engine
from tests.marina.harbour import Harbour
from tests.servers.execution.mcp.conftest import Ask
from tests.servers.execution.mcp.test_asking import OfModern, answer_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:The logging capability is deprecated"),
]
LOOPBACK = AddressRule(parse_networks(["127.0.0.0/8"])).allows


@pytest.fixture
async def processes(database: None) -> AsyncIterator[tuple[Ask, Ask]]:
    """Two of them, which have the same sources."""
    buses = Bus(settings.ENV.redis_url), Bus(settings.ENV.redis_url)
    talks = [Talks(bus) for bus in buses]
    engines = [Engine(allow_address=LOOPBACK, talks=each) for each in talks]
    for bus, each in zip(buses, talks, strict=True):
        bus.start()
        await bus.subscribe(f"marina:talks:{each.name}", lambda _: None, lambda: None)
    one = Ask(engines[0])
    yield one, Ask(engines[1], one.sources)
    for each in talks:
        await each.close()
    for engine in engines:
        await engine.close()
    for bus in buses:
        await bus.close()


async def test_answers_find_the_call_in_whatever_process_holds_it(
    processes: tuple[Ask, Ask], legacy_yard: Harbour
) -> None:
    one, other = processes
    with pytest.raises(InputRequired) as first:
        await one.call(legacy_yard.url, "ask_twice", client=OfModern())
    answers = {key: answer_of(ask) for key, ask in first.value.asks.items()}
    with pytest.raises(InputRequired) as second:
        await other.call(
            legacy_yard.url, "ask_twice", client=OfModern(answers=answers, kept=first.value.kept)
        )
    answers |= {key: answer_of(ask) for key, ask in second.value.asks.items()}
    client = OfModern(answers=answers, kept=second.value.kept)
    assert (await other.call(legacy_yard.url, "ask_twice", client=client)).text == "Ann and Ben"
    assert len(legacy_yard.of("tools/call")) == 1


async def _asked(ask: Ask, url: str, tool: str) -> OfModern:
    """The client with its answers, after it was asked."""
    with pytest.raises(InputRequired) as required:
        await ask.call(url, tool, client=OfModern())
    answers = {key: answer_of(asked) for key, asked in required.value.asks.items()}
    return OfModern(answers=answers, kept=required.value.kept)


async def test_progress_and_messages_come_to_where_the_client_is(
    processes: tuple[Ask, Ask], legacy_yard: Harbour
) -> None:
    one, other = processes
    client = await _asked(one, legacy_yard.url, "ask_and_sail")
    assert (await other.call(legacy_yard.url, "ask_and_sail", client=client)).text == "Ann arrived"
    assert client.told == [("info", "land in sight"), (1.0, 3.0, "mile 1")]


async def test_who_leaves_at_one_process_ends_the_call_at_the_other(
    processes: tuple[Ask, Ask], legacy_yard: Harbour
) -> None:
    one, other = processes
    client = await _asked(one, legacy_yard.url, "ask_and_moor")
    calling = asyncio.create_task(other.call(legacy_yard.url, "ask_and_moor", client=client))
    assert await asyncio.to_thread(legacy_yard.waiting.wait, 60)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert await asyncio.to_thread(legacy_yard.cancelled.wait, 60)


async def test_the_deadline_is_that_of_the_request_with_the_answers(
    processes: tuple[Ask, Ask], legacy_yard: Harbour
) -> None:
    one, other = processes
    client = await _asked(one, legacy_yard.url, "ask_and_moor")
    with pytest.raises(SourceError) as caught:
        await other.call(legacy_yard.url, "ask_and_moor", client=client, timeout=5)
    assert caught.value.code == "source_timeout"
    assert await asyncio.to_thread(legacy_yard.cancelled.wait, 60)


async def test_what_the_client_refuses_reaches_the_upstream(
    processes: tuple[Ask, Ask], legacy_yard: Harbour
) -> None:
    one, other = processes
    client = await _asked(one, legacy_yard.url, "ask_and_sail")
    client.answers = {key: {"action": "decline"} for key in client.answers}
    outcome = await other.call(legacy_yard.url, "ask_and_sail", client=client)
    assert outcome.failed
    assert "nobody sails" in outcome.text


async def test_a_client_that_gives_only_some_answers_is_asked_again(
    processes: tuple[Ask, Ask], legacy_yard: Harbour
) -> None:
    one, other = processes
    client = await _asked(one, legacy_yard.url, "ask_and_sail")
    with pytest.raises(InputRequired):
        await other.call(legacy_yard.url, "ask_and_sail", client=OfModern(kept=client.kept))
    # Whoever was not answered in full is put back when it hears that the other one is gone.
    async with asyncio.timeout(60):
        while not _held_by(one):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (await other.call(legacy_yard.url, "ask_and_sail", client=client)).text == "Ann arrived"


async def test_nobody_finds_the_call_of_another_caller_or_source(
    processes: tuple[Ask, Ask], legacy_yard: Harbour
) -> None:
    one, other = processes
    client = await _asked(one, legacy_yard.url, "ask_and_sail")
    stranger = OfModern("key:2", answers=client.answers, kept=client.kept)
    for url, asking in ((legacy_yard.url, stranger), (f"{legacy_yard.url}?other", client)):
        with pytest.raises(SourceError) as caught:
            await other.call(url, "ask_and_sail", client=asking)
        assert caught.value.code == "call_lost"
    assert (await other.call(legacy_yard.url, "ask_and_sail", client=client)).text == "Ann arrived"


async def test_a_call_whose_process_ended_is_lost_at_once(
    processes: tuple[Ask, Ask], legacy_yard: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not after the time in which a process that is there says something.
    monkeypatch.setattr(talks, "SILENT_SECONDS", 100.0)
    one, other = processes
    client = await _asked(one, legacy_yard.url, "ask_and_sail")
    client.kept = client.kept.replace('"in":"', '"in":"0')
    with pytest.raises(SourceError) as caught:
        async with asyncio.timeout(15):
            await other.call(legacy_yard.url, "ask_and_sail", client=client)
    assert caught.value.code == "call_lost"


async def test_a_process_with_too_much_to_do_says_so_and_the_call_waits_on(
    processes: tuple[Ask, Ask], legacy_yard: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = processes
    client = await _asked(one, legacy_yard.url, "ask_and_sail")
    with monkeypatch.context() as patched:
        patched.setattr(talks, "MAX_TALKS", 0)
        patched.setattr(talks, "SILENT_SECONDS", 100.0)
        with pytest.raises(SourceError) as caught:
            async with asyncio.timeout(15):
                await other.call(legacy_yard.url, "ask_and_sail", client=client)
    assert (caught.value.code, caught.value.retryable) == ("source_busy", True)
    assert (await other.call(legacy_yard.url, "ask_and_sail", client=client)).text == "Ann arrived"


def _held_by(ask: Ask) -> int:
    return sum(len(upstream.holding) for upstream in ask.backend.upstreams._kept.values())
