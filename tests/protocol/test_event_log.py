"""What is kept of a session's streams is bounded in bytes, and nobody misses unawares what is not kept."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from servers.endpoint import events
from servers.endpoint.events import STANDALONE, EventLog, new_stream
from servers.endpoint.sessions import Session
from servers.services.runtime import Runtime
from tests.protocol.conftest import OnLoop
from tests.protocol.streamclient import begin
from tests.protocol.wireclient import Endpoint


def _session() -> Session:
    return _session_of(secrets.randbelow(2**40) + 2**40)


def _session_of(tenant_id: int) -> Session:
    return Session(secrets.token_hex(16), tenant_id, "default", "p", "2025-11-25")


def _log(runtime: Runtime, session: Session | None = None, stream: str = "", **more: Any) -> EventLog:
    more.setdefault("request", b"7")
    return EventLog(runtime.bus.redis, session or _session(), stream or new_stream(), **more)


def test_oldest_events_of_a_stream_give_way_and_who_missed_them_is_told(
    runtime: Runtime, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "STREAM_BYTES", 1_000)

    async def use() -> None:
        log = _log(runtime)
        ids = [await log.add(b"x" * 300, hint=False) for _ in range(5)]
        kept = await log.after(log.first_id)
        assert [event.id for event in kept] == ids[-3:]
        assert [event.missing for event in kept] == [True, False, False]
        assert (await log.after(ids[0]))[0].missing
        assert not (await log.after(ids[1]))[0].missing
        assert (await log.state()).request == b"7"

    on_loop(use())


def test_answer_that_is_too_large_is_an_error_for_who_comes_back(runtime: Runtime, on_loop: OnLoop) -> None:
    async def use() -> None:
        log = _log(runtime)
        await log.add(b"{}", hint=False)
        await log.add(b"x" * (events.EVENT_BYTES + 1), last=True, hint=False)
        first, answer = await log.after(log.first_id)
        assert not first.missing
        assert answer.last
        assert b'"id":7' in answer.data
        assert b"answer_not_kept" in answer.data
        away = _log(runtime)
        await away.add(b"x" * (events.EVENT_BYTES + 1), last=True, hint=True, away=True)
        assert len((await away.after(away.first_id))[0].data) == events.EVENT_BYTES + 1

    on_loop(use())


def test_session_and_team_have_a_budget_for_all_their_streams(
    runtime: Runtime, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SESSION_BYTES", 1_000)
    monkeypatch.setattr(events, "TEAM_BYTES", 1_750)

    async def use() -> None:
        session = _session()
        for fits in (True, True, True, False):
            log = _log(runtime, session)
            await log.add(b"x" * 300, last=True, hint=False)
            (event,) = await log.after(log.first_id)
            assert (event.data == b"x" * 300) is fits
        beside = _session()
        beside.tenant_id = session.tenant_id
        for fits in (True, False):
            log = _log(runtime, beside)
            await log.add(b"x" * 300, hint=False)
            (event,) = await log.after(log.first_id)
            assert (event.data == b"x" * 300) is fits
            assert event.missing is not fits

    on_loop(use())


def test_stream_that_is_a_transport_keeps_what_was_not_delivered_up_to_its_budget(
    runtime: Runtime, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TRANSPORT_BYTES", 1_000)
    monkeypatch.setattr(events, "EVENT_BYTES", 10)

    async def use() -> None:
        log = _log(runtime, stream=STANDALONE, request=b"", transport=True)
        ids = [await log.add(b"x" * 400, hint=False, instead=b"no room") for _ in range(3)]
        found = await log.after(log.first_id)
        assert [event.data[:7] for event in found] == [b"xxxxxxx", b"xxxxxxx", b"no room"]
        await log.forget(ids[1])
        await log.add(b"x" * 900, hint=False, instead=b"no room")
        found = await log.after(log.first_id)
        assert [event.data[:7] for event in found] == [b"no room", b"xxxxxxx"]
        assert not any(event.missing for event in found)

    on_loop(use())


def test_streams_that_are_transports_share_what_may_wait_for_a_team(
    runtime: Runtime, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TEAM_BYTES", 1_000)
    monkeypatch.setattr(events, "PROMPT_BYTES", 100)

    async def use() -> None:
        one, foreign = _session(), _session()
        two = _session_of(one.tenant_id)
        first, second, elsewhere = (
            _log(runtime, session, STANDALONE, request=b"", transport=True) for session in (one, two, foreign)
        )

        async def say(log: EventLog, size: int) -> bool:
            added = await log.add(b"x" * size, hint=False, instead=b"no room")
            (event,) = [each for each in await log.after(log.first_id) if each.id == added]
            return event.data != b"no room"

        assert await say(first, 600)
        assert not await say(second, 600)
        assert await say(second, 300)
        # Who keeps up is in nobody's way, and nobody is in theirs.
        third = _log(runtime, _session_of(one.tenant_id), STANDALONE, request=b"", transport=True)
        for _ in range(20):
            await third.forget(await third.add(b"x" * 90, hint=False))
        assert not await say(first, 200)
        assert await say(elsewhere, 900)
        # What was delivered, and what ended, makes room.
        await first.forget((await first.state()).newest)
        assert await say(second, 500)
        await runtime.bus.redis.delete(*second._keys)
        assert await say(first, 900)

    on_loop(use())


def test_many_events_are_read_in_pages(runtime: Runtime, on_loop: OnLoop) -> None:
    async def use() -> None:
        log = _log(runtime)
        ids = [await log.add(b"{}", hint=False) for _ in range(events.PAGE_EVENTS + 1)]
        page = await log.after(log.first_id)
        assert [event.id for event in page] == ids[:-1]
        assert [event.id for event in await log.after(page[-1].id)] == ids[-1:]

    on_loop(use())


def test_answered_request_never_looks_lost(runtime: Runtime, on_loop: OnLoop) -> None:
    async def use() -> None:
        session, stream = _session(), new_stream()
        log, reader = _log(runtime, session, stream), _log(runtime, session, stream, request=b"")
        await log.add(b"{}", hint=False)
        over = False

        async def look() -> None:
            while not over:
                state = await reader.state()
                assert state.served or state.over

        looking = asyncio.ensure_future(look())
        for _ in range(20):
            await log.hold()
            await asyncio.sleep(0)
        await log.add(b"{}", last=True, hint=False)
        await asyncio.sleep(0)
        over = True
        await looking
        state = await reader.state()
        assert (state.kept, state.served, state.over) == (True, False, True)

    on_loop(use())


def test_client_that_comes_back_is_told_what_is_not_kept(
    talk: Endpoint, second_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "STREAM_BYTES", 150)
    monkeypatch.setattr(events, "EVENT_BYTES", 130)
    session = begin(talk)
    with session.call("steps", {"count": 3}, token=1, rpc_id="large") as stream:
        first = stream.next()
        assert "result" in stream.messages()[-1]
    assert first is not None
    with session.on(second_port).listen(first.id) as resumed:
        messages = resumed.messages()
    assert messages[0]["method"] == "notifications/message"
    assert messages[-1]["id"] == "large"
    assert messages[-1]["error"]["data"]["code"] == "answer_not_kept"
