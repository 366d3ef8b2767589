"""Questions to a client while its request is served: on the stream before 2026-07-28, by sending it again since."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from servers.endpoint import questions
from servers.services.changes import publish_change
from servers.services.servers import create_server
from servers.services.tool_versions import roll_back
from servers.services.tools import (
    change_tool,
    current_of,
    list_tools,
    offered_as,
    renew_tool,
    set_tool_enabled,
)
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.protocol.conftest import ALL_SCOPES, Records
from tests.protocol.streamclient import LegacySession, begin, open_modern
from tests.protocol.talker import FORM, URL, TalkerBackend
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Answer, Endpoint, modern_meta

CAPABILITIES: dict[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {}}
ACCEPT = {"action": "accept", "content": {"region": "eu"}}
SAMPLED = {"role": "assistant", "content": {"type": "text", "text": "Ada"}, "model": "m"}
ROOTS = {"roots": [{"uri": "file:///tmp"}]}
RESULTS = {"elicitation/create": ACCEPT, "sampling/createMessage": SAMPLED, "roots/list": ROOTS}


def _told(message: Any) -> Any:
    return message["result"]["structuredContent"]["told"]


# To 2025-11-25


def _session(talk: Endpoint, version: str = "2025-11-25", **capabilities: Any) -> LegacySession:
    return begin(talk, version=version, capabilities=capabilities or CAPABILITIES)


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18"])
def test_answer_comes_by_way_of_another_replica(talk: Endpoint, second_port: int, version: str) -> None:
    session = _session(talk, version)
    for asked, answered in ((session, session.on(second_port)), (session.on(second_port), session)):
        with asked.call("ask", rpc_id=5) as stream:
            question = stream.message()
            assert question["method"] == "elicitation/create"
            assert question["params"] == FORM.params
            answer = answered.respond(question["id"], result=ACCEPT)
            assert (answer.status, answer.body) == (202, b"")
            result = stream.message()
            assert result["id"] == 5
            assert _told(result) == {"region": ACCEPT}


def test_several_questions_are_open_at_once_and_answered_in_any_order(
    talk: Endpoint, second_port: int
) -> None:
    session = _session(talk)
    with session.call("ask_many") as stream:
        asked = [stream.message() for _ in range(3)]
        assert {each["method"] for each in asked} == set(RESULTS)
        for each in reversed(asked):
            session.on(second_port).respond(each["id"], result=RESULTS[each["method"]])
        assert _told(stream.message()) == {"region": ACCEPT, "name": SAMPLED, "roots": ROOTS}


def test_questions_of_a_batch_are_answered(talk: Endpoint) -> None:
    session = _session(talk, "2025-03-26")
    call = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "ask"}}
    with session.send([{**call, "id": 1}, {**call, "id": 2}]) as stream:
        for _ in range(2):
            session.respond(stream.message()["id"], result=ACCEPT)
        answers = stream.message()
        assert [each["id"] for each in answers] == [1, 2]
        assert not any(each["result"]["isError"] for each in answers)


def test_error_of_the_client_is_told_to_the_tool_without_its_words(talk: Endpoint) -> None:
    session = _session(talk)
    with session.call("ask") as stream:
        question = stream.message()
        session.respond(question["id"], error={"code": -1, "message": "the user said no: secret"})
        result = stream.message()["result"]
    assert result["isError"] is True
    assert result["_meta"]["marina/error"]["code"] == "client_refused"
    assert result["_meta"]["marina/error"]["client_code"] == -1
    assert "secret" not in json.dumps(result)


def test_other_questions_are_given_up_when_one_is_refused(talk: Endpoint) -> None:
    session = _session(talk)
    with session.call("ask_many") as stream:
        asked = [stream.message() for _ in range(3)]
        session.respond(asked[0]["id"], error={"code": -1, "message": "no"})
        assert stream.message()["result"]["isError"] is True
    assert session.respond(asked[1]["id"], result=ACCEPT).status == 202


@pytest.mark.parametrize("tool", ["ask", "ask_many", "ask_url", "ask_with_tools"])
def test_client_that_did_not_declare_it_is_not_asked(talk: Endpoint, tool: str) -> None:
    declared: dict[str, Any] = {"elicitation": {"form": {}}, "sampling": {}}
    capabilities: dict[str, Any] = {"roots": {}} if tool == "ask" else declared
    with _session(talk, **capabilities).call(tool) as stream:
        assert not stream.is_stream
        error = stream.answer().result["_meta"]["marina/error"]
    assert error["code"] == "client_cannot"


def test_client_that_only_takes_urls_is_not_sent_a_form(talk: Endpoint) -> None:
    session = _session(talk, elicitation={"url": {}})
    with session.call("ask") as stream:
        assert stream.answer().result["_meta"]["marina/error"]["code"] == "client_cannot"
    with session.call("ask_url") as stream:
        question = stream.message()
        assert question["params"] == URL.params
        session.respond(question["id"], result={"action": "accept"})
        assert _told(stream.message()) == {"page": {"action": "accept"}}


def test_sampling_with_tools_goes_to_a_client_that_declared_them(talk: Endpoint) -> None:
    session = _session(talk, sampling={"tools": {}})
    with session.call("ask_with_tools") as stream:
        question = stream.message()
        assert question["params"]["tools"]
        session.respond(question["id"], result=SAMPLED)
        assert _told(stream.message()) == {"name": SAMPLED}


def test_client_without_a_session_or_a_stream_is_not_asked(talk: Endpoint) -> None:
    answer = talk.legacy("tools/call", {"name": "ask"})
    assert answer.result["_meta"]["marina/error"]["code"] == "client_cannot"
    with _session(talk).call("ask", Accept="application/json") as stream:
        assert stream.answer().result["_meta"]["marina/error"]["code"] == "client_cannot"


def test_question_without_an_answer_ends_the_call(talk: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "ANSWER_SECONDS", 0.1)
    with _session(talk).call("ask") as stream:
        assert stream.message()["method"] == "elicitation/create"
        error = stream.message()["result"]["_meta"]["marina/error"]
    assert error["code"] == "client_silent"


def test_waiting_for_the_client_does_not_count_against_the_call(
    talk: Endpoint, talker: TalkerBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from servers.endpoint import exchange

    monkeypatch.setattr(exchange, "CALL_SECONDS", 2.0)
    session = _session(talk)
    with session.call("ask", {"gate": "slow"}) as stream:
        question = stream.message()
        # Longer than the call's own deadline: another call of that length ends meanwhile.
        with session.call("steps", {"gate": "meanwhile"}, rpc_id=2) as other:
            assert other.answer().result["_meta"]["marina/error"]["code"] == "source_timeout"
        session.respond(question["id"], result=ACCEPT)
        talker.wait_entered("slow")
        assert stream.message()["result"]["_meta"]["marina/error"]["code"] == "source_timeout"


def test_answers_that_nobody_waits_for_are_dropped(talk: Endpoint, talkers: Team) -> None:
    session = _session(talk)
    other = begin(talk.with_key(talkers.key(*ALL_SCOPES)), capabilities=CAPABILITIES)
    with session.call("ask") as stream:
        question = stream.message()["id"]
        for wrong in ("nothing", "x" * 500, "a:b", 5):
            assert session.respond(wrong, result=ACCEPT).status == 202
        # Whoever else learned the question's id cannot answer it.
        assert (
            other.respond(question, result={"action": "accept", "content": {"region": "theirs"}}).status
            == 202
        )
        session.respond(question, result=ACCEPT)
        session.respond(question, result={"action": "decline"})
        assert _told(stream.message()) == {"region": ACCEPT}


def test_question_waits_for_a_client_that_comes_back(talk: Endpoint, second_port: int) -> None:
    session = _session(talk)
    with session.call("ask") as stream:
        primed = stream.next()
        assert primed is not None
        assert primed.id
        assert stream.next() is not None
    with session.on(second_port).listen(primed.id) as again:
        question = again.message()
        assert question["method"] == "elicitation/create"
        session.respond(question["id"], result=ACCEPT)
        assert _told(again.message()) == {"region": ACCEPT}


def test_prompts_and_resources_may_ask_too(talk: Endpoint) -> None:
    session = _session(talk)
    reading = session.open("resources/read", {"uri": "talk://asks"})
    prompting = session.open("prompts/get", {"name": "asks", "arguments": {"topic": "ask"}})
    for stream in (reading, prompting):
        with stream:
            session.respond(stream.message()["id"], result=ACCEPT)
            assert "eu" in json.dumps(stream.message()["result"])


# Since 2026-07-28


CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"


def _modern(
    talk: Endpoint,
    tool: str = "ask",
    arguments: Any = None,
    *,
    capabilities: Any = None,
    method: str = "tools/call",
    params: Any = None,
    **more: Any,
) -> Answer:
    wanted = params or {"name": tool, "arguments": arguments or {}}
    declared = CAPABILITIES if capabilities is None else capabilities
    with open_modern(talk, method, {**wanted, **more}, **{CAPABILITIES_KEY: declared}) as stream:
        return stream.answer()


def test_request_is_sent_again_with_the_answer(
    talk: Endpoint, talkers: Team, records: Records, second_port: int
) -> None:
    asked = _modern(talk).result
    assert asked["resultType"] == "input_required"
    assert asked["inputRequests"] == {"region": {"method": "elicitation/create", "params": FORM.params}}
    assert "io.modelcontextprotocol/serverInfo" in asked["_meta"]
    elsewhere = Endpoint(second_port, talk.path, talk.key)
    answered = _modern(
        elsewhere, requestState=asked["requestState"], inputResponses={"region": ACCEPT}
    ).result
    assert answered["resultType"] == "complete"
    assert answered["structuredContent"] == {"told": {"region": ACCEPT}}
    assert [record["outcome"] for record in records(talkers)] == ["input_required", "ok"]


def test_answers_of_earlier_rounds_are_carried_on(talk: Endpoint) -> None:
    first = _modern(talk, "ask_twice").result
    assert list(first["inputRequests"]) == ["first"]
    marked = {"action": "accept", "content": {"region": "MARKER"}}
    second = _modern(
        talk, "ask_twice", requestState=first["requestState"], inputResponses={"first": marked}
    ).result
    assert list(second["inputRequests"]) == ["second"]
    state = second["requestState"]
    assert "MARKER" not in state
    assert b"MARKER" not in base64.urlsafe_b64decode(state)
    third = _modern(talk, "ask_twice", requestState=state, inputResponses={"second": ACCEPT}).result
    assert third["structuredContent"] == {"told": {"first": marked, "second": ACCEPT}}


def test_answers_that_are_missing_or_do_not_fit_are_asked_for_again(talk: Endpoint) -> None:
    first = _modern(talk, "ask_many").result
    assert set(first["inputRequests"]) == {"region", "name", "roots"}
    given = {"region": ACCEPT, "name": "no object", "roots": {"roots": "no list"}, "other": {}}
    second = _modern(talk, "ask_many", requestState=first["requestState"], inputResponses=given).result
    assert set(second["inputRequests"]) == {"name", "roots"}
    rest = {"name": SAMPLED, "roots": ROOTS}
    third = _modern(talk, "ask_many", requestState=second["requestState"], inputResponses=rest).result
    assert third["structuredContent"]["told"] == {"region": ACCEPT, **rest}
    whole = _modern(talk, "ask_many", inputResponses={"region": ACCEPT, **rest}).result
    assert whole["structuredContent"]["told"] == {"region": ACCEPT, **rest}


@pytest.mark.parametrize("responses", [[], "x", 5])
def test_responses_must_be_an_object(talk: Endpoint, responses: Any) -> None:
    answer = _modern(talk, inputResponses=responses)
    assert (answer.status, answer.error["code"]) == (400, -32602)


def test_state_opens_for_the_same_request_of_the_same_caller_only(
    talk: Endpoint, talkers: Team, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_server("other", "Other", caller=talkers.owner)
    stranger = make_team()
    state = _modern(talk).result["requestState"]
    flipped = ("B" if state[40] != "B" else "C").join((state[:40], state[41:]))
    answers = {
        "tampered": _modern(talk, requestState=flipped),
        "cut": _modern(talk, requestState=state[:-8]),
        "garbage": _modern(talk, requestState="é"),
        "no text": _modern(talk, requestState=7),
        "other arguments": _modern(talk, arguments={"a": 1}, requestState=state),
        "other tool": _modern(talk, "ask_twice", requestState=state),
        "other method": _modern(
            talk, method="prompts/get", params={"name": "ask", "arguments": {}}, requestState=state
        ),
        "other key": _modern(talk.with_key(talkers.key(*ALL_SCOPES)), requestState=state),
        "other server": _modern(talk.at(f"/mcp/{talkers.slug}/other"), requestState=state),
        "other team": _modern(
            Endpoint(talk.port, f"/mcp/{stranger.slug}", stranger.key(*ALL_SCOPES)), requestState=state
        ),
    }
    monkeypatch.setattr(questions, "STATE_SECONDS", -1)
    late = _modern(talk).result["requestState"]
    answers["expired"] = _modern(talk, requestState=late)
    for what, answer in answers.items():
        assert answer.status == 400, what
        assert answer.error["code"] == -32602, what
        assert answer.error["data"] == {"code": "request_state_invalid"}, what
    refused = [each for each in records(talkers) if each["outcome"] == "invalid"]
    assert len(refused) == len(answers) - 1
    assert {each["reason"]["code"] for each in refused} == {"request_state_invalid"}


@pytest.mark.parametrize(
    ("tool", "declared", "needed"),
    [
        ("ask", {}, {"elicitation": {}}),
        ("ask", {"elicitation": None}, {"elicitation": {}}),
        ("ask_url", {"elicitation": {}}, {"elicitation": {"url": {}}}),
        ("ask_with_tools", {"sampling": {}}, {"sampling": {"tools": {}}}),
    ],
)
def test_undeclared_capability_is_named(
    talk: Endpoint, talkers: Team, records: Records, tool: str, declared: Any, needed: Any
) -> None:
    answer = _modern(talk, tool, capabilities=declared)
    assert (answer.status, answer.error["code"]) == (400, -32021)
    assert answer.error["data"]["requiredCapabilities"] == needed
    assert [record["outcome"] for record in records(talkers)] == ["error"]


def test_prompts_and_resources_are_sent_again_too(talk: Endpoint) -> None:
    for method, params in (
        ("resources/read", {"uri": "talk://asks"}),
        ("prompts/get", {"name": "asks", "arguments": {"topic": "ask"}}),
    ):
        asked = _modern(talk, method=method, params=params).result
        assert asked["resultType"] == "input_required"
        answered = _modern(
            talk,
            method=method,
            params=params,
            requestState=asked["requestState"],
            inputResponses={"region": ACCEPT},
        ).result
        assert answered["resultType"] == "complete"
        assert "eu" in json.dumps(answered)
        refused = _modern(talk, method=method, params=params, capabilities={})
        assert (refused.status, refused.error["code"]) == (400, -32021)


def test_a_call_goes_on_with_the_version_that_asked(talk: Endpoint, talkers: Team, records: Records) -> None:
    tool = next(each for each in list_tools(caller=talkers.owner) if each.name == "ask")
    asked = _modern(talk).result
    change_tool(tool.pk, title="Ask otherwise", caller=talkers.owner)
    wait_for(lambda: "Ask otherwise" in talk.modern("tools/list").body.decode())
    again = {"requestState": asked["requestState"], "inputResponses": {"region": ACCEPT}}
    assert not _modern(talk, **again).result["isError"]
    roll_back(tool.pk, caller=talkers.owner)
    set_tool_enabled(tool.pk, False, caller=talkers.owner)
    wait_for(lambda: "Unknown tool" in _modern(talk, **again).body.decode())
    ran = [(each["tool_version"], each["outcome"]) for each in records(talkers, tool="ask")]
    assert next(each for each in ran if each[1] == "ok") == (1, "ok")
    assert (2, "ok") not in ran


def test_headers_repeat_the_arguments_of_the_version_that_goes_on(talk: Endpoint, talkers: Team) -> None:
    """Of version 2 alone, a header repeats an argument: where that is not given, there must be no such header."""

    def call(asked: Any = None) -> Answer:
        again = {"requestState": asked["requestState"], "inputResponses": {"region": ACCEPT}} if asked else {}
        return talk.modern(
            "tools/call",
            {"name": "ask", "arguments": {}, **again},
            meta=modern_meta(**{CAPABILITIES_KEY: CAPABILITIES}),
            headers={"Mcp-Param-Region": "eu"} if asked else None,
        )

    tool = next(each for each in list_tools(caller=talkers.owner) if each.name == "ask")
    first = call().result
    with tenant_scope(talkers.tenant_id):
        schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
        renew_tool(
            tool,
            replace(offered_as(tool, current_of(tool)), input_schema=schema),
            caller=talkers.owner,
        )
        publish_change(talkers.tenant_id)
    wait_for(lambda: "x-mcp-header" in talk.modern("tools/list").body.decode())
    assert call(first).status == 200
    second = call().result
    roll_back(tool.pk, caller=talkers.owner)
    wait_for(lambda: "x-mcp-header" not in talk.modern("tools/list").body.decode())
    refused = call(second)
    assert (refused.status, refused.error["code"]) == (400, -32020)
