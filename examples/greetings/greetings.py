"""A plugin for Marina that greets people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from marina.plugin import ClientCannot, Context, Message, Plugin, ResourceNotFound, ToolError

plugin = Plugin("greetings", title="Greetings")

Language = Literal["de", "en", "fr"]

WORDS: dict[str, str] = {"de": "Hallo", "en": "Hello", "fr": "Bonjour"}
PEOPLE: dict[str, Language] = {"ada": "en", "alan": "en", "emmy": "de", "sophie": "fr"}


class Greeting(BaseModel):
    """What the tool gives: MCP calls it structured content."""

    name: str
    text: str


class Choice(BaseModel):
    """The form that a person is shown."""

    language: Language = Field(description="The language to greet in")


@plugin.tool(title="Greet people", read_only=True)
async def greet(
    names: Annotated[list[str], Field(min_length=1, max_length=20, description="Whom to greet")],
    context: Context,
) -> list[Greeting]:
    """Greet people, in a language that the user chooses."""
    # Ask first, act later: with some clients the function starts again when the answer is there.
    try:
        answer = await context.elicit("language", "Which language shall it be?", Choice)
    except ClientCannot:
        word = WORDS["en"]
    else:
        if answer.content is None:
            raise ToolError("The user does not want anybody to be greeted. Do not try again.")
        word = WORDS[answer.content.language]

    greetings = []
    for done, name in enumerate(names, start=1):
        greetings.append(Greeting(name=name, text=f"{word}, {name}!"))
        await context.progress(done, len(names), f"Greeted {name}")
    return greetings


@plugin.resource("greet://people", title="People we know")
async def people() -> dict[str, Language]:
    """Everybody's name and language."""
    return PEOPLE


@plugin.template("greet://people/{name}", title="A greeting")
async def person(name: str) -> str:
    """A greeting for somebody we know, in their language."""
    if name not in PEOPLE:
        raise ResourceNotFound(name)
    return f"{WORDS[PEOPLE[name]]}, {name.title()}!"


@person.complete("name")
async def names_like(value: str) -> Sequence[str]:
    return [name for name in PEOPLE if name.startswith(value.lower())]


@plugin.prompt(title="Write a greeting card")
async def card(
    name: Annotated[str, Field(description="Who gets the card")], occasion: str = "birthday"
) -> list[Message]:
    """Ask the model for a greeting card."""
    return [
        Message(f"Write a {occasion} card for {name}."),
        Message("Gladly. How well do you know each other?", role="assistant"),
    ]
