"""Tools that ask the client: scenarios tools-call-sampling, tools-call-elicitation, elicitation-*, server-stateless."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from conformance_fixtures.declared import plugin
from marina.plugin import Answer, Context


class Person(BaseModel):
    """What test_elicitation asks for."""

    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


class Status(StrEnum):
    """The choices of the form with defaults."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    PENDING = "pending"


class Defaults(BaseModel):
    """A form whose fields of every kind have defaults (SEP-1034)."""

    name: str = Field(default="John Doe", description="User name")
    age: int = Field(default=30, description="User age")
    score: float = Field(default=95.5, description="User score")
    status: Status = Field(default=Status.ACTIVE, description="User status")
    verified: bool = Field(default=True, description="Verification status")


_TITLES: Final = ("First", "Second", "Third")


def _titled(what: str) -> list[dict[str, str]]:
    return [
        {"const": f"value{number}", "title": f"{title} {what}"}
        for number, title in enumerate(_TITLES, start=1)
    ]


ENUMS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "untitledSingle": {
            "type": "string",
            "description": "Select one option",
            "enum": ["option1", "option2", "option3"],
        },
        "titledSingle": {
            "type": "string",
            "description": "Select one option with titles",
            "oneOf": _titled("Option"),
        },
        "legacyEnum": {
            "type": "string",
            "description": "Select one option (legacy)",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "description": "Select multiple options",
            "minItems": 1,
            "maxItems": 3,
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        "titledMulti": {
            "type": "array",
            "description": "Select multiple options with titles",
            "minItems": 1,
            "maxItems": 3,
            "items": {"anyOf": _titled("Choice")},
        },
    },
    "required": [],
}
"""A form with the five ways of choosing (SEP-1330)."""


@plugin.tool(read_only=True)
async def test_sampling(
    prompt: Annotated[str, Field(description="The prompt to send to the LLM")], context: Context
) -> str:
    """Asks the client's model."""
    sampled = await context.sample("sample", prompt, max_tokens=100)
    return f"LLM response: {sampled.text or 'No response'}"


@plugin.tool(read_only=True)
async def test_elicitation(
    message: Annotated[str, Field(description="The message to show the user")], context: Context
) -> str:
    """Asks the user for a name and an address."""
    return f"User response: {_told(await context.elicit('person', message, Person))}"


@plugin.tool(read_only=True)
async def test_elicitation_sep1034_defaults(context: Context) -> str:
    """Asks with a form whose fields have defaults."""
    message = "Please review and update the form fields with defaults"
    return f"Elicitation completed: {_told(await context.elicit('form', message, Defaults))}"


@plugin.tool(read_only=True)
async def test_elicitation_sep1330_enums(context: Context) -> str:
    """Asks with a form of choices."""
    message = "Please select options from the enum fields"
    return f"Elicitation completed: {_told(await context.elicit('form', message, ENUMS))}"


@plugin.tool(read_only=True)
async def test_missing_capability(context: Context) -> str:
    """Needs a client that offers its model."""
    await context.sample("sample", "Say anything.", max_tokens=10)
    return "Success"


@plugin.tool(read_only=True)
async def test_streaming_elicitation(context: Context) -> str:
    """Tells its progress, then asks: a client of 2026-07-28 must find no request in its stream."""
    await context.progress(50, 100, "Half way")
    await context.elicit("person", "Who are you?", Person)
    return "Streaming complete"


def _told(answer: Answer[Any]) -> str:
    content = (
        answer.content.model_dump(mode="json") if isinstance(answer.content, BaseModel) else answer.content
    )
    return f"action={answer.action}, content={json.dumps(content or {})}"
