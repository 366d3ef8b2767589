"""Questions to the client, in both eras, through the real engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.errors import SourceError
from servers.execution.contract import Context, InputRequired, Operation, Outcome
from servers.execution.engine import Engine
from tests.servers.execution.plugins.conftest import Install, source_of
from tests.servers.execution.plugins.contexts import (
    Answering,
    Answers,
    Listening,
    Remembering,
    play_rounds,
)

pytestmark = pytest.mark.anyio

CODE = '''
import asyncio
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from marina.plugin import ClientCannot, Context, Elicit, Message, Plugin, Roots, Sample

plugin = Plugin("sample")
done = []


class Size(StrEnum):
    SMALL = "s"
    LARGE = "l"


class Order(BaseModel):
    name: str = Field(min_length=1, description="Who orders")
    count: int = Field(default=1, ge=1, lt=10)
    size: Size = Size.SMALL
    colours: list[Literal["red", "blue"]] = []
    note: str | None = None


@plugin.tool()
async def order(context: Context) -> str:
    """Ask with a form."""
    answer = await context.elicit("order", "What shall it be?", Order)
    done.append(answer.action)
    return f"{answer.action} {answer.accepted} {answer.content!r}"

@plugin.tool()
async def raw(context: Context) -> str:
    """Ask with a schema."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = await context.elicit("n", "Which?", schema)
    return str(answer.content)

@plugin.tool()
async def page(context: Context) -> str:
    """Send to a page."""
    return (await context.elicit_url("pay", "Pay here", "https://example.com/pay")).action

@plugin.tool()
async def think(context: Context) -> str:
    """Ask the model."""
    sampled = await context.sample("idea", ["An idea?", Message("Which kind?", role="assistant")], max_tokens=5,
                                   system_prompt="Be brief", temperature=0.5, stop_sequences=["."],
                                   model_preferences={"hints": [{"name": "claude"}]})
    return f"{sampled.text}|{sampled.model}|{sampled.stop_reason}"

@plugin.tool()
async def several(context: Context) -> str:
    """Ask three things in one round, then one more."""
    answers = await context.ask(who=Elicit("Who?", Order), idea=Sample("An idea?"), places=Roots())
    again = await context.elicit("again", "Sure?", Order)
    return f"{answers['who'].content.name} {answers['idea'].text} {answers['places'][0].uri} {again.content.name}"

@plugin.tool()
async def gathered(context: Context) -> str:
    """Ask two things at once, by tasks."""
    first, second = await asyncio.gather(context.roots("a"), context.roots("b"))
    return f"{len(first)} {len(second)}"

@plugin.tool()
async def grouped(context: Context) -> str:
    """Ask in a task group."""
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(context.roots("a"))
    return str(len(asked.result()))

@plugin.tool()
async def careless(context: Context) -> str:
    """Catches more than it should."""
    try:
        await context.roots("a")
    except Exception:
        pass
    return "went on"

@plugin.tool()
async def content(context: Context) -> str:
    """Can do without."""
    try:
        return str(len(await context.roots()))
    except ClientCannot:
        return "no roots"

@plugin.tool()
async def needs(context: Context) -> str:
    """Cannot do without."""
    return str(len(await context.roots()))
