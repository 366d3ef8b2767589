"""Conversations between processes, over the real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from django.conf import settings

from core import talks as module
from core.bus import Bus
from core.talks import Busy, HungUp, Talk, Talks

pytestmark = pytest.mark.anyio


@pytest.fixture
async def two(database: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Talks, Talks]]:
    # A Redis that has to wait for a processor is not away; and what is noticed is noticed by more than a silence.
    monkeypatch.setattr("core.bus.SUBSCRIBE_SECONDS", 60.0)
    monkeypatch.setattr("core.bus._COMMAND_SECONDS", 60.0)
    monkeypatch.setattr(module, "SILENT_SECONDS", 600.0)
    buses = Bus(settings.ENV.redis_url), Bus(settings.ENV.redis_url)
    made = Talks(buses[0]), Talks(buses[1])
    for bus in buses:
        bus.start()
    # Each has to be heard before the other one may talk to it.
    for bus, one in zip(buses, made, strict=True):
        await bus.subscribe(f"marina:talks:{one.name}", lambda _: None, lambda: None)
    yield made
    for one in made:
        await one.close()
    for bus in buses:
        await bus.close()


async def _echo(talk: Talk) -> None:
    while True:
        message = await talk.hear()
        if message == {"enough": True}:
            return
        await talk.say({"again": message})


async def test_each_hears_what_the_other_says_in_its_order(two: tuple[Talks, Talks]) -> None:
    one, other = two
    other.answer("echo", _echo)
    async with one.begin(other.name, "echo", {"n": 0}) as talk:
        for number in range(1, 50):
            await talk.say({"n": number})
        assert [await talk.hear() for _ in range(50)] == [{"again": {"n": n}} for n in range(50)]
        await talk.say({"enough": True})
        with pytest.raises(HungUp):
            await talk.hear()


async def test_who_is_not_there_is_noticed_at_once(two: tuple[Talks, Talks]) -> None:
    with pytest.raises(HungUp):
        async with in_time(), two[0].begin("nobody", "echo", {}):
            pass


async def test_a_subject_that_nobody_answers_ends_in_silence(
    two: tuple[Talks, Talks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.3)
    async with two[0].begin(two[1].name, "unknown", {}) as talk:
        with pytest.raises(HungUp):
            await talk.hear()


async def test_who_leaves_is_noticed(two: tuple[Talks, Talks]) -> None:
    one, other = two
    left = asyncio.Event()

    async def wait(talk: Talk) -> None:
        try:
            await talk.hear()
            await talk.hear()
        except HungUp:
            left.set()
            raise

    other.answer("wait", wait)
    async with one.begin(other.name, "wait", {}):
        await asyncio.sleep(0.1)
        assert not left.is_set()
    async with in_time():
        await left.wait()


async def test_a_conversation_lasts_while_both_are_there_though_nothing_is_said(
    two: tuple[Talks, Talks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    # Longer than this machine ever stands still.
    monkeypatch.setattr(module, "SILENT_SECONDS", 8.0)
    one, other = two

    async def slowly(talk: Talk) -> None:
        await talk.hear()
        await asyncio.sleep(9)
        await talk.say({"late": True})

    other.answer("slowly", slowly)
    async with one.begin(other.name, "slowly", {}) as talk:
        assert await talk.hear() == {"late": True}


async def test_who_dies_in_the_middle_is_noticed(
    two: tuple[Talks, Talks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.5)
    one, other = two

    async def hold(talk: Talk) -> None:
        await talk.hear()
        # As one that was killed: nothing is said any more.
        talk._beating.cancel()
        await asyncio.sleep(600)

    other.answer("hold", hold)
    async with one.begin(other.name, "hold", {}) as talk:
        with pytest.raises(HungUp):
            async with asyncio.timeout(60):
                await talk.hear()


async def test_a_message_that_is_lost_ends_the_conversation(two: tuple[Talks, Talks]) -> None:
    one, other = two
    other.answer("echo", _echo)
    async with one.begin(other.name, "echo", {"n": 0}) as talk:
        assert await talk.hear() == {"again": {"n": 0}}
        talk._said += 1  # as one that Redis did not carry
        await talk.say({"n": 2})
        async with in_time():
            with pytest.raises(HungUp):
                await talk.hear()


async def test_one_that_fails_harms_no_other(
    two: tuple[Talks, Talks], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = two

    async def fail(talk: Talk) -> None:
        raise ValueError

    other.answer("fail", fail)
    other.answer("echo", _echo)
    async with one.begin(other.name, "fail", {}) as talk:
        with pytest.raises(HungUp):
            await talk.hear()
    async with one.begin(other.name, "echo", {"n": 1}) as talk:
        assert await talk.hear() == {"again": {"n": 1}}
    assert "failed" in caplog.text


def in_time() -> asyncio.Timeout:
    return asyncio.timeout(60)


async def test_what_is_large_crosses_beside_the_bus_and_sealed(two: tuple[Talks, Talks]) -> None:
    one, other = two
    other.answer("echo", _echo)
    words = "a secret word " * 600_000
    sizes: list[int] = []
    kept: list[bytes] = []
    bus = Bus(settings.ENV.redis_url)
    bus.start()

    def hear(content: bytes) -> None:
        sizes.append(len(content))

    await bus.subscribe(f"marina:talks:{other.name}", hear, lambda: None)
    async with one.begin(other.name, "echo", {"n": 0}) as talk:
        await talk.hear()
        await talk.say({"n": 1})
        await talk.say({"n": 2, "words": words})
        await talk.say({"n": 3})
        said = [await talk.hear() for _ in range(3)]
        assert said == [{"again": each} for each in ({"n": 1}, {"n": 2, "words": words}, {"n": 3})]
        assert max(sizes) < 1_000
        talk._peer, peer = "nobody-hears", talk._peer
        with pytest.raises(HungUp):
            await talk.say({"words": words})
        talk._peer = peer
        (key,) = [key async for key in bus.redis.scan_iter(f"marina:talk:{talk.id}:*")]
        kept.append(await bus.redis.get(key))
        assert 0 < await bus.redis.ttl(key) <= module.BESIDE_SECONDS
        await bus.redis.delete(key)
    assert b"secret word" not in kept[0]
    await bus.close()


async def test_what_lies_beside_no_more_ends_the_conversation(two: tuple[Talks, Talks]) -> None:
    one, other = two
    other.answer("echo", _echo)
    bus = Bus(settings.ENV.redis_url)
    async with one.begin(other.name, "echo", {"n": 0}) as talk:
        await talk.hear()
        await talk.say({"words": "x" * module.LARGE})
        # Its answer is there, and is large, too.
        async with in_time():
            while not await bus.redis.exists(f"marina:talk:{talk.id}:{other.name}:2"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async for key in bus.redis.scan_iter(f"marina:talk:{talk.id}:*"):
            await bus.redis.delete(key)
        async with in_time():
            with pytest.raises(HungUp):
                await talk.hear()
    await bus.close()


async def test_who_has_too_many_says_that_it_is_busy(
    two: tuple[Talks, Talks], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    other.answer("echo", _echo)
    async with one.begin(other.name, "echo", {"n": 0}) as first:
        assert await first.hear() == {"again": {"n": 0}}
        monkeypatch.setattr(module, "MAX_TALKS", 1)
        async with in_time(), one.begin(other.name, "echo", {"n": 1}) as second:
            with pytest.raises(Busy):
                await second.hear()
        await first.say({"n": 2})
        assert await first.hear() == {"again": {"n": 2}}
        monkeypatch.setattr(module, "MAX_TALKS", 2)
        async with one.begin(other.name, "echo", {"n": 3}) as third:
            assert await third.hear() == {"again": {"n": 3}}
