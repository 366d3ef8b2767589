"""What may be defined by hand, and that every fault is told at once with its path."""

from __future__ import annotations

import base64
from typing import Any
from uuid import uuid4

import pytest

from core.errors import InvalidInput
from servers.execution.backends.handmade import HandmadeBackend
from servers.execution.backends.handmade.reading import MAX_BYTES
from servers.execution.context import NOBODY
from servers.execution.contract import OfferedPrompt, OfferedResource, Operation, Source
from servers.execution.engine import Engine

pytestmark = pytest.mark.anyio

BACKEND = HandmadeBackend()
SOURCE = Source(uuid4(), 1, "handmade", "handmade", 1, {})
BLOB = base64.b64encode(b"\x89PNG").decode()

PROMPT: dict[str, Any] = {
    "name": "review",
    "arguments": [
        {"name": "topic", "required": True},
        {"name": "tone", "enum": ["kind", "strict"], "default": "kind"},
        {"name": "note"},
    ],
    "messages": [
        {"role": "user", "text": "Review ${topic}, be ${tone}. ${note}"},
        {"role": "assistant", "text": "What shall I look at?"},
        {
            "role": "user",
            "resource": {
                "uri": "notes://${topic}",
                "mime_type": "application/json",
                "text": '{"topic": "${topic}"}',
            },
        },
        {"role": "user", "resource": {"uri": "notes://logo", "mime_type": "image/png", "blob": BLOB}},
    ],
}


async def read(offered: OfferedResource, **variables: str) -> dict[str, Any]:
    engine = Engine()
    outcome = await engine.execute(SOURCE, offered.operation, variables)
    assert outcome.content is not None
    return dict(outcome.content[0])


async def render(offered: OfferedPrompt, **arguments: str) -> list[dict[str, Any]]:
    outcome = await Engine().execute(SOURCE, offered.operation, arguments)
    return [dict(message) for message in outcome.content or ()]


async def test_a_text_is_read_as_it_was_written() -> None:
    text = "Costs ${5}, ${a}, {braces} and $${more}\n"
    offered = BACKEND.compile_resource({"uri": "notes://team/welcome", "text": text})
    assert (offered.name, offered.mime_type, offered.size) == ("welcome", "text/plain", len(text))
    assert not offered.template
    assert await read(offered, uri="notes://team/welcome") == {
        "uri": "notes://team/welcome",
        "mimeType": "text/plain",
        "text": text,
    }


async def test_bytes_are_read_as_they_were_given() -> None:
    offered = BACKEND.compile_resource({"uri": "notes://logo.png", "mime_type": "image/png", "blob": BLOB})
    assert offered.size == 4
    held = await read(offered, uri="notes://logo.png")
    assert held == {"uri": "notes://logo.png", "mimeType": "image/png", "blob": BLOB}


async def test_a_template_is_filled_from_its_uri() -> None:
    offered = BACKEND.compile_resource(
        {
            "uri": "greetings://{lang}/{name}{?title}",
            "mime_type": "Application/JSON",
            "text": '{"to": "${title} ${name}", "lang": "${lang}"}',
            "variables": {"lang": {"enum": ["en", "de", "nl"]}},
        }
    )
    assert offered.template
    uri = "greetings://de/An"
    assert (await read(offered, uri=uri, lang="de", name='A"n'))["text"] == '{"to": " A\\"n", "lang": "de"}'
    assert (await read(offered, uri=uri))["text"] == '{"to": " ", "lang": ""}'
    found = await BACKEND.complete(SOURCE, offered.operation, "lang", "E", {}, timeout=1, context=NOBODY)
    assert (found.values, found.total) == (["en", "de"], 2)


async def test_a_prompt_has_its_messages_with_the_arguments_in_them() -> None:
    offered = BACKEND.compile_prompt(PROMPT)
    assert list(offered.arguments) == [
        {"name": "topic", "required": True},
        {"name": "tone", "required": False},
        {"name": "note", "required": False},
    ]
    messages = await render(offered, topic='a/"b"', tone="strict")
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "user"]
    assert messages[0]["content"] == {"type": "text", "text": 'Review a/"b", be strict. '}
    assert messages[2]["content"]["resource"] == {
        "uri": "notes://a%2F%22b%22",
        "mimeType": "application/json",
        "text": '{"topic": "a/\\"b\\""}',
    }
    assert messages[3]["content"]["resource"]["blob"] == BLOB
    assert (await render(offered, topic="x"))[0]["content"]["text"] == "Review x, be kind. "


