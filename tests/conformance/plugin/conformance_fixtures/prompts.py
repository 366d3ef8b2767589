"""Prompts of the scenarios prompts-* and completion-complete."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from conformance_fixtures.declared import PIXEL, plugin
from marina.plugin import EmbeddedResource, Image, Message


@plugin.prompt(title="Simple Test Prompt")
async def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


@plugin.prompt(title="Prompt With Arguments")
async def test_prompt_with_arguments(
    arg1: Annotated[str, Field(description="First test argument")],
    arg2: Annotated[str, Field(description="Second test argument")],
) -> str:
    """A prompt with required arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@test_prompt_with_arguments.complete("arg1")
async def places(value: str) -> list[str]:
    return [each for each in ("paris", "park", "party", "test", "testing") if each.startswith(value)]


@plugin.prompt(title="Prompt With Embedded Resource")
async def test_prompt_with_embedded_resource(
    resourceUri: Annotated[str, Field(description="URI of the resource to embed")],  # noqa: N803 - the scenario's
) -> list[Message]:
    """A prompt that holds a resource."""
    return [
        Message(EmbeddedResource(resourceUri, "Embedded resource content for testing.", "text/plain")),
        Message("Please process the embedded resource above."),
    ]


@plugin.prompt(title="Prompt With Image")
async def test_prompt_with_image() -> list[Message]:
    """A prompt that holds a picture."""
    return [Message(Image(PIXEL, "image/png")), Message("Please analyze the image above.")]
