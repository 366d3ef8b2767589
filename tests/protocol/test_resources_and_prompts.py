"""Resources, templates, prompts and completion on the wire, and what is declared to whom."""

from __future__ import annotations

from typing import Any

import pytest

from servers.services.sources import create_source
from tests.factories import Team
from tests.protocol import probe
from tests.protocol.conftest import Records
from tests.protocol.streamclient import begin, open_modern
from tests.protocol.talker import TalkerBackend
from tests.protocol.wireclient import LEGACY, Answer, Endpoint


def _modern(talk: Endpoint, method: str, params: Any = None, **meta: Any) -> Answer:
    with open_modern(talk, method, params, **meta) as stream:
        return stream.answer()


def test_lists_hold_what_the_source_brought(talk: Endpoint) -> None:
    resources = _modern(talk, "resources/list").result
    assert [each["uri"] for each in resources["resources"]] == ["talk://asks", "talk://plain"]
    assert (resources["resultType"], resources["cacheScope"]) == ("complete", "private")
    templates = _modern(talk, "resources/templates/list").result["resourceTemplates"]
    assert [each["uriTemplate"] for each in templates] == ["talk://item/{id}", "talk://thing/{id}"]
    prompts = _modern(talk, "prompts/list").result["prompts"]
    assert [each["name"] for each in prompts] == ["asks", "plain"]
    assert prompts[0]["arguments"] == [{"name": "topic", "required": False}]


@pytest.mark.parametrize("version", LEGACY)
def test_every_revision_reads_and_gets(talk: Endpoint, version: str) -> None:
    read = talk.legacy("resources/read", {"uri": "talk://item/7"}, version=version).result
    assert read == {
        "contents": [{"uri": "talk://item/7", "mimeType": "text/plain", "text": "the text of talk://item/7"}]
    }
    got = talk.legacy("prompts/get", {"name": "plain", "arguments": {"topic": "tea"}}, version=version).result
    assert got == {
        "description": "A prompt.",
        "messages": [{"role": "user", "content": {"type": "text", "text": "tea"}}],
    }


def test_modern_results_say_how_long_they_hold(talk: Endpoint) -> None:
    read = _modern(talk, "resources/read", {"uri": "talk://plain"}).result
    assert (read["ttlMs"], read["cacheScope"], read["resultType"]) == (0, "private", "complete")
    assert _modern(talk, "prompts/get", {"name": "plain"}).result["resultType"] == "complete"


def test_pages_are_followed_by_cursor(talk: Endpoint, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from servers.endpoint.view import Views

    monkeypatch.setattr(Views, "of", lambda views, surface: _small(surface))
    for method, member, count in (
        ("tools/list", "tools", 9),
        ("resources/list", "resources", 2),
        ("resources/templates/list", "resourceTemplates", 2),
        ("prompts/list", "prompts", 2),
    ):
        found: list[Any] = []
        cursor = None
        while True:
            page = talk.legacy(method, {} if cursor is None else {"cursor": cursor}).result
            assert len(page[member]) == 1
            found += page[member]
            cursor = page.get("nextCursor")
            if cursor is None:
                break
        assert len(found) == count
        assert len({str(each) for each in found}) == count
        assert talk.legacy(method, {"cursor": "bm9uc2Vuc2U"}).error["code"] == -32602


def _small(surface: Any) -> Any:
    from servers.endpoint.view import View

    return View(surface, 1)


def test_unknown_names_are_told_and_recorded_once(talk: Endpoint, talkers: Team, records: Records) -> None:
    legacy = talk.legacy("resources/read", {"uri": "talk://none"})
    assert legacy.error["code"] == -32002
    assert legacy.error["data"]["uri"] == "talk://none"
    modern = _modern(talk, "resources/read", {"uri": "talk://none"})
    assert (modern.status, modern.error["code"]) == (400, -32602)
    assert modern.error["data"]["uri"] == "talk://none"
    assert talk.legacy("prompts/get", {"name": "none"}).error["code"] == -32602
    kinds = [(record["kind"], record["outcome"]) for record in records(talkers)]
    assert kinds == [("resources/read", "invalid")] * 2 + [("prompts/get", "invalid")]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {}),
        ("resources/read", {"uri": 5}),
        ("prompts/get", {"name": "plain", "arguments": {"topic": 5}}),
        ("prompts/get", {"name": "plain", "arguments": []}),
        ("prompts/get", {"name": "plain", "arguments": {"unknown": "x"}}),
        ("completion/complete", {"ref": {"type": "ref/prompt"}, "argument": {"name": "topic", "value": ""}}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "plain"}, "argument": {}}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "none"}, "argument": {"name": "topic", "value": ""}},
        ),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "plain"}, "argument": {"name": "x", "value": ""}},
        ),
        ("resources/list", {"cursor": 5}),
    ],
)
def test_malformed_requests_are_refused(talk: Endpoint, method: str, params: Any) -> None:
    assert talk.legacy(method, params).error["code"] == -32602


