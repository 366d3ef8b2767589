"""What a team made by hand, through the official Python client in both eras: read, rendered, completed."""

from __future__ import annotations

import base64

import pytest
from mcp_types import PromptReference, ResourceTemplateReference

from servers.services.handmade import create_prompt, create_resource
from tests.factories import make_team
from tests.protocol.conftest import ALL_SCOPES, HearAll
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import LEGACY, MODERN, Endpoint

pytestmark = pytest.mark.anyio

BLOB = base64.b64encode(b"\x89PNG").decode()


@pytest.fixture
def endpoint(port: int, hear_all: HearAll) -> Endpoint:
    team = make_team()
    for definition in (
        {"uri": "notes://welcome", "text": "Hello ${you}"},
        {"uri": "notes://logo", "mime_type": "image/png", "blob": BLOB},
        {
            "uri": "greetings://{lang}/{name}",
            "mime_type": "application/json",
            "text": '{"${lang}": "${name}"}',
            "variables": {"lang": {"enum": ["de", "en", "nl"]}},
        },
    ):
        create_resource(definition, caller=team.owner)
    create_prompt(
        {
            "name": "review",
            "description": "Asks for a review.",
            "arguments": [{"name": "topic", "required": True}, {"name": "tone", "enum": ["kind", "strict"]}],
            "messages": [
                {"role": "user", "text": "Review ${topic}."},
                {"role": "assistant", "text": "How?"},
                {"role": "user", "resource": {"uri": "notes://${topic}", "text": "${tone}"}},
            ],
        },
        caller=team.owner,
    )
    hear_all()
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


@pytest.mark.parametrize("mode", [MODERN, "legacy"])
async def test_a_client_reads_renders_and_completes(endpoint: Endpoint, mode: str) -> None:
    async with connected(endpoint, mode) as client:
        listed = await client.list_resources()
        assert [resource.uri for resource in listed.resources] == ["notes://logo", "notes://welcome"]
        (welcome,) = (await client.read_resource("notes://welcome")).contents
        assert getattr(welcome, "text", None) == "Hello ${you}"
        (logo,) = (await client.read_resource("notes://logo")).contents
        assert (getattr(logo, "blob", None), logo.mime_type) == (BLOB, "image/png")
        (greeting,) = (await client.read_resource("greetings://de/A%22n")).contents
        assert getattr(greeting, "text", None) == '{"de": "A\\"n"}'
        (prompt,) = (await client.list_prompts()).prompts
        assert [argument.name for argument in prompt.arguments or ()] == ["topic", "tone"]
        rendered = await client.get_prompt("review", {"topic": "${tone}", "tone": "kind"})
        assert [message.role for message in rendered.messages] == ["user", "assistant", "user"]
        assert getattr(rendered.messages[0].content, "text", None) == "Review ${tone}."
        held = getattr(rendered.messages[2].content, "resource", None)
        assert (getattr(held, "uri", None), getattr(held, "text", None)) == ("notes://%24%7Btone%7D", "kind")
        found = await client.complete(PromptReference(name="review"), {"name": "tone", "value": "S"})
        assert found.completion.values == ["strict"]
        template = ResourceTemplateReference(uri="greetings://{lang}/{name}")
        found = await client.complete(template, {"name": "lang", "value": ""})
        assert found.completion.values == ["de", "en", "nl"]


@pytest.mark.parametrize("version", [MODERN, *LEGACY])
def test_a_value_that_may_not_be_chosen_is_refused_in_every_revision(
    endpoint: Endpoint, version: str
) -> None:
    params = {"name": "review", "arguments": {"topic": "x", "tone": "s3cret"}}
    if version == MODERN:
        answer = endpoint.modern("prompts/get", params)
    else:
        answer = endpoint.legacy("prompts/get", params, version=version)
    assert "must be one of: kind, strict" in answer.error["message"]
    assert "s3cret" not in answer.error["message"]
