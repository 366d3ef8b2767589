"""Sessions of the handshake revisions: any replica serves them, for whom they belong to and nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.local.ports import find_free_port
from servers.endpoint import sessions as sessions_module
from servers.services.runtime import Runtime, get_runtime
from servers.services.servers import create_server
from tests.factories import Team, make_team
from tests.protocol.conftest import ALL_SCOPES, OnLoop
from tests.protocol.streamclient import LegacySession, begin
from tests.protocol.talker import TalkerBackend
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import LEGACY, Answer, Endpoint


def _said(answer: Answer) -> tuple[int, object]:
    return answer.status, {name: answer.error[name] for name in ("code", "message", "data")}


@pytest.mark.parametrize("version", LEGACY)
def test_another_replica_serves_requests_of_a_session(talk: Endpoint, second_port: int, version: str) -> None:
    session = begin(talk, version=version)
    assert session.version == version
    answer = session.on(second_port).request("tools/list")
    assert answer.status == 200
    assert "ask" in {tool["name"] for tool in answer.result["tools"]}


def test_session_id_is_long_random_and_visible_ascii(talk: Endpoint) -> None:
    ids = {begin(talk).id for _ in range(5)}
    assert len(ids) == 5
    assert all(len(each) == 32 and each.isascii() and each.isprintable() for each in ids)


def test_session_is_unknown_to_everybody_else(talk: Endpoint, talkers: Team, second_port: int) -> None:
    session = begin(talk)
    create_server("other", "Other", caller=talkers.owner)
    stranger = make_team()
    others = {
        "another key of the team": replace(session, at=talk.with_key(talkers.key(*ALL_SCOPES))),
        "another server": replace(session, at=talk.at(f"/mcp/{talkers.slug}/other")),
        "another team": replace(
            session, at=Endpoint(talk.port, f"/mcp/{stranger.slug}", stranger.key(*ALL_SCOPES))
        ),
        "unknown": replace(session, id="A" * 32),
        "malformed": replace(session, id="../../etc/passwd"),
        "too long": replace(session, id="A" * 5000),
    }
    ended = begin(talk)
    assert ended.end().status == 204
    others["ended"] = ended
    expected = (404, "session_unknown")
    for port in (talk.port, second_port):
        for who, other in others.items():
            answer = other.on(port).request("tools/list")
            assert (answer.status, answer.error["data"]["code"]) == expected, who
            assert _said(answer) == _said(others["unknown"].request("tools/list")), who
            with other.on(port).listen() as stream:
                assert stream.status == 404, who
            assert other.on(port).end().status == 404, who
    assert session.request("ping").status == 200


def test_delete_ends_the_session_on_every_replica_and_closes_its_streams(
    talk: Endpoint, second_port: int, talker: TalkerBackend
) -> None:
    session = begin(talk)
    elsewhere = session.on(second_port)
    assert elsewhere.request("ping").status == 200
    with (
        session.listen() as here,
        session.call("steps", {"gate": "deleted"}, token=1) as call,
    ):
        assert here.next() is not None
        talker.wait_entered("deleted")
        assert elsewhere.end().status == 204
        assert here.messages() == []
        talker.wait_cancelled("deleted")
        assert all("result" not in message for message in call.messages())
    for one in (session, elsewhere):
        assert one.request("ping").status == 404
        assert one.end().status == 404


def test_stream_ends_though_the_end_of_its_session_was_not_heard(
    talk: Endpoint, quick_checks: None, on_loop: OnLoop
) -> None:
    session = begin(talk)
    with session.listen() as stream:
        assert stream.next() is not None
        on_loop(get_runtime().bus.redis.delete(f"marina:session:{session.id}"))
        assert stream.messages() == []


def test_idle_session_ends(talk: Endpoint, monkeypatch: pytest.MonkeyPatch, on_loop: OnLoop) -> None:
    monkeypatch.setattr(sessions_module, "SESSION_SECONDS", 6)
    monkeypatch.setattr(sessions_module, "HELD_SECONDS", 0.0)
    session = begin(talk)
    assert session.request("ping").status == 200
    key = f"marina:session:{session.id}"

    wait_for(lambda: not on_loop(get_runtime().bus.redis.exists(key)))
    assert session.request("ping").status == 404


def test_session_used_longest_ago_gives_way(
    talk: Endpoint, second_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 2)
    monkeypatch.setattr(sessions_module, "_REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(sessions_module, "HELD_SECONDS", 0.0)
    first, second = begin(talk), begin(talk)
    assert first.request("ping").status == 200
    third = begin(talk)
    statuses = [each.request("ping").status for each in (first, second, third)]
    assert statuses == [200, 404, 200]
    assert second.on(second_port).request("ping").status == 404


def test_log_level_holds_on_every_replica(talk: Endpoint, second_port: int) -> None:
    session = begin(talk)
    elsewhere = session.on(second_port)

    def levels(one: LegacySession) -> list[str]:
        with one.call("say") as stream:
            return [each["params"]["level"] for each in stream.messages() if "method" in each]

    assert levels(elsewhere) == ["info", "warning", "error"]
    assert session.request("logging/setLevel", {"level": "error"}).result == {}
    # The other replicas hear of it in a moment.
    wait_for(lambda: levels(elsewhere) == ["error"])
    assert levels(session) == ["error"]
    assert elsewhere.request("logging/setLevel", {"level": "debug"}).result == {}
    wait_for(lambda: levels(session) == ["debug", "info", "warning", "error"])
    assert session.request("logging/setLevel", {"level": "loud"}).error["code"] == -32602


def test_request_that_names_a_session_needs_no_version_header(talk: Endpoint) -> None:
    session = begin(talk, version="2025-06-18")
    tools = session.request("tools/list", **{"MCP-Protocol-Version": None}).result["tools"]
    assert tools
    assert begin(talk).request("ping", **{"MCP-Protocol-Version": "1999-01-01"}).status == 400


def test_modern_request_ignores_a_session_id(talk: Endpoint) -> None:
    answer = talk.modern("tools/list", headers={"Mcp-Session-Id": "nothing"})
    assert answer.status == 200
    assert "mcp-session-id" not in answer.headers


def test_client_is_served_without_a_session_while_redis_is_away(
    talk: Endpoint, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin(talk)
    monkeypatch.setattr(sessions_module, "HELD_SECONDS", 0.0)
    monkeypatch.setattr(runtime.bus, "redis", Redis.from_url(f"redis://127.0.0.1:{find_free_port()}"))
    for answer in (session.request("ping"), session.end(), session.notify("notifications/initialized")):
        assert answer.status == 503
        assert answer.headers["retry-after"] == "2"
        assert answer.error["data"]["code"] == "sessions_unavailable"
    with session.listen() as stream:
        assert stream.status == 503
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "n", "version": "1"},
    }
    answer = talk.legacy("initialize", hello, version=None)
    assert answer.status == 200
    assert "mcp-session-id" not in answer.headers
    assert talk.legacy("tools/call", {"name": "steps"}).result["isError"] is False
    assert talk.at(f"{talk.path}/sse").send(None, {"Accept": "text/event-stream"}, method="GET").status == 503


def test_change_of_a_session_writes_nothing_else_and_counts_only_when_it_was_written(
    talk: Endpoint, runtime: Runtime, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = sessions_module.Sessions(runtime.bus)
    session = begin(talk)
    raw = on_loop(runtime.bus.redis.hgetall(f"marina:session:{session.id}"))
    old = sessions_module._read(session.id, raw)
    assert old is not None
    assert session.request("logging/setLevel", {"level": "error"}).result == {}
    on_loop(sessions.change(old, version="2025-06-18"))
    raw = on_loop(runtime.bus.redis.hgetall(f"marina:session:{session.id}"))
    assert (raw[b"log_level"], raw[b"version"]) == (b"error", b"2025-06-18")
    monkeypatch.setattr(runtime.bus, "redis", Redis.from_url(f"redis://127.0.0.1:{find_free_port()}"))
    with pytest.raises(RedisError):
        on_loop(sessions.change(old, log_level="debug"))
    assert old.log_level == "info"


def test_what_is_said_of_an_ended_session_brings_no_half_of_it_back(
    talk: Endpoint, runtime: Runtime, on_loop: OnLoop
) -> None:
    ended = begin(talk)
    assert ended.end().status == 204

    async def say() -> list[bytes]:
        sessions = sessions_module.Sessions(runtime.bus)
        session = sessions_module.Session(
            id=ended.id, tenant_id=1, server="default", principal="p", version="2025-11-25"
        )
        await sessions.remember_lists(session, {"tools": "a", "prompts": "b"})
        assert not await sessions.subscribe(session, "talk://plain", most=10)
        await sessions.change(session, log_level="error")
        found: list[bytes] = await runtime.bus.redis.keys(f"*{ended.id}*")
        return found

    assert on_loop(say()) == []