'''

ACCEPTED = {"action": "accept", "content": {"name": "Ada", "count": 2, "size": "l", "colours": ["red"]}}
SHOWN = "accept True Order(name='Ada', count=2, size=<Size.LARGE: 'l'>, colours=['red'], note=None)"
ROOTS = {"roots": [{"uri": "file:///a", "name": "A"}]}
IDEA = {
    "role": "assistant",
    "model": "m1",
    "stopReason": "endTurn",
    "content": {"type": "text", "text": "Fly"},
}

Run = Callable[..., Any]


@pytest.fixture
def run(install: Install, make_engine: Callable[[], Engine]) -> Run:
    install(CODE)
    engine = make_engine()

    async def run(name: str, context: Context) -> Outcome:
        return await engine.execute(
            source_of("sample"), Operation("tool", {"name": name}), {}, context=context
        )

    return run


async def test_a_form_is_made_of_a_model_and_its_answer_becomes_one(run: Run) -> None:
    context = Answering({"order": ACCEPTED})
    assert (await run("order", context)).text == SHOWN
    ask = context.rounds[0]["order"]
    assert ask.method == "elicitation/create"
    assert ask.params == {
        "message": "What shall it be?",
        "requestedSchema": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 1, "description": "Who orders"},
                "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1},
                "size": {"type": "string", "enum": ["s", "l"], "default": "s", "title": "Size"},
                "colours": {
                    "type": "array",
                    "items": {"type": "string", "enum": ["red", "blue"]},
                    "default": [],
                },
                "note": {"type": "string"},
            },
        },
    }


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_whoever_does_not_accept_gives_no_content(run: Run, action: str) -> None:
    outcome = await run("order", Answering({"order": {"action": action, "content": {"name": "Ada"}}}))
    assert outcome.text == f"{action} False None"


async def test_in_rounds_the_function_runs_again_until_all_is_answered(run: Run) -> None:
    answers: Answers = {"who": ACCEPTED, "idea": IDEA, "places": ROOTS, "again": ACCEPTED}
    outcome, rounds = await play_rounds(lambda context: run("several", context), answers)
    assert outcome.text == "Ada Fly file:///a Ada"
    assert [sorted(each) for each in rounds] == [["idea", "places", "who"], ["again"]]


@pytest.mark.parametrize(
    "unfit",
    [
        {"action": "accept", "content": {"name": "", "count": 11}},
        {"action": "accept"},
        {"action": "perhaps"},
        {},
        12345,
    ],
)
async def test_an_answer_that_does_not_fit_is_asked_for_again_in_both_eras(run: Run, unfit: Any) -> None:
    answers = {"order": unfit, "order.2": ACCEPTED}
    context = Answering(answers)
    assert (await run("order", context)).text == SHOWN
    assert [list(each) for each in context.rounds] == [["order"], ["order.2"]]
    assert context.rounds[1]["order.2"].params["message"].startswith("What shall it be?\n\nThe answer before")

    outcome, rounds = await play_rounds(lambda context: run("order", context), answers)
    assert outcome.text == SHOWN
    assert [list(each) for each in rounds] == [["order"], ["order.2"]]


async def test_the_third_answer_that_does_not_fit_fails_the_tool(run: Run) -> None:
    unfit = {"action": "accept", "content": {"name": "secret" * 3, "count": "hunter2"}}
    outcome = await run("order", Answering({"order": unfit, "order.2": unfit, "order.3": unfit}))
    assert outcome.failed
    assert "count" in outcome.text
    assert "hunter2" not in outcome.text


async def test_a_schema_by_hand_is_sent_and_checked(run: Run) -> None:
    context = Answering(
        {"n": {"action": "accept", "content": {"n": "x"}}, "n.2": {"action": "accept", "content": {"n": 3}}}
    )
    assert (await run("raw", context)).text == "{'n': 3}"


async def test_a_page_is_named_with_an_id(run: Run) -> None:
    context = Answering({"pay": {"action": "accept"}})
    assert (await run("page", context)).text == "accept"
    params = dict(context.rounds[0]["pay"].params)
    assert params.pop("elicitationId")
    assert params == {"mode": "url", "message": "Pay here", "url": "https://example.com/pay"}


async def test_the_clients_model_is_asked(run: Run) -> None:
    context = Answering({"idea": {**IDEA, "content": [{"type": "text", "text": "Fly"}, {"type": "image"}]}})
    assert (await run("think", context)).text == "Fly|m1|endTurn"
    assert context.rounds[0]["idea"].params == {
        "messages": [
            {"role": "user", "content": {"type": "text", "text": "An idea?"}},
            {"role": "assistant", "content": {"type": "text", "text": "Which kind?"}},
        ],
        "maxTokens": 5,
        "systemPrompt": "Be brief",
        "temperature": 0.5,
        "stopSequences": ["."],
        "modelPreferences": {"hints": [{"name": "claude"}]},
    }


@pytest.mark.parametrize(
    ("name", "keys"), [("gathered", {"a", "b"}), ("grouped", {"a"}), ("careless", {"a"})]
)
async def test_a_question_ends_the_run_whatever_the_function_makes_of_it(
    run: Run, name: str, keys: set[str]
) -> None:
    with pytest.raises(InputRequired) as caught:
        await run(name, Remembering({}))
    assert set(caught.value.asks) <= keys
    outcome, _ = await play_rounds(lambda context: run(name, context), {"a": ROOTS, "b": ROOTS})
    assert not outcome.failed


async def test_a_client_that_cannot_be_asked_is_told_apart(run: Run) -> None:
    assert (await run("content", Listening())).text == "no roots"
    with pytest.raises(SourceError) as caught:
        await run("needs", Listening())
    assert (caught.value.code, caught.value.data) == ("client_cannot", {"method": "roots/list"})
