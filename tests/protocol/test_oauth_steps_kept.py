"""What the OAuth doctor keeps of connecting clients: no secret, not much, and for whom."""

from __future__ import annotations

import dataclasses
import json
from uuid import UUID

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.errors import Forbidden, NotFound, Unavailable
from tenants.oauth_addresses import resource
from tenants.oauth_steps import Kind
from tenants.roles import Role
from tenants.services import oauth_steps as kept
from tenants.services.oauth_diagnosis import STATES
from tenants.services.oauth_doctor import find_timeline, list_timelines
from tenants.services.oauth_faults import FAULTS
from tests.factories import make_team
from tests.frontend.visitor import client_of
from tests.oauth.flows import App, make_app
from tests.oauth.program import Program


def test_no_secret_stands_in_a_timeline(program: Program) -> None:
    app = program.app()
    code = program.agree(app)
    tokens = program.token(app, code).json()
    program.ask(tokens["access_token"])
    program.ask(path=f"/mcp/{program.team.slug}?access_token={tokens['access_token']}")
    program.refresh(app, tokens["refresh_token"])
    program.refresh(app, "x", resource=f"{resource(program.team.slug)}?token={tokens['access_token']}")
    program.send("GET", "/.well-known/oauth-protected-resource", params={"token": tokens["access_token"]})
    kept = json.dumps([dataclasses.asdict(each.attempt) for each in program.timelines()], default=str)
    for secret in (code, app.verifier, "the state", *tokens.values()):
        if isinstance(secret, str) and secret not in {"Bearer", tokens["scope"]}:
            assert secret not in kept


def test_only_who_reads_keys_sees_timelines(program: Program) -> None:
    program.connected()
    timeline = program.timeline()
    for role in (Role.EDITOR, Role.VIEWER):
        member = program.team.member(role)
        with pytest.raises(Forbidden):
            list_timelines(caller=member)
    found = find_timeline(UUID(timeline.steps[-1].step.id), caller=program.team.member(Role.ADMIN))
    assert found.id == timeline.id
    with pytest.raises(NotFound):
        find_timeline(UUID(timeline.id), caller=make_team().owner)
    assert list_timelines(caller=make_team().owner) == []


def test_strangers_are_counted_and_push_out_nobody(program: Program) -> None:
    program.connected()
    before = [step.step.id for step in program.timeline().steps if step.step.known]
    for number in range(200):
        Program(program.port, program.team, agent=f"stranger/{number}").send(
            "GET", f"/.well-known/oauth-protected-resource/mcp/{program.team.slug}"
        )
    steps = [step for each in program.timelines() for step in each.attempt.steps]
    assert len(steps) < 100
    assert set(before) <= {step.id for step in steps}


def test_same_step_again_is_one_that_is_counted(program: Program) -> None:
    for _ in range(5):
        program.ask()
    steps = program.timeline().steps
    assert sum(step.step.again + 1 for step in steps) == 5
    assert len(steps) <= 2


def test_api_keys_are_none_of_the_doctors_business(program: Program) -> None:
    program.ask(program.team.key())
    program.ask("mcp_live_nonsense_nonsense")
    assert program.timelines() == []


def test_question_at_the_root_is_of_who_was_challenged(program: Program) -> None:
    other = Program(program.port, make_team())
    program.ask()
    Program(program.port, program.team).send("GET", "/.well-known/oauth-authorization-server")
    assert [step.step.kind for step in program.timeline().steps] == [Kind.CHALLENGE]
    assert other.timelines() == []
    program.send("GET", "/.well-known/oauth-authorization-server")
    assert [step.step.kind for step in program.timeline().steps] == [Kind.CHALLENGE, Kind.MISPLACED]
    assert other.timelines() == []


def test_without_redis_nothing_is_kept_and_who_looks_is_told(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = redis.Redis.from_url("redis://127.0.0.1:9/0", retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(kept, "redis_client", lambda: away)
    assert program.ask().status_code == 401
    with pytest.raises(Unavailable, match="Redis"):
        program.timelines()
    monkeypatch.undo()
    assert program.timelines() == []


def test_every_state_and_fault_has_words() -> None:
    assert len(set(STATES)) == 5
    for code, fault in FAULTS.items():
        assert fault.title
        assert fault.wrong
        assert fault.developer
        assert fault.admin, code


def test_bad_input_is_noted_bounded(program: Program) -> None:
    app = App(program.team, make_app(program.team).row)
    program.send("POST", f"/oauth/{program.team.slug}/token", content=b"\xff\x00" * 30_000)
    program.send("POST", f"/oauth/{program.team.slug}/register", content=b"[" * 20_000)
    program.form(app, scope="x" * 50_000)
    client_of(program.team).get(
        f"/oauth/{program.team.slug}/authorize", {"client_id": "a\x00b", "scope": "\u202e"}
    )
    for timeline in program.timelines():
        for step in timeline.attempt.steps:
            assert len(json.dumps(dataclasses.asdict(step))) < 6_000
            assert "\x00" not in json.dumps(dataclasses.asdict(step))