async def test_a_value_that_may_not_be_chosen_is_refused_without_being_told() -> None:
    offered = BACKEND.compile_prompt(PROMPT)
    with pytest.raises(InvalidInput) as caught:
        await render(offered, topic="x", tone="s3cret")
    assert caught.value.errors == [{"path": "tone", "message": "must be one of: kind, strict"}]
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    ("typed", "values"), [("", ["kind", "strict"]), ("K", ["kind"]), ("i", ["kind", "strict"])]
)
async def test_choices_are_completed(typed: str, values: list[str]) -> None:
    offered = BACKEND.compile_prompt(PROMPT)
    found = await BACKEND.complete(SOURCE, offered.operation, "tone", typed, {}, timeout=1, context=NOBODY)
    assert found.values == values
    assert (
        await BACKEND.complete(SOURCE, offered.operation, "note", "", {}, timeout=1, context=NOBODY)
    ).values == []


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"uri": None}, "uri"),
        ({"uri": ""}, "uri"),
        ({"uri": 5}, "uri"),
        ({"uri": "no scheme"}, "uri"),
        ({"uri": "readme"}, "uri"),
        ({"uri": "notes://a b"}, "uri"),
        ({"uri": "notes://a\nb"}, "uri"),
        ({"uri": "http://[::1"}, "uri"),
        ({"uri": "notes://" + "a" * 1100}, "uri"),
        ({"uri": "notes://{a}{b}"}, "uri"),
        ({"uri": "notes://{a"}, "uri"),
        ({"uri": "notes://{a*}"}, "uri"),
        ({"uri": "notes://{a}", "text": "${b}"}, "text"),
        ({"uri": "notes://{a}", "text": "${a.__class__.x}"}, "text"),
        ({"uri": "notes://{a}", "text": "${"}, "text"),
        ({"uri": "notes://{a}", "variables": {"b": {"enum": ["x"]}}}, "variables.b"),
        ({"uri": "notes://{a}", "variables": {"a": ["x"]}}, "variables.a"),
        ({"uri": "notes://{a}", "variables": {"a": {"enum": "x"}}}, "variables.a.enum"),
        ({"uri": "notes://{a}", "variables": {"a": {"enum": [5]}}}, "variables.a.enum"),
        ({"uri": "notes://{a}", "variables": {"a": {"enum": ["x"] * 201}}}, "variables.a.enum"),
        ({"uri": "notes://{a}", "variables": {"a": {"sql": "SELECT 1"}}}, "variables.a.sql"),
        ({"variables": []}, "variables"),
        ({"text": None}, "text"),
        ({"text": 5}, "text"),
        ({"text": "x" * (MAX_BYTES + 1)}, "text"),
        ({"text": "\u00e9" * (MAX_BYTES // 2 + 1)}, "text"),
        ({"blob": BLOB}, "text"),
        ({"text": None, "blob": "%%%"}, "blob"),
        ({"text": None, "blob": "YQ"}, "blob"),
        ({"text": None, "blob": "YQ==\n"}, "blob"),
        ({"text": None, "blob": "\u00e9"}, "blob"),
        ({"text": None, "blob": 5}, "blob"),
        ({"text": None, "blob": base64.b64encode(bytes(MAX_BYTES + 1)).decode()}, "blob"),
        ({"mime_type": "plain"}, "mime_type"),
        ({"mime_type": "text/plain\r\nX: 1"}, "mime_type"),
        ({"mime_type": 5}, "mime_type"),
        ({"name": "x" * 201}, "name"),
        ({"title": []}, "title"),
        ({"description": "x" * 8_001}, "description"),
        ({"annotations": 5}, "annotations"),
        ({"annotations": {"audience": "user"}}, "annotations.audience"),
        ({"annotations": {"audience": ["everyone"]}}, "annotations.audience"),
        ({"annotations": {"priority": 2}}, "annotations.priority"),
        ({"annotations": {"priority": True}}, "annotations.priority"),
        ({"annotations": {"colour": "red"}}, "annotations.colour"),
        ({"file": "/etc/passwd"}, "file"),
    ],
)
def test_a_resource_that_cannot_be_is_refused_with_the_place(changed: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        BACKEND.compile_resource({"uri": "notes://a", "text": "x", **changed})
    assert path in [fault["path"] for fault in caught.value.errors]


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"name": None}, "name"),
        ({"name": 5}, "name"),
        ({"title": 5}, "title"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"text": "x"}] * 51}, "messages"),
        ({"messages": ["x"]}, "messages.0"),
        ({"messages": [{"role": "system", "text": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": ["user"], "text": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.text"),
        ({"messages": [{"text": ""}]}, "messages.0.text"),
        ({"messages": [{"text": 5}]}, "messages.0.text"),
        ({"messages": [{"text": "x"}, {"text": "${missing}"}]}, "messages.1.text"),
        ({"messages": [{"text": "${topic!r}"}]}, "messages.0.text"),
        ({"messages": [{"text": "${topic:>10}"}]}, "messages.0.text"),
        ({"messages": [{"text": "x", "tool": "delete_all"}]}, "messages.0.tool"),
        ({"messages": [{"text": "x", "resource": {"uri": "a://b", "text": "x"}}]}, "messages.0.text"),
        ({"messages": [{"resource": "a://b"}]}, "messages.0.resource"),
        ({"messages": [{"resource": {"text": "x"}}]}, "messages.0.resource.uri"),
        ({"messages": [{"resource": {"uri": "a://b"}}]}, "messages.0.resource.text"),
        ({"messages": [{"resource": {"uri": "a://${b}", "text": "x"}}]}, "messages.0.resource.uri"),
        ({"messages": [{"resource": {"uri": "a://b", "blob": "%"}}]}, "messages.0.resource.blob"),
        (
            {"messages": [{"resource": {"uri": "a://b", "text": "x", "file": "y"}}]},
            "messages.0.resource.file",
        ),
        ({"arguments": {}}, "arguments"),
        ({"arguments": [{"name": f"a{n}"} for n in range(51)]}, "arguments"),
        ({"arguments": ["topic"]}, "arguments.0"),
        ({"arguments": [{}]}, "arguments.0.name"),
        ({"arguments": [{"name": "a b"}]}, "arguments.0.name"),
        ({"arguments": [{"name": "topic"}, {"name": "topic"}]}, "arguments.1.name"),
        ({"arguments": [{"name": "topic", "required": "yes"}]}, "arguments.0.required"),
        ({"arguments": [{"name": "topic", "enum": "a,b"}]}, "arguments.0.enum"),
        ({"arguments": [{"name": "topic", "enum": [""]}]}, "arguments.0.enum"),
        ({"arguments": [{"name": "topic", "enum": ["a"], "default": "b"}]}, "arguments.0.default"),
        ({"arguments": [{"name": "topic", "required": True, "default": "b"}]}, "arguments.0.default"),
        ({"arguments": [{"name": "topic", "type": "string"}]}, "arguments.0.type"),
        ({"server": "default"}, "server"),
    ],
)
def test_a_prompt_that_cannot_be_is_refused_with_the_place(changed: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        BACKEND.compile_prompt(
            {"name": "p", "arguments": [{"name": "topic"}], "messages": [{"text": "${topic}"}], **changed}
        )
    assert path in [fault["path"] for fault in caught.value.errors]


def test_faults_are_told_all_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        BACKEND.compile_resource({"uri": "nowhere", "text": 5, "mime_type": "x", "colour": "red"})
    assert [fault["path"] for fault in caught.value.errors] == ["colour", "uri", "text", "mime_type"]


async def test_it_takes_no_settings_and_no_tools() -> None:
    for refused in (
        lambda: BACKEND.clean_settings({"a": 1}),
        lambda: BACKEND.compile("text", {}),
    ):
        with pytest.raises(InvalidInput):
            refused()
    with pytest.raises(InvalidInput, match="spell"):
        await Engine().execute(SOURCE, Operation("spell", {}), {})
    assert (await BACKEND.check(SOURCE)).state == "healthy"
