"""Nothing of the corpus of templates is evaluated: a value put anywhere comes out as it went in, or is refused."""

from __future__ import annotations

import html
from email import message_from_bytes
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from uuid import uuid4

import orjson
import pytest

from core.errors import InvalidInput
from marina.uritemplates import compile_template
from servers.execution.backends.flows.references import fill, read_value
from servers.execution.backends.handmade import HandmadeBackend
from servers.execution.backends.http.definitions import compile_http_tool
from servers.execution.backends.http.requests import Prepared, build_request
from servers.execution.context import NOBODY
from servers.execution.contract import Operation, Source
from tests.corpora.templates import BAD_PATHS, BAD_SLOTS, BAD_URIS, VALUES

BASE = "https://api.example.com/v1"
TEXT = {"text": {"type": "string"}}
HANDMADE = HandmadeBackend()
SOURCE = Source(uuid4(), 1, "handmade", "handmade", 1, {})

each_value = pytest.mark.parametrize("value", VALUES, ids=ascii)


def test_the_corpus_has_more_than_fifty_values_and_as_many_templates() -> None:
    assert len(VALUES) == len(set(VALUES)) >= 50
    templates = [*BAD_SLOTS, *BAD_PATHS, *BAD_URIS]
    assert len(templates) == len(set(templates)) >= 50


async def give(operation: Operation, **arguments: str) -> Any:
    outcome = await HANDMADE.execute(SOURCE, operation, arguments, timeout=5, context=NOBODY)
    return outcome.content


@pytest.mark.anyio
@each_value
@pytest.mark.parametrize(
    ("mime_type", "around", "read"),
    [
        ("text/plain", "<{}>", lambda text: text[1:-1]),
        ("application/json", '{{"a": "{}"}}', lambda text: orjson.loads(text)["a"]),
        ("text/html", "<p>{}</p>", lambda text: html.unescape(text[3:-4])),
    ],
)
async def test_a_value_in_a_resource_is_itself(value: str, mime_type: str, around: str, read: Any) -> None:
    definition = {"uri": "notes://{text}", "mime_type": mime_type, "text": around.format("${text}")}
    offered = HANDMADE.compile_resource(definition)
    (contents,) = await give(offered.operation, uri=f"notes://{quote(value, safe='')}", text=value)
    assert read(contents["text"]) == value
    if mime_type == "text/html":
        assert contents["text"].count("<") == 2


@pytest.mark.anyio
@each_value
async def test_a_value_in_a_prompt_is_itself(value: str) -> None:
    offered = HANDMADE.compile_prompt(
        {
            "name": "say",
            "arguments": [{"name": "text", "required": True}, {"name": "secret"}],
            "messages": [
                {"text": "${text}${secret}"},
                {"resource": {"uri": "notes://${text}/x", "text": "${text}"}},
            ],
        }
    )
    first, second = await give(offered.operation, text=value, secret="")
    assert first["content"]["text"] == value
    held = second["content"]["resource"]
    assert held["text"] == value
    assert unquote(held["uri"].removeprefix("notes://").removesuffix("/x")) == value


@pytest.mark.anyio
@each_value
async def test_a_text_that_a_team_writes_is_given_as_it_stands(value: str) -> None:
    prompt = HANDMADE.compile_prompt({"name": "say", "messages": [{"text": value.replace("${", "$${")}]})
    resource = HANDMADE.compile_resource({"uri": "notes://fixed", "text": value})
    (message,) = await give(prompt.operation)
    assert message["content"]["text"] == value
    (contents,) = await give(resource.operation, uri="notes://fixed")
    assert contents["text"] == value


@each_value
def test_a_value_in_a_uri_is_decoded_once(value: str) -> None:
    found = compile_template("notes://{text}").match(f"notes://{quote(value, safe='')}")
    assert found is None or found == {"text": value}


