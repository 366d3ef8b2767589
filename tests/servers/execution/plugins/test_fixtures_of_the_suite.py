"""The fixtures of the official conformance suite do what its scenarios require, found by PYTHONPATH alone."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from core.errors import SourceError
from servers.execution.contract import Offering, Operation, Outcome
from servers.execution.engine import Engine
from tests.servers.execution.plugins.conftest import ROOT, source_of
from tests.servers.execution.plugins.contexts import Answering, Listening, play_rounds

pytestmark = pytest.mark.anyio

FOLDER: Final = ROOT / "tests" / "conformance" / "plugin"

NEEDED: Final = {
    "json_schema_2020_12_tool",
    "test_audio_content",
    "test_elicitation",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "test_embedded_resource",
    "test_error_handling",
    "test_image_content",
    "test_input_required_result_capabilities",
    "test_input_required_result_elicitation",
    "test_input_required_result_list_roots",
    "test_input_required_result_multi_round",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_request_state",
    "test_input_required_result_sampling",
    "test_input_required_result_tampered_state",
    "test_logging_tool",
    "test_missing_capability",
    "test_multiple_content_types",
    "test_reconnection",
    "test_sampling",
    "test_simple_text",
    "test_streaming_elicitation",
    "test_tool_with_logging",
    "test_tool_with_progress",
    "test_trigger_prompt_change",
    "test_trigger_tool_change",
}


def accept(**content: Any) -> dict[str, Any]:
    return {"action": "accept", "content": content}


PARIS: Final = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}}
ROOTS: Final = {"roots": [{"uri": "file:///home"}]}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.syspath_prepend(FOLDER)
    return Engine()


@pytest.fixture
def offering(engine: Engine) -> Offering:
    backend = engine.backend("conformance")
    return backend.offered(backend.clean_settings({}))


async def run(engine: Engine, name: str, context: Any = None, **arguments: Any) -> Outcome:
    return await engine.execute(
        source_of("conformance"),
        Operation("tool", {"name": name}),
        arguments,
        context=context or Listening(),
    )


def test_every_tool_resource_and_prompt_of_the_scenarios_is_there(offering: Offering) -> None:
    assert {tool.name for tool in offering.tools} >= NEEDED
    assert all(tool.description for tool in offering.tools)
    assert {(each.uri, each.template) for each in offering.resources} == {
        ("test://static-text", False),
        ("test://static-binary", False),
        ("test://watched-resource", False),
        ("test://template/{id}/data", True),
    }
    assert {prompt.name for prompt in offering.prompts} >= {
        "test_simple_prompt",
        "test_prompt_with_arguments",
        "test_prompt_with_embedded_resource",
        "test_prompt_with_image",
        "test_input_required_result_prompt",
    }


def test_schemas_keep_what_the_scenarios_look_for(offering: Offering) -> None:
    schemas = {tool.name: tool.input_schema for tool in offering.tools}
    kept = schemas["json_schema_2020_12_tool"]
    assert {"$schema", "$defs", "allOf", "if", "then", "else", "additionalProperties"} <= set(kept)
    assert kept["$defs"]["address"]["$anchor"] == "addressDef"
    assert schemas["test_x_mcp_header"]["properties"]["region"] == {
        "type": "string",
        "x-mcp-header": "Region",
    }


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("test_image_content", ["image"]),
        ("test_audio_content", ["audio"]),
        ("test_embedded_resource", ["resource"]),
        ("test_multiple_content_types", ["text", "image", "resource"]),
    ],
)
async def test_content_is_of_the_kinds_asked_for(engine: Engine, name: str, kinds: list[str]) -> None:
    outcome = await run(engine, name)
    assert outcome.content is not None
    assert [block["type"] for block in outcome.content] == kinds


async def test_plain_tools_answer_progress_log_and_fail(engine: Engine) -> None:
    assert (await run(engine, "test_simple_text")).text == "This is a simple text response for testing."
    context = Listening()
    await run(engine, "test_tool_with_progress", context)
    assert [told[1][:2] for told in context.told] == [(0, 100), (50, 100), (100, 100)]
    context = Listening()
    await run(engine, "test_tool_with_logging", context)
    assert [told[1][0] for told in context.told] == ["info"] * 3
    failed = await run(engine, "test_error_handling")
    assert (failed.failed, failed.text) == (True, "This tool intentionally returns an error for testing")
    context = Listening()
    assert (await run(engine, "test_reconnection", context)).text.startswith("Reconnection test completed")
    assert context.told == [("released", None)]


async def test_legacy_clients_are_asked_as_the_scenarios_say(engine: Engine) -> None:
    context = Answering({"person": accept(username="testuser", email="test@example.com")})
    outcome = await run(engine, "test_elicitation", context, message="Who?")
    assert "action=accept" in outcome.text
    assert "testuser" in outcome.text
    assert (
        await run(engine, "test_sampling", Answering({"sample": PARIS}), prompt="?")
    ).text == "LLM response: Paris"
    context = Answering({"form": accept(name="Jane Smith", age=25)})
    await run(engine, "test_elicitation_sep1034_defaults", context)
    fields = context.rounds[0]["form"].params["requestedSchema"]["properties"]
    assert {name: field["default"] for name, field in fields.items()} == {
        "name": "John Doe",
        "age": 30,
        "score": 95.5,
        "status": "active",
        "verified": True,
    }
    context = Answering({"form": accept(untitledSingle="option1", titledMulti=["value1"])})
    assert "option1" in (await run(engine, "test_elicitation_sep1330_enums", context)).text


@pytest.mark.parametrize(
    ("name", "answers", "rounds", "text"),
    [
        ("elicitation", {"user_name": accept(name="Alice")}, 1, "Hello, Alice!"),
        ("sampling", {"capital_question": PARIS}, 1, "Sampling result: Paris"),
        ("list_roots", {"client_roots": ROOTS}, 1, "Found 1 root(s): file:///home"),
        ("request_state", {"confirm": accept(ok=True)}, 1, "state-ok: requestState validated, accept"),
        (
            "multiple_inputs",
            {"user_name": accept(name="Alice"), "greeting": PARIS, "client_roots": ROOTS},
            1,
            "Name: Alice; Greeting: Paris; Roots: 1",
        ),
        (
            "multi_round",
            {"step1": accept(name="Alice"), "step2": accept(color="blue")},
            2,
            "Multi-round complete for Alice who likes blue",
        ),
        (
            "capabilities",
            {"elicit_input": accept(value="x"), "sample_input": PARIS},
            1,
            "capabilities-ok: received elicit_input,sample_input",
        ),
        ("tampered_state", {"confirm": accept(ok=True)}, 1, "integrity-ok: state verified, accept"),
    ],
)
async def test_modern_clients_are_asked_in_rounds(
    engine: Engine, name: str, answers: dict[str, Any], rounds: int, text: str
) -> None:
    outcome, played = await play_rounds(
        lambda context: run(engine, f"test_input_required_result_{name}", context), answers
    )
    assert (outcome.text, len(played)) == (text, rounds)


async def test_what_the_client_cannot_do_is_told_or_left_out(engine: Engine) -> None:
    with pytest.raises(SourceError) as caught:
        await run(engine, "test_missing_capability")
    assert (caught.value.code, caught.value.data) == ("client_cannot", {"method": "sampling/createMessage"})
    outcome = await run(engine, "test_input_required_result_capabilities")
    assert outcome.text == "No supported capabilities declared"


async def test_resources_and_prompts_give_what_the_scenarios_require(
    engine: Engine, offering: Offering
) -> None:
    source = source_of("conformance")
    read = await engine.execute(
        source,
        Operation("resource", {"uri": "test://template/{id}/data"}),
        {"uri": "test://template/123/data", "id": "123"},
    )
    assert read.content is not None
    assert read.content[0]["uri"] == "test://template/123/data"
    assert json.loads(read.content[0]["text"])["id"] == "123"
    prompts = {prompt.name: prompt.operation for prompt in offering.prompts}
    got = await engine.execute(
        source, prompts["test_prompt_with_embedded_resource"], {"resourceUri": "test://example-resource"}
    )
    assert got.content is not None
    assert got.content[0]["content"]["resource"]["uri"] == "test://example-resource"
    assert got.content[1]["content"]["type"] == "text"
    outcome, _ = await play_rounds(
        lambda context: engine.execute(
            source, prompts["test_input_required_result_prompt"], {}, context=context
        ),
        {"user_context": accept(context="test context")},
    )
    assert outcome.content is not None
    assert outcome.content[0]["content"]["text"] == "Prompt with context: test context"
    completion = await engine.complete(source, prompts["test_prompt_with_arguments"], "arg1", "par", {})
    assert completion.values == ("paris", "park", "party")


async def test_without_an_address_nothing_is_switched(engine: Engine) -> None:
    outcome = await run(engine, "test_trigger_tool_change")
    assert (outcome.failed, outcome.text) == (True, "The settings name no api_url: nothing was changed.")