@pytest.mark.parametrize(
    ("ref", "argument"),
    [
        ({"type": "ref/prompt", "name": "plain"}, "topic"),
        ({"type": "ref/resource", "uri": "talk://item/{id}"}, "id"),
    ],
)
def test_completion_gives_a_hundred_values_at_most(talk: Endpoint, ref: Any, argument: str) -> None:
    params = {"ref": ref, "argument": {"name": argument, "value": "ab"}, "context": {"arguments": {}}}
    for answer in (talk.legacy("completion/complete", params), _modern(talk, "completion/complete", params)):
        completion = answer.result["completion"]
        assert len(completion["values"]) == 100
        assert completion["values"][0] == "ab0"
        assert completion["total"] == 150
        assert completion["hasMore"] is True


@pytest.mark.parametrize(
    ("scopes", "declared"),
    [
        (("tools:read", "resources:read", "prompts:read"), {"tools", "resources", "prompts", "completions"}),
        (("tools:read", "tools:execute"), {"tools"}),
        (("resources:read",), {"resources", "completions"}),
        (("prompts:read",), {"prompts", "completions"}),
    ],
)
def test_capabilities_are_those_that_the_key_may_use(
    talk: Endpoint, talkers: Team, scopes: tuple[str, ...], declared: set[str]
) -> None:
    narrow = talk.with_key(talkers.key(*scopes))
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "n", "version": "1"},
    }
    legacy = narrow.legacy("initialize", hello, version=None).result["capabilities"]
    modern = narrow.modern("server/discover").result["capabilities"]
    assert set(legacy) == {*declared, "logging"}
    # Tasks come of tools.
    assert set(modern) == set(legacy) | ({"extensions"} if "tools" in declared else set())
    for name, method in (
        ("tools", "tools/list"),
        ("resources", "resources/list"),
        ("resources", "resources/templates/list"),
        ("prompts", "prompts/list"),
    ):
        assert narrow.modern(method).status == (200 if name in declared else 403), method
    session = begin(narrow)
    expected = 200 if "resources" in declared else 403
    assert session.request("resources/subscribe", {"uri": "talk://plain"}).status == expected


def test_trace_of_a_client_is_in_the_record_and_handed_to_the_tool(
    talk: Endpoint, talkers: Team, talker: TalkerBackend, records: Records
) -> None:
    talker.traces.clear()
    trace = "0af7651916cd43dd8448eb211c80319c"
    meta = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "tracestate": "a=1", "baggage": "b=2"}
    assert _modern(talk, "tools/call", {"name": "steps"}, **meta).status == 200
    assert talker.traces == [meta]
    wrong = ("", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff" + meta["traceparent"][2:], 5, "x" * 500)
    for each in wrong:
        assert _modern(talk, "tools/call", {"name": "steps"}, traceparent=each).status == 200
    assert talker.traces == [meta]
    odd = {**meta, "tracestate": "a\nb", "baggage": "x" * 9_000}
    assert _modern(talk, "resources/read", {"uri": "talk://plain"}, **odd).status == 200
    assert talker.traces[1:] == [{"traceparent": meta["traceparent"]}]
    assert _modern(talk, "prompts/get", {"name": "nobody"}, **meta).status == 400
    traced = [record.get("trace_id") for record in records(talkers) if record["outcome"] != "intent"]
    assert traced == [trace, *[None] * len(wrong), trace, trace]


def test_tools_of_a_source_without_resources_stay_alone(talkers: Team, talk: Endpoint) -> None:
    create_source("second-source", probe.KIND, {}, caller=talkers.owner)
    listed = {tool["name"] for tool in _modern(talk, "tools/list").result["tools"]}
    assert {"echo", "ask"} <= listed
    assert len(_modern(talk, "resources/list").result["resources"]) == 2