def request(where: dict[str, Any], value: str, **more: Any) -> Prepared | None:
    definition = {"method": "POST", "path": "/a", "parameters": {"text": {**TEXT["text"], **where}}, **more}
    compile_http_tool(definition)
    try:
        return build_request(definition, {"text": value}, BASE)
    except InvalidInput as refused:
        (fault,) = refused.errors
    assert fault["path"] == "text"
    return None


@each_value
def test_a_value_in_a_request_is_itself_in_its_place(value: str) -> None:
    if (made := request({}, value, path="/a/{text}/z")) is not None:
        split = urlsplit(made.url)
        assert (split.netloc, split.query, split.fragment) == ("api.example.com", "", "")
        begin, inside, end = split.path.rpartition("/z")[0].rpartition("/")
        assert (begin, unquote(end)) == ("/v1/a", value), inside
    made = request({"in": "query"}, value)
    assert made is not None
    assert parse_qsl(urlsplit(made.url).query, keep_blank_values=True) == [("text", value)]
    if (made := request({"in": "header", "name": "X-Text"}, value)) is not None:
        assert made.headers == (("X-Text", value.strip()),)
        assert not {"\r", "\n", "\x00"} & set(value)
    if (made := request({"in": "cookie"}, value)) is not None:
        (cookie,) = made.headers
        assert unquote(cookie[1]) == f"text={value}"
        assert not {";", "\r", "\n"} & set(cookie[1])


@each_value
@pytest.mark.parametrize("kind", ["json", "form", "multipart"])
def test_a_value_in_a_body_is_itself(value: str, kind: str) -> None:
    made = request({"in": "body"}, value, body={"kind": kind})
    assert made is not None
    assert made.body is not None
    if kind == "json":
        assert orjson.loads(made.body) == {"text": value}
    elif kind == "form":
        assert parse_qsl(made.body.decode(), keep_blank_values=True) == [("text", value)]
    else:
        ((_, media_type),) = made.headers
        read = message_from_bytes(f"Content-Type: {media_type}\r\n\r\n".encode() + made.body, policy=HTTP)
        (part,) = read.iter_parts()
        assert part.get_payload(decode=True) == value.encode()


@each_value
def test_a_value_in_a_flow_is_itself(value: str) -> None:
    variables = {"text": value, "secret": "s3cret"}
    for written, expected in (("$text", value), ("<${text}>", f"<{value}>"), (["${text}"], [value])):
        assert fill(read_value(written), variables) == expected


@pytest.mark.parametrize("text", BAD_SLOTS, ids=ascii)
def test_a_slot_that_is_none_is_refused_when_saved(text: str) -> None:
    for definition in (
        {"uri": "notes://{text}", "text": text},
        {"uri": "notes://{text}", "mime_type": "application/json", "text": f'{{"a": "{text}"}}'},
    ):
        with pytest.raises(InvalidInput) as caught:
            HANDMADE.compile_resource(definition)
        assert {fault["path"] for fault in caught.value.errors} == {"text"}
        check_words(caught.value)
    with pytest.raises(InvalidInput) as caught:
        HANDMADE.compile_prompt(
            {"name": "say", "arguments": [{"name": "text"}], "messages": [{"text": text}]}
        )
    check_words(caught.value)


@pytest.mark.parametrize("path", BAD_PATHS, ids=ascii)
def test_a_path_that_is_none_is_refused_when_saved(path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compile_http_tool({"method": "GET", "path": path, "parameters": TEXT})
    check_words(caught.value)


@pytest.mark.parametrize("uri", BAD_URIS, ids=ascii)
def test_a_uri_that_is_none_is_refused_when_saved(uri: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        HANDMADE.compile_resource({"uri": uri, "text": "x"})
    assert "uri" in {fault["path"] for fault in caught.value.errors}
    check_words(caught.value)


def check_words(refused: InvalidInput) -> None:
    """Each fault is a sentence of a bearable length that a page and a terminal can show."""
    for words in (refused.message, *(fault["message"] for fault in refused.errors)):
        assert 0 < len(words) < 1_000
        assert words.isprintable(), ascii(words)
