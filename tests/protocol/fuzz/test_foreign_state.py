"""What a server gave to one caller is worth nothing to another, changed, or late: sealed states and sessions."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from servers.endpoint import questions
from servers.endpoint.questions import Retries, bound_to
from servers.services.runtime import get_runtime
from tenants.access import Caller
from tests.factories import Team
from tests.plugins.live_marina import LiveMarina
from tests.protocol.fuzz.conftest import SCOPES, furnished_team
from tests.protocol.fuzz.judge import Secrets, check
from tests.protocol.fuzz.wire import Answer, Request, Target

TOOL = "test_input_required_result_request_state"
OTHER_TOOL = "test_input_required_result_elicitation"
CAPABLE: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
CONFIRMED = {"confirm": {"action": "accept", "content": {"ok": True}}}


def post(target: Target, request: Request) -> Answer:
    with target.connect() as connection:
        answer = connection.post(target, request)
    check(request, answer, Secrets(target.key))
    return answer


def call(target: Target, state: Any = None, tool: str = TOOL, **more: Any) -> Answer:
    params = {"name": tool, "arguments": {}, **more}
    if state is not None:
        params.update(requestState=state, inputResponses=CONFIRMED)
    return post(target, target.modern("tools/call", params, **CAPABLE))


@pytest.fixture(scope="module")
def state(target: Target) -> str:
    result = call(target).json["result"]
    assert result["resultType"] == "input_required"
    sealed: str = result["requestState"]
    return sealed


def flipped(state: str, at: int) -> str:
    raw = bytearray(base64.urlsafe_b64decode(state))
    raw[at] ^= 1
    return base64.urlsafe_b64encode(raw).decode()


def refused(answer: Answer) -> None:
    assert (answer.status, answer.error["code"]) == (400, -32602)
    assert answer.error["data"]["code"] == "request_state_invalid"


def test_state_is_taken_where_it_belongs(target: Target, state: str) -> None:
    assert call(target, state).json["result"]["resultType"] == "complete"


def test_each_changed_bit_makes_a_state_worthless(target: Target, state: str) -> None:
    size = len(base64.urlsafe_b64decode(state))
    answers = [call(target, flipped(state, at)) for at in range(size)]
    answers += [call(target, state[:cut]) for cut in range(0, len(state), 7)]
    answers += [
        call(target, changed) for changed in (state + "A", state * 2, "=", "x", "\u00e9", "A" * 1_000_000)
    ]
    for answer in answers:
        refused(answer)
    assert len({answer.error["message"] for answer in answers}) == 1


def test_state_of_another_call_is_refused(target: Target, state: str) -> None:
    refused(call(target, state, tool=OTHER_TOOL))
    refused(call(target, state, arguments={"other": 1}))
    refused(call(target, state, tool="test_simple_text"))
    prompt = target.modern("prompts/get", {"name": "test_simple_prompt", "requestState": state}, **CAPABLE)
    refused(post(target, prompt))
    read = target.modern("resources/read", {"uri": "test://static-text", "requestState": state}, **CAPABLE)
    refused(post(target, read))


def test_state_of_another_caller_is_refused(
    web: LiveMarina, target: Target, shared_team: Team, state: str
) -> None:
    refused(call(replace(target, key=shared_team.key(*SCOPES)), state))
    other = furnished_team(web)
    refused(call(Target(target.port, other.slug, other.key(*SCOPES)), state))


@pytest.mark.parametrize("age", [-1, 1], ids=["over", "not yet over"])
def test_state_ends_after_its_time(
    target: Target, shared_team: Team, monkeypatch: pytest.MonkeyPatch, age: int
) -> None:
    # Sealed by this process with the same master key, to be over a minute ago, or in a minute.
    monkeypatch.setattr(questions, "STATE_SECONDS", 60 * age)
    bound = bound_to(
        tenant_id=shared_team.tenant_id,
        server="default",
        principal=principal(target, shared_team),
        method="tools/call",
        target=TOOL,
        arguments={},
    )
    sealed = Retries(get_runtime().sealer, bound_to=bound, params={})._seal()
    monkeypatch.undo()
    answer = call(target, sealed)
    if age < 0:
        refused(answer)
    else:
        assert answer.json["result"]["resultType"] == "complete"


def principal(target: Target, team: Team) -> str:
    from core.loop import run_async
    from servers.endpoint.sessions import principal_of

    caller: Caller = run_async(get_runtime().grants.get(target.key or "", team.slug))
    return principal_of(caller)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_session_of_another_does_not_exist(
    web: LiveMarina, target: Target, shared_team: Team, method: str
) -> None:
    begun = target.begun()
    strangers = [
        replace(begun, key=shared_team.key(*SCOPES)),
        replace(begun, team=(other := furnished_team(web)).slug, key=other.key(*SCOPES)),
    ]
    unknown = replace(begun, session="x" * 32)
    answers = []
    for stranger in (*strangers, unknown):
        request = replace(
            stranger.legacy("ping").but(accept="text/event-stream, application/json"), method=method
        )
        answers.append(post(stranger, request))
    assert {(answer.status, answer.error["data"]["code"]) for answer in answers} == {(404, "session_unknown")}
    assert len({answer.error["message"] for answer in answers}) == 1
    # And the session is as it was for its owner.
    assert post(begun, begun.legacy("ping")).json["result"] == {}


@pytest.mark.parametrize(
    "session",
    ["", " ", "x", "x" * 31, "x" * 33, "x" * 30_000, "../../../../../../../../../../etc", "*" * 32, "{}"],
)
def test_session_that_cannot_be_one_is_unknown(target: Target, session: str) -> None:
    answer = post(target, target.legacy("ping").but(mcp_session_id=session))
    assert (answer.status, answer.error["data"]["code"]) == (404, "session_unknown")


def test_stream_of_another_takes_no_messages(target: Target, shared_team: Team) -> None:
    begun = target.begun()
    stranger = replace(target, key=shared_team.key(*SCOPES))
    request = replace(stranger.legacy("ping"), path=f"{target.path}/messages?session_id={begun.session}")
    assert post(stranger, request).status == 404
