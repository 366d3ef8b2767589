"""Resources, templates, prompts and the completion of their arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.errors import InvalidInput, NotFound, SourceError
from servers.execution.contract import Completion, Offering, Operation
from servers.execution.engine import Engine
from tests.servers.execution.plugins.conftest import Install, source_of
from tests.servers.execution.plugins.contexts import Listening

pytestmark = pytest.mark.anyio

CODE = '''
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from marina.plugin import Contents, Context, EmbeddedResource, Icon, Message, Plugin, ResourceNotFound, Suggestions
from marina.plugin import ToolError

plugin = Plugin("sample")


class Point(BaseModel):
    x: int


@plugin.resource("a://text", title="Text", annotations={"priority": 0.5}, size=4, icons=[Icon("data:,")])
async def text() -> str:
    """Some text."""
    return "text"

@plugin.resource("a://bytes", mime_type="image/png")
async def some_bytes(context: Context) -> bytes:
    return b"12"

@plugin.resource("a://data")
async def data() -> list[Point]:
    return [Point(x=1)]

@plugin.resource("a://parts")
async def parts() -> list[Contents]:
    return [Contents("one", "text/plain"), Contents(b"2", uri="a://parts/2")]

@plugin.resource("a://refused")
async def refused() -> str:
    raise ToolError("Not before noon.")

@plugin.template("a://points/{x}{?unit,far}")
async def point(uri: str, x: int, unit: Literal["m", "km"] = "m", far: bool = False) -> str:
    if x > 9:
        raise ResourceNotFound(uri)
    return f"{uri} {x + 1} {unit} {far}"

@point.complete("x")
async def numbers(value: str) -> list[str]:
    return [str(n) for n in range(200) if str(n).startswith(value)]

@plugin.prompt(title="Review")
async def review(
    code: Annotated[str, Field(title="Code", description="What to review")], depth: int = 1
) -> list[Message | str]:
    """Review code."""
    archive = EmbeddedResource("a://x", b"1", "application/zip")
    return [f"Review {code} {depth + 1} times", Message(archive, role="assistant")]

@review.complete("code")
async def codes(value: str, given: dict[str, str]) -> Suggestions:
    return Suggestions([value + given.get("depth", "-")], total=7, has_more=True)
'''


@pytest.fixture
def engine(install: Install, make_engine: Callable[[], Engine]) -> Engine:
    install(CODE)
    return make_engine()


@pytest.fixture
def offering(engine: Engine) -> Offering:
    return engine.backend("sample").offered({})


async def read(engine: Engine, uri: str, of: str = "", **variables: str) -> object:
    outcome = await engine.execute(
        source_of("sample"),
        Operation("resource", {"uri": of or uri}),
        {"uri": uri, **variables},
        context=Listening(),
    )
    return outcome.content


async def test_resources_are_offered_with_what_is_known_of_them(offering: Offering) -> None:
    first = offering.resources[0]
    assert (first.uri, first.name, first.title, first.description) == (
        "a://text",
        "text",
        "Text",
        "Some text.",
    )
    assert (first.size, first.annotations, first.icons) == (4, {"priority": 0.5}, ({"src": "data:,"},))
    assert [(each.mime_type, each.template) for each in offering.resources] == [
        ("text/plain", False),
        ("image/png", False),
        ("application/json", False),
        ("", False),
        ("text/plain", False),
        ("text/plain", True),
    ]


async def test_resources_give_text_bytes_data_and_several_contents(engine: Engine) -> None:
    assert await read(engine, "a://text") == [{"uri": "a://text", "mimeType": "text/plain", "text": "text"}]
    assert await read(engine, "a://bytes") == [{"uri": "a://bytes", "mimeType": "image/png", "blob": "MTI="}]
    assert await read(engine, "a://data") == [
        {"uri": "a://data", "mimeType": "application/json", "text": '[{"x":1}]'}
    ]
    assert await read(engine, "a://parts") == [
        {"uri": "a://parts", "mimeType": "text/plain", "text": "one"},
        {"uri": "a://parts/2", "blob": "Mg=="},
    ]


async def test_a_templates_variables_become_what_the_parameters_say(engine: Engine) -> None:
    of = "a://points/{x}{?unit,far}"
    uri = "a://points/3?unit=km"
    assert await read(engine, uri, of, x="3", unit="km") == [
        {"uri": uri, "mimeType": "text/plain", "text": f"{uri} 4 km False"}
    ]


@pytest.mark.parametrize("variables", [{"x": "many"}, {"x": "10"}, {"x": "1", "unit": "ft"}, {}])
async def test_what_does_not_fit_a_template_is_not_there(engine: Engine, variables: dict[str, str]) -> None:
    with pytest.raises(NotFound) as caught:
        await read(engine, "a://points/1", "a://points/{x}{?unit,far}", **variables)
    assert caught.value.code == "resource_unknown"


async def test_a_resource_that_refuses_says_why(engine: Engine) -> None:
    with pytest.raises(SourceError, match="Not before noon") as caught:
        await read(engine, "a://refused")
    assert caught.value.code == "plugin_refused"


async def test_a_prompt_has_arguments_and_gives_messages(engine: Engine, offering: Offering) -> None:
    [prompt] = offering.prompts
    assert (prompt.name, prompt.title, prompt.description) == ("review", "Review", "Review code.")
    assert prompt.arguments == [
        {"name": "code", "title": "Code", "description": "What to review", "required": True},
        {"name": "depth", "required": False},
    ]
    outcome = await engine.execute(
        source_of("sample"), prompt.operation, {"code": "x", "depth": "2"}, context=Listening()
    )
    assert outcome.text == "Review code."
    assert outcome.content == [
        {"role": "user", "content": {"type": "text", "text": "Review x 3 times"}},
        {
            "role": "assistant",
            "content": {
                "type": "resource",
                "resource": {"uri": "a://x", "mimeType": "application/zip", "blob": "MQ=="},
            },
        },
    ]
    with pytest.raises(InvalidInput) as caught:
        await engine.execute(source_of("sample"), prompt.operation, {"depth": "deep"}, context=Listening())
    assert [error["path"] for error in caught.value.errors] == ["code", "depth"]


async def test_arguments_are_completed(engine: Engine, offering: Offering) -> None:
    point, review = offering.resources[-1].operation, offering.prompts[0].operation
    source = source_of("sample")
    assert await engine.complete(source, point, "x", "19", {}) == Completion(
        ("19", *(str(n) for n in range(190, 200))), total=11
    )
    every = await engine.complete(source, point, "x", "", {})
    assert (len(every.values), every.total, every.has_more) == (100, 200, True)
    assert await engine.complete(source, review, "code", "a", {"depth": "3"}) == Completion(("a3",), 7, True)
    assert await engine.complete(source, review, "depth", "1", {}) == Completion(())
