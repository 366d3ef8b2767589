"""Tools of a plugin: what clients are shown of them, what functions get, and what becomes of what they give."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Offered, Operation, Outcome
from servers.execution.engine import Engine
from tests.servers.execution.plugins.conftest import Install, source_of
from tests.servers.execution.plugins.contexts import Listening

pytestmark = pytest.mark.anyio

CODE = '''
import asyncio
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from marina.plugin import Audio, Context, Icon, Image, Plugin, ResourceLink, Result, Text, ToolError

plugin = Plugin("sample", title="Sample")


class Point(BaseModel):
    x: int
    y: int = 0


class Sum(TypedDict):
    total: int
    days: list[date]


@dataclass
class Pair:
    left: Point
    right: Point | None


@plugin.tool(title="Add up", read_only=True, open_world=False, icons=[Icon("https://example.com/i.png", "image/png")])
async def add(points: list[Point], day: date, json: Literal["a", "b"] = "a",
              limit: Annotated[int, Field(ge=1, description="At most")] = 5, *, context: Context) -> Sum:
    """Add up points.

    All of them.
    """
    assert all(isinstance(point, Point) for point in points)
    return {"total": sum(point.x + point.y for point in points) + limit, "days": [day]}

@plugin.tool()
async def number() -> int:
    """A number."""
    return 7

@plugin.tool()
async def pair(x: int) -> Pair:
    """Two points."""
    return Pair(Point(x=x), None)

@plugin.tool()
async def table() -> dict[str, int]:
    """Numbers by name."""
    return {"one": 1}

@plugin.tool()
async def liar() -> Sum:
    """Announces something else than it gives."""
    return {"total": "much"}

@plugin.tool()
async def blocks() -> list[Text | Image | ResourceLink | str]:
    """Several blocks."""
    return ["first", Image(b"12", "image/gif"), ResourceLink("a://b", "b", size=3), Text("last", {"priority": 1})]

@plugin.tool()
async def sound() -> Audio:
    """One block."""
    return Audio(b"1", "audio/wav")

@plugin.tool(output_schema={"type": "object", "required": ["n"]})
async def both(fail: bool = False) -> Result:
    """Data and other content."""
    return Result(["see the data"], {"n": 1}, failed=fail)

@plugin.tool()
async def nothing() -> None:
    """Nothing to tell."""

@plugin.tool("raw.tool", description="Takes what comes.", input_schema={"type": "object", "minProperties": 1})
async def raw(arguments: dict[str, Any]) -> str:
    return ",".join(arguments)

@plugin.tool()
async def refuse() -> str:
    """Fails for a reason that the model should read."""
    raise ToolError("There is no such customer. List them first.")

@plugin.tool()
async def crash() -> str:
    """Fails as programs do."""
    raise RuntimeError("postgres://user:hunter2@db")

@plugin.tool()
async def leave() -> str:
    """Thinks that the process is its own."""
    raise SystemExit("hunter2")

@plugin.tool()
async def late() -> str:
    """Has a deadline of its own, and misses it."""
    async with asyncio.timeout(0):
        await asyncio.sleep(60)
    return ""

@plugin.tool()
async def strict(name: Annotated[str, Field(pattern="^[a-z]+$")], point: Point) -> str:
    """Takes little."""
    return name

@plugin.tool()
async def speak(context: Context) -> str:
    """Uses all of the context."""
    await context.progress(1, 2, "half")
    await context.log("warning", {"a": 1})
    await context.resource_updated("a://b")
    await context.release_stream()
    who = context.caller
    assert not context.can("elicit")
    return f"{who.actor} {who.team} {who.server} {who.request_id}"
'''


@pytest.fixture
def engine(install: Install, make_engine: Callable[[], Engine]) -> Engine:
    install(CODE)
    return make_engine()


@pytest.fixture
def tools(engine: Engine) -> dict[str, Offered]:
    return {tool.name: tool for tool in engine.backend("sample").offered({}).tools}


@pytest.fixture
def call(engine: Engine, tools: dict[str, Offered]) -> Callable[..., Any]:
    async def call(name: str, /, context: Listening | None = None, **arguments: Any) -> Outcome:
        return await engine.execute(
            source_of("sample"), tools[name].operation, arguments, context=context or Listening()
        )

    return call


async def test_a_tool_is_shown_as_its_function_is_written(tools: dict[str, Offered]) -> None:
    add = tools["add"]
    assert (add.title, add.description) == ("Add up", "Add up points.\n\nAll of them.")
    assert add.annotations == {"readOnlyHint": True, "openWorldHint": False}
    assert add.icons == ({"src": "https://example.com/i.png", "mimeType": "image/png"},)
    assert add.input_schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["points", "day"],
        "properties": {
            "points": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
            "day": {"type": "string", "format": "date"},
            "json": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "limit": {"type": "integer", "minimum": 1, "description": "At most", "default": 5},
        },
        "$defs": {
            "Point": {
                "title": "Point",
                "type": "object",
                "required": ["x"],
                "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
            }
        },
    }


async def test_arguments_arrive_as_the_annotations_say_and_data_leaves_as_announced(
    call: Callable[..., Any], tools: dict[str, Offered]
) -> None:
    outcome = await call("add", points=[{"x": 1}, {"x": 2, "y": 3}], day="2026-11-21")
    assert outcome.structured == {"total": 11, "days": ["2026-11-21"]}
    assert outcome.text == '{"total":11,"days":["2026-11-21"]}'
    assert tools["add"].output_schema is not None
    assert tools["add"].output_schema["required"] == ["total", "days"]


@pytest.mark.parametrize(
    ("name", "arguments", "structured", "text"),
    [
        ("number", {}, {"result": 7}, "7"),
        ("table", {}, {"one": 1}, '{"one":1}'),
        ("pair", {"x": 1}, {"left": {"x": 1, "y": 0}, "right": None}, '{"left":{"x":1,"y":0},"right":null}'),
    ],
)
async def test_results_that_are_no_objects_are_wrapped_into_one(
    call: Callable[..., Any],
    tools: dict[str, Offered],
    name: str,
    arguments: dict[str, Any],
    structured: Any,
    text: str,
) -> None:
    outcome = await call(name, **arguments)
    assert (outcome.structured, outcome.text) == (structured, text)
    schema = tools[name].output_schema
    assert schema is not None
    assert schema["type"] == "object"


async def test_content_blocks_leave_as_they_are(call: Callable[..., Any], tools: dict[str, Offered]) -> None:
    outcome = await call("blocks")
    assert outcome.content == [
        {"type": "text", "text": "first"},
        {"type": "image", "data": "MTI=", "mimeType": "image/gif"},
        {"type": "resource_link", "uri": "a://b", "name": "b", "size": 3},
        {"type": "text", "text": "last", "annotations": {"priority": 1}},
    ]
    assert (outcome.text, outcome.structured) == ("first\nlast", None)
    assert outcome.size > 0
    assert tools["blocks"].output_schema is None
    assert (await call("sound")).content == [{"type": "audio", "data": "MQ==", "mimeType": "audio/wav"}]
    assert (await call("nothing")).text == ""


async def test_a_result_may_hold_data_and_other_content_and_a_failure(call: Callable[..., Any]) -> None:
    outcome = await call("both", fail=True)
    assert (outcome.structured, outcome.failed) == ({"n": 1}, True)
    assert outcome.content == [{"type": "text", "text": "see the data"}]


async def test_a_raw_schema_is_shown_unchanged_and_the_arguments_come_whole(
    call: Callable[..., Any], tools: dict[str, Offered]
) -> None:
    assert tools["raw.tool"].input_schema == {"type": "object", "minProperties": 1}
    assert tools["raw.tool"].description == "Takes what comes."
    assert (await call("raw.tool", a=1, b=2)).text == "a,b"


async def test_a_tool_error_is_for_the_model_to_read(call: Callable[..., Any]) -> None:
    outcome = await call("refuse")
    assert (outcome.failed, outcome.text) == (True, "There is no such customer. List them first.")


@pytest.mark.parametrize("name", ["crash", "late", "leave", "liar"])
async def test_of_any_other_failure_nothing_gets_out(
    call: Callable[..., Any], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(SourceError) as caught:
        await call(name)
    assert caught.value.code == "plugin_failed"
    assert "req-7" in caught.value.message
    assert not {"hunter2", "much"} & set(caught.value.message.split())
    assert caught.value.data == {}
    logged = next(record for record in caplog.records if record.message == "a plugin's function failed")
    assert (logged.__dict__["plugin"], logged.__dict__["operation"]) == ("sample", name)
    assert logged.__dict__["request_id"] == "req-7"


async def test_arguments_that_do_not_fit_are_named_without_their_values(call: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        await call("strict", name="HUNTER2", point={"x": "many"}, extra=1)
    assert {error["path"] for error in caught.value.errors} == {"name", "point.x", "extra"}
    assert "HUNTER2" not in str(caught.value.errors)
    assert "many" not in caught.value.message


async def test_the_context_speaks_to_the_caller_and_is_no_argument(
    call: Callable[..., Any], tools: dict[str, Offered]
) -> None:
    context = Listening()
    assert (await call("speak", context)).text == "key:k1 acme default req-7"
    assert context.told == [
        ("progress", (1, 2, "half")),
        ("log", ("warning", {"a": 1}, "sample")),
        ("updated", "a://b"),
        ("released", None),
    ]
    assert tools["speak"].input_schema["properties"] == {}


async def test_a_tool_that_the_installed_version_lacks_is_told(engine: Engine) -> None:
    with pytest.raises(SourceError) as caught:
        await engine.execute(source_of("sample"), Operation("tool", {"name": "gone"}), {})
    assert caught.value.code == "plugin_outdated"
