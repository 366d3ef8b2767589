"""What the row of a task holds sealed comes back as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from uuid import uuid4

import pytest

from core.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MarinaError,
    NotFound,
    RateLimited,
    SourceError,
    TooLarge,
    TooSlow,
    Unauthenticated,
    Unavailable,
)
from servers.execution.contract import Ask, Trace
from servers.services.tasks.payload import Answers, Ended, Work, error_from_json, error_to_json
from tenants.access import Caller
from tenants.roles import Action, Role

MOMENT = datetime(2026, 11, 22, 1, 2, 3, 456789, tzinfo=UTC)

CALLERS = {
    "a member": Caller(1, "acme", "user:a@example.com", user_id=7, role=Role.EDITOR, access_ends_at=MOMENT),
    "a key": Caller(
        1,
        "acme",
        "key:k (mcp_live_x)",
        credential_id=uuid4(),
        scopes=frozenset({"tools:execute", "tool:x"}),
        expires_at=MOMENT,
        actions=frozenset({Action.TOOLS_CALL}),
        bound="Its maker is a viewer",
        networks=(ip_network("10.0.0.0/8"), ip_network("::1/128")),
    ),
    "an app": Caller(
        1, "acme", "client:c", user_id=3, credential_id=uuid4(), principal="client:c:3", audience="default"
    ),
    "an outsider": Caller(1, "acme", "issuer:i:s", credential_id=uuid4(), issuer_id=uuid4()),
    "anybody": Caller(1, "acme", "anonymous (203.0.113.9)", scopes=frozenset({"tools:execute"})),
}


@pytest.mark.parametrize("who", CALLERS)
def test_work_comes_back_as_it_was(who: str) -> None:
    work = Work(
        caller=CALLERS[who],
        server="default",
        tool="t",
        version=3,
        arguments={"a": [1, {"b": None}], "ü": "\u2028"},
        client="c 1",
        request_id="r",
        trace=Trace("0" * 32, {"traceparent": "x"}),
        capabilities={"elicitation": {}},
        log_level="info",
    )
    assert Work.from_bytes(work.to_bytes()) == work


def test_what_a_run_came_to_comes_back_as_it_was() -> None:
    asking = Ended("input_required", "input_required", asks={"a": Ask("roots/list", {})}, kept="k")
    assert Ended.from_bytes(asking.to_bytes()) == asking
    given = Ended(
        "ok", "completed", structured={"x": 1}, text="t", content=[{"type": "text"}], rows=1, size=3
    )
    back = Ended.from_bytes(given.to_bytes())
    assert back == given
    assert back.produced is not None
    assert back.raised() is None
    answers = Answers(given={"a": {"action": "accept"}}, kept="k", used=["a"], names={"b": "a"})
    assert Answers.from_bytes(answers.to_bytes()) == answers


@pytest.mark.parametrize(
    "error",
    [
        MarinaError("m", code="c", data={"a": 1}, retryable=True),
        InvalidInput("m", errors=[{"path": "p", "message": "x"}], code="c"),
        Unauthenticated("m", code="c"),
        Forbidden("m", rule="scope:x", code="c", data={"needed_scopes": ["x"]}),
        NotFound("m", code="c"),
        Conflict("m"),
        TooSlow("m"),
        TooLarge("m"),
        RateLimited("m", retry_after=7, rule="r"),
        Unavailable("m", data={"a": 1}),
        SourceError("m", code="source_timeout", retryable=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_raised_again_as_it_was(error: MarinaError) -> None:
    again = error_from_json(error_to_json(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert again.message == error.message
    assert again.status == error.status


def test_a_kind_of_error_that_only_this_process_knows_is_told_as_the_one_that_all_know() -> None:
    class Own(NotFound):
        """Known here only."""

    assert type(error_from_json(error_to_json(Own("m", code="own")))) is NotFound


def test_of_a_call_that_no_schedule_made_nothing_is_said_of_one() -> None:
    made = Work(Caller(1, "team", actor="a"), "default", "t", 1, {}, "", "", None, {}, None)
    assert b"schedule" not in made.to_bytes()
    assert Work.from_bytes(made.to_bytes()) == made
    scheduled = replace(made, schedule="6f1c1c9e-0000-4000-8000-000000000000")
    assert Work.from_bytes(scheduled.to_bytes()) == scheduled
