"""Upstreams that ask in the middle of a call: the client is asked in its own era's way, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import pytest

from core.errors import SourceError
from servers.execution.context import cannot_ask
from servers.execution.contract import Ask as Question
from servers.execution.contract import AskMethod, InputRequired, Outcome
from tests.marina.harbour import Harbour
from tests.servers.execution.mcp.conftest import Ask, Client

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:The sampling capability is deprecated"),
]

Answers = Mapping[str, Mapping[str, Any]]


def answer_of(question: Question) -> Mapping[str, Any]:
    if question.method == "sampling/createMessage":
        return {
            "role": "assistant",
            "model": "m",
            "content": {"type": "text", "text": "yo ho"},
        }
    names = {"Which first?": "Ann", "Which second?": "Ben"}
    name = names.get(str(question.params["message"]), "Argo")
    return {"action": "accept", "content": {"name": name}}


class Asking(Client):
    """A client that declared that it can be asked."""

    def __init__(self, identity: str = "key:1") -> None:
        super().__init__(identity)
        self.asked: list[Question] = []

    def can(self, method: AskMethod, part: str = "") -> bool:
        return part in ("", "form")


class OfLegacy(Asking):
    """Is asked while the call goes on."""

    async def ask(self, asks: Mapping[str, Question], *, keep: str = "") -> Answers:
        self.asked.extend(asks.values())
        return {key: answer_of(question) for key, question in asks.items()}


class OfModern(Asking):
    """Is asked by the end of the run, which begins again with its answers."""

    def __init__(self, identity: str = "key:1", *, answers: Answers | None = None, kept: str = "") -> None:
        super().__init__(identity)
        self.answers = dict(answers or {})
        self.kept = kept

    async def ask(self, asks: Mapping[str, Question], *, keep: str = "") -> Answers:
        missing = {key: question for key, question in asks.items() if key not in self.answers}
        if missing:
            raise InputRequired(missing, keep)
        return {key: self.answers[key] for key in asks}


async def call_until_done(
    ask: Ask, url: str, tool: str, *, rounds: int = 5, **definition: Any
) -> tuple[Outcome, int]:
    """Call as a client of 2026-07-28 does: again with the answers, until there is a result."""
    answers: dict[str, Mapping[str, Any]] = {}
    kept = ""
    for number in range(rounds):
        try:
            client = OfModern(answers=answers, kept=kept)
            return await ask.call(url, tool, client=client, **definition), number
        except InputRequired as required:
            answers.update({key: answer_of(question) for key, question in required.asks.items()})
            kept = required.kept
    raise AssertionError("it asks on and on")


async def test_a_legacy_client_is_asked_by_upstreams_of_both_eras(ask: Ask, yard: Harbour) -> None:
    client = OfLegacy()
    outcome = await ask.call(yard.url, "name_it", client=client)
    assert outcome.text == "named Argo"
    assert [question.method for question in client.asked] == ["elicitation/create"]
    assert client.asked[0].params["message"] == "What is she called?"


async def test_a_modern_client_is_asked_by_upstreams_of_both_eras(ask: Ask, yard: Harbour) -> None:
    outcome, rounds = await call_until_done(ask, yard.url, "name_it")
    assert (outcome.text, rounds) == ("named Argo", 1)


async def test_a_call_that_waits_for_a_modern_client_is_made_once(ask: Ask, legacy_yard: Harbour) -> None:
    outcome, rounds = await call_until_done(ask, legacy_yard.url, "ask_twice")
    assert (outcome.text, rounds) == ("Ann and Ben", 2)
    assert len(legacy_yard.of("tools/call")) == 1


async def test_a_call_that_does_no_harm_twice_is_made_again_with_the_answers(
    ask: Ask, legacy_yard: Harbour
) -> None:
    outcome, rounds = await call_until_done(ask, legacy_yard.url, "ask_twice", repeatable=True)
    assert (outcome.text, rounds) == ("Ann and Ben", 2)
    assert len(legacy_yard.of("tools/call")) == 3


async def test_a_modern_upstream_gets_its_own_state_back(ask: Ask, modern_yard: Harbour) -> None:
    await call_until_done(ask, modern_yard.url, "name_it")
    first, second = (seen.body["params"] for seen in modern_yard.of("tools/call"))
    assert "requestState" not in first
    assert second["requestState"]
    assert len(second["inputResponses"]) == 1


async def test_sampling_crosses_from_a_legacy_upstream(ask: Ask, legacy_yard: Harbour) -> None:
    assert (await ask.call(legacy_yard.url, "compose", client=OfLegacy())).text == "yo ho"
    outcome, _ = await call_until_done(ask, legacy_yard.url, "compose")
    assert outcome.text == "yo ho"


async def test_upstreams_are_told_what_the_client_can_be_asked_and_no_more(ask: Ask, yard: Harbour) -> None:
    await ask.call(yard.url, "add", {"a": 1, "b": 2}, client=OfLegacy())
    await ask.call(yard.url, "add", {"a": 1, "b": 2}, client=Client())
    declared = [
        params.get(
            "capabilities", (params.get("_meta") or {}).get("io.modelcontextprotocol/clientCapabilities")
        )
        for params in (seen.body["params"] for seen in (yard.of("initialize") or yard.of("tools/call")))
    ]
    assert declared == [{"elicitation": {"form": {}}, "sampling": {}, "roots": {}}, {}]


class Refusing(OfLegacy):
    async def ask(self, asks: Mapping[str, Question], *, keep: str = "") -> Answers:
        raise cannot_ask(next(iter(asks.values())))


async def test_a_client_that_cannot_be_asked_is_told_so(ask: Ask, yard: Harbour) -> None:
    with pytest.raises(SourceError) as caught:
        await ask.call(yard.url, "name_it", client=Refusing())
    assert caught.value.code == "client_cannot"


async def test_an_answer_finds_no_call_that_is_anothers_or_is_lost(ask: Ask, legacy_yard: Harbour) -> None:
    with pytest.raises(InputRequired) as asked:
        await ask.call(legacy_yard.url, "name_it", client=OfModern())
    answers = {key: answer_of(question) for key, question in asked.value.asks.items()}
    for client in (
        OfModern("key:2", answers=answers, kept=asked.value.kept),
        OfModern(answers=answers, kept='{"held": "0"}'),
    ):
        with pytest.raises(SourceError) as caught:
            await ask.call(legacy_yard.url, "name_it", client=client)
        assert caught.value.code == "call_lost"
    mine = OfModern(answers=answers, kept=asked.value.kept)
    assert (await ask.call(legacy_yard.url, "name_it", client=mine)).text == "named Argo"


async def test_a_call_waits_on_though_its_source_is_changed_meanwhile(ask: Ask, legacy_yard: Harbour) -> None:
    with pytest.raises(InputRequired) as asked:
        await ask.call(legacy_yard.url, "name_it", client=OfModern())
    source = ask.source(legacy_yard.url)
    ask.sources[repr((legacy_yard.url, {}))] = replace(source, version=2)
    assert (await ask.call(legacy_yard.url, "add", {"a": 1, "b": 2})).structured == {"result": 3}
    upstreams = ask.backend.upstreams
    assert len(upstreams._replaced) == 1
    answers = {key: answer_of(question) for key, question in asked.value.asks.items()}
    mine = OfModern(answers=answers, kept=asked.value.kept)
    assert (await ask.call(legacy_yard.url, "name_it", client=mine)).text == "named Argo"
    assert len(legacy_yard.of("tools/call")) == 2
    await upstreams.close_idle()
    assert not upstreams._replaced


async def test_a_call_that_waits_is_cancelled_when_the_process_ends(ask: Ask, legacy_yard: Harbour) -> None:
    with pytest.raises(InputRequired):
        await ask.call(legacy_yard.url, "name_it", client=OfModern())
    with anyio.fail_after(60):
        await ask.engine.close()
    assert legacy_yard.of("notifications/cancelled")
    assert len(legacy_yard.verbs("DELETE")) == 1
