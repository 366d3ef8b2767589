"""Tools and a prompt of the scenarios input-required-result-*: clients of 2026-07-28 are asked by ending the call."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from conformance_fixtures.declared import plugin
from marina.plugin import Answer, Context, Elicit, Roots, Sample


class Name(BaseModel):
    """A form with a name."""

    name: str


class Colour(BaseModel):
    """A form with a colour, called as the scenario calls it."""

    color: str


class Confirmation(BaseModel):
    """A form with a yes or no."""

    ok: bool


class Value(BaseModel):
    """A form with some text."""

    value: str


class PromptContext(BaseModel):
    """A form with the context of a prompt."""

    context: str


@plugin.tool(read_only=True)
async def test_input_required_result_elicitation(context: Context) -> str:
    """Asks for a name and greets."""
    return f"Hello, {_name(await context.elicit('user_name', 'What is your name?', Name))}!"


@plugin.tool(read_only=True)
async def test_input_required_result_sampling(context: Context) -> str:
    """Asks the client's model."""
    sampled = await context.sample("capital_question", "What is the capital of France?", max_tokens=100)
    return f"Sampling result: {sampled.text or 'no response'}"


@plugin.tool(read_only=True)
async def test_input_required_result_list_roots(context: Context) -> str:
    """Asks for the client's roots."""
    roots = await context.roots("client_roots")
    return f"Found {len(roots)} root(s): {', '.join(root.uri for root in roots)}"


@plugin.tool(read_only=True)
async def test_input_required_result_request_state(context: Context) -> str:
    """Asks for a confirmation, which comes back with the sealed state."""
    answer = await context.elicit("confirm", "Please confirm", Confirmation)
    return f"state-ok: requestState validated, {answer.action}"


@plugin.tool(read_only=True)
async def test_input_required_result_multiple_inputs(context: Context) -> str:
    """Asks three things at once."""
    answers = await context.ask(
        user_name=Elicit("What is your name?", Name),
        greeting=Sample("Generate a greeting", max_tokens=50),
        client_roots=Roots(),
    )
    name, greeting, roots = _name(answers["user_name"]), answers["greeting"].text, answers["client_roots"]
    return f"Name: {name}; Greeting: {greeting}; Roots: {len(roots)}"


@plugin.tool(read_only=True)
async def test_input_required_result_multi_round(context: Context) -> str:
    """Asks one thing after another."""
    name = _name(await context.elicit("step1", "Step 1: What is your name?", Name))
    colour = await context.elicit("step2", "Step 2: What is your favorite color?", Colour)
    return f"Multi-round complete for {name} who likes {colour.content.color if colour.content else 'none'}"


@plugin.tool(read_only=True)
async def test_input_required_result_tampered_state(context: Context) -> str:
    """Asks for a confirmation; a state that was tampered with must not get here."""
    answer = await context.elicit("confirm", "Please confirm", Confirmation)
    return f"integrity-ok: state verified, {answer.action}"


@plugin.tool(read_only=True)
async def test_input_required_result_capabilities(context: Context) -> str:
    """Asks in whichever way the client offers."""
    questions: dict[str, Any] = {}
    if context.can("elicit"):
        questions["elicit_input"] = Elicit("Elicitation input", Value)
    if context.can("sample"):
        questions["sample_input"] = Sample("Sample request", max_tokens=50)
    if not questions:
        return "No supported capabilities declared"
    return f"capabilities-ok: received {','.join(await context.ask(**questions))}"


@plugin.prompt(title="Prompt that asks")
async def test_input_required_result_prompt(context: Context) -> str:
    """Asks for its context."""
    answer = await context.elicit("user_context", "What context should the prompt use?", PromptContext)
    return f"Prompt with context: {answer.content.context if answer.content else 'none'}"


def _name(answer: Answer[Name]) -> str:
    return answer.content.name if answer.content else "unknown"
