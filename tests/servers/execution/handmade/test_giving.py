"""Resources, prompts and completions that a tool fills: what may be defined, and what comes of its results."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from core.errors import Forbidden, InvalidInput, MarinaError, NotFound, SourceError
from servers.execution.backends.handmade import HandmadeBackend
from servers.execution.backends.handmade.results import MAX_RESULT_BYTES
from servers.execution.context import NOBODY, Detached
from servers.execution.contract import Completion, Offered, Operation, Outcome, Source
from servers.execution.engine import Engine

pytestmark = pytest.mark.anyio

BACKEND = HandmadeBackend()
SOURCE = Source(uuid4(), 1, "handmade", "handmade", 1, {})
READS = {"readOnlyHint": True}
ROWS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["rows"],
    "properties": {
        "rows": {"type": "array", "items": {"type": "object"}},
        "names": {"type": "array", "items": {"type": "string"}},
        "columns": {"type": "object"},
    },
}
ORDER: dict[str, Any] = {"tool": "get_order", "arguments": {"order_id": "${id}"}, "pick": "/rows/0"}
TEMPLATE: dict[str, Any] = {"uri": "orders://{id}", "result": ORDER}
PROMPT: dict[str, Any] = {
    "name": "explain",
    "arguments": [{"name": "id", "required": True}, {"name": "tone"}],
    "results": {"order": ORDER},
    "messages": [
        {"text": "Explain ${order} ${tone}."},
        {"resource": {"uri": "orders://${id}", "mime_type": "application/json", "text": "${order}"}},
        {"resource": {"uri": "a://b", "mime_type": "application/json", "text": '{"o": "${order}"}'}},
    ],
}
FIND: dict[str, Any] = {
    "tool": "find_orders",
    "arguments": {"prefix": "${id}"},
    "pick": "/rows",
    "member": "id",
}


def tool(name: str, properties: Mapping[str, Any], *required: str, **given: Any) -> Offered:
    schema = {"type": "object", "properties": properties, "additionalProperties": False, "required": required}
    return Offered(
        name=name,
        title="",
        description="",
        input_schema={**schema, "required": list(required)},
        output_schema=given.get("output", ROWS),
        annotations=given.get("annotations", READS),
        operation=Operation("sql", {}),
    )


TOOLS = {
    each.name: each
    for each in (
        tool(
            "get_order",
            {
                "order_id": {"type": "integer"},
                "lines": {"type": ["boolean", "null"]},
                "rate": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "note": {"type": "string", "maxLength": 20},
                "tags": {"type": "array", "items": {"type": "integer"}},
                "like": {"type": "object"},
                "colour": {"enum": ["red", "blue"]},
            },
            "order_id",
        ),
        tool("find_orders", {"prefix": {"type": "string"}, "year": {"type": "integer"}}, "prefix"),
        tool("all_orders", {}),
        tool("delete_order", {"order_id": {"type": "integer"}}, "order_id", annotations={}),
        tool("anything", {"id": {}}, output=None),
    )
}


class Counter(Detached):
    """Somebody who may call ``tools``: notes the calls, and hears ``answer``."""

    def __init__(self, answer: Outcome | MarinaError, tools: Mapping[str, Offered] = TOOLS) -> None:
        super().__init__(NOBODY.principal)
        self.answer = answer
        self.tools = tools
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def tool(self, name: str) -> Offered | None:
        return self.tools.get(name)

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        self.calls.append((tool, dict(arguments)))
        if isinstance(self.answer, MarinaError):
            raise self.answer
        return self.answer


def rows(*found: Any, **given: Any) -> Outcome:
    return Outcome({"rows": list(found)}, "words", rows=len(found), **given)


def saved(definition: Mapping[str, Any]) -> Operation:
    """The operation of a resource or a prompt that was checked against the tools."""
    compiled = (BACKEND.compile_resource if "uri" in definition else BACKEND.compile_prompt)(definition)
    BACKEND.check_tools(compiled.operation, TOOLS)
    return compiled.operation


async def run(definition: Mapping[str, Any], context: Counter, **arguments: str) -> list[Mapping[str, Any]]:
    outcome = await Engine().execute(SOURCE, saved(definition), arguments, context=context)
    return list(outcome.content or ())


async def complete(
    definition: Mapping[str, Any], argument: str, typed: str, context: Counter, **given: str
) -> Completion:
    operation = saved(definition)
    return await Engine().complete(SOURCE, operation, argument, typed, given, context=context)


async def test_a_template_is_filled_by_a_tool() -> None:
    order = {"id": 7, "name": "Ærø"}
    context = Counter(rows(order))
    (held,) = await run(TEMPLATE, context, uri="orders://7", id="7")
    assert held == {"uri": "orders://7", "mimeType": "application/json", "text": '{"id":7,"name":"Ærø"}'}
    assert context.calls == [("get_order", {"order_id": 7})]
    assert BACKEND.uses(saved(TEMPLATE)) == ["get_order"]
    assert BACKEND.compile_resource(TEMPLATE).size is None


async def test_a_resource_that_is_no_template_is_filled_too() -> None:
    definition = {"uri": "orders://all", "result": {"tool": "all_orders"}, "mime_type": "text/plain"}
    assert (await run(definition, Counter(rows(1)), uri="orders://all"))[0]["text"] == "words"


@pytest.mark.parametrize(
    ("written", "id_", "sent"),
    [
        ({"order_id": "${id}"}, "-3", {"order_id": -3}),
        ({"order_id": 5}, "x", {"order_id": 5}),
        ({"order_id": 5, "lines": "${id}"}, "true", {"order_id": 5, "lines": True}),
        ({"order_id": 5, "rate": "${id}"}, "1.5", {"order_id": 5, "rate": 1.5}),
        ({"order_id": 5, "note": "<${id}> $${id}"}, "${id}", {"order_id": 5, "note": "<${id}> ${id}"}),
        ({"order_id": 5, "tags": ["${id}", 2]}, "1", {"order_id": 5, "tags": [1, 2]}),
        ({"order_id": 5, "like": {"name": "${id}%"}}, "a", {"order_id": 5, "like": {"name": "a%"}}),
        ({"order_id": 5, "colour": "${id}"}, "red", {"order_id": 5, "colour": "red"}),
    ],
)
async def test_variables_become_what_the_tool_takes(
    written: dict[str, Any], id_: str, sent: dict[str, Any]
) -> None:
    context = Counter(rows({}))
    await run({**TEMPLATE, "result": {**ORDER, "arguments": written}}, context, uri="orders://x", id=id_)
    assert context.calls == [("get_order", sent)]


@pytest.mark.parametrize("value", ["", "seven", "7.5", "1e400", "\u0667", " 7", "7\n", "1" * 400])
async def test_a_variable_that_cannot_become_it_is_named(value: str) -> None:
    context = Counter(rows({}))
    with pytest.raises(InvalidInput, match="id must be a whole number") as caught:
        await run(TEMPLATE, context, uri="orders://x", id=value)
    assert (caught.value.errors[0]["path"], context.calls) == ("id", [])


async def test_a_variable_that_is_left_out_leaves_its_argument_out() -> None:
    definition = {
        "uri": "orders://{id}{?note}",
        "result": {**ORDER, "arguments": {"order_id": "${id}", "note": "${note}"}},
    }
    context = Counter(rows({}))
    await run(definition, context, uri="orders://7", id="7")
    assert context.calls == [("get_order", {"order_id": 7})]


@pytest.mark.parametrize(
    ("mime_type", "pick", "outcome", "content"),
    [
        ("application/json", None, rows(1), {"text": '{"rows":[1]}'}),
        ("application/json", "/rows", rows(None), {"text": "[null]"}),
        ("application/json", None, Outcome(None, '{"a": 1}'), {"text": '{"a": 1}'}),
        ("text/markdown", None, rows(1), {"text": "words"}),
        ("text/plain", "/rows/0", rows("a\nb"), {"text": "a\nb"}),
        ("text/plain", "/rows/0", rows({"a": 1}), {"text": '{"a":1}'}),
        ("text/plain", None, Outcome([1], ""), {"text": "[1]"}),
        ("image/svg+xml", "/rows/0", rows("<svg/>"), {"text": "<svg/>"}),
        ("image/png", "/rows/0", rows("aGk="), {"blob": "aGk="}),
        (
            "image/png",
            None,
            Outcome(None, "", content=[{"type": "text", "text": "x"}, {"type": "image", "data": "aGk="}]),
            {"blob": "aGk="},
        ),
        (
            "application/pdf",
            None,
            Outcome(None, "", content=[{"type": "resource", "resource": {"uri": "a://b", "blob": "aGk="}}]),
            {"blob": "aGk="},
        ),
    ],
)
async def test_a_result_is_what_its_type_says(
    mime_type: str, pick: str | None, outcome: Outcome, content: dict[str, str]
) -> None:
    definition = {"uri": "orders://all", "mime_type": mime_type, "result": {"tool": "anything", "pick": pick}}
    (held,) = await run(definition, Counter(outcome), uri="orders://all")
    assert held == {"uri": "orders://all", "mimeType": mime_type, **content}


@pytest.mark.parametrize(
    ("mime_type", "pick", "answer", "code"),
    [
        ("application/json", None, Outcome(None, "no json"), "result_unstructured"),
        ("application/json", "/rows/0", Outcome(None, "[]"), "result_unstructured"),
        ("application/json", "/rows/0", rows(), "resource_unknown"),
        ("application/json", "/rows/-1", rows(1), "resource_unknown"),
        ("application/json", "/rows/0/a", rows("text"), "resource_unknown"),
        ("application/json", "/rows/0", Outcome({"rows": {"a": 1}}, ""), "resource_unknown"),
        ("image/png", "/rows/0", rows("no base64"), "result_not_binary"),
        ("image/png", None, rows(1), "result_not_binary"),
        ("text/plain", "/rows/0", rows("é" * (MAX_RESULT_BYTES // 2 + 1)), "result_too_large"),
        ("application/json", None, rows("x" * MAX_RESULT_BYTES), "result_too_large"),
        ("application/json", None, SourceError("down", code="source_unreachable"), "source_unreachable"),
        ("application/json", None, Forbidden("no", rule="scope"), "forbidden"),
        ("application/json", None, NotFound("no file", code="file_unknown"), "file_unknown"),
    ],
)
async def test_what_keeps_a_resource_from_being_filled_is_told(
    mime_type: str, pick: str | None, answer: Outcome | MarinaError, code: str
) -> None:
    definition = {"uri": "orders://all", "mime_type": mime_type, "result": {"tool": "anything", "pick": pick}}
    with pytest.raises(MarinaError) as caught:
        await run(definition, Counter(answer), uri="orders://all")
    assert caught.value.code == code


async def test_a_tool_that_went_or_writes_by_now_is_named() -> None:
    gone = Counter(NotFound("Unknown tool", code="tool_unknown"), tools={})
    with pytest.raises(
        SourceError, match="The tool get_order fills it, and this server does not offer"
    ) as lost:
        await run(TEMPLATE, gone, uri="orders://7", id="7")
    assert lost.value.code == "tool_missing"
    writes = Counter(rows({}), tools={"get_order": TOOLS["delete_order"]})
    with pytest.raises(SourceError, match="may change something by now") as caught:
        await run(TEMPLATE, writes, uri="orders://7", id="7")
    assert (caught.value.code, writes.calls) == ("tool_writes", [])


async def test_a_prompt_holds_what_a_tool_gives() -> None:
    context = Counter(rows({"name": 'A"${id}'}))
    messages = await run(PROMPT, context, id="7")
    assert context.calls == [("get_order", {"order_id": 7})]
    given = '{"name":"A\\"${id}"}'
    assert messages[0]["content"]["text"] == f"Explain {given} ."
    assert messages[1]["content"]["resource"]["text"] == given
    escaped = given.replace("\\", "\\\\").replace('"', '\\"')
    assert messages[2]["content"]["resource"]["text"] == f'{{"o": "{escaped}"}}'


async def test_a_prompt_without_its_result_is_not_rendered() -> None:
    with pytest.raises(SourceError, match="gave nothing at /rows/0") as caught:
        await run(PROMPT, Counter(rows()), id="7")
    assert caught.value.code == "result_missing"


async def test_an_argument_is_completed_by_a_tool() -> None:
    definition = {**TEMPLATE, "variables": {"id": {"complete": FIND}}}
    answer = rows({"id": 17}, {"id": "18"}, {"id": 17}, {"id": None}, {}, {"id": True}, {"id": "x" * 2_000})
    context = Counter(answer)
    found = await complete(definition, "id", "1", context)
    assert (found.values, found.has_more) == (["17", "18", "true"], False)
    assert context.calls == [("find_orders", {"prefix": "1"})]
    assert BACKEND.uses(saved(definition)) == ["find_orders", "get_order"]


async def test_values_of_a_tool_that_is_not_told_what_was_typed_are_chosen_from() -> None:
    rule = {"complete": {"tool": "all_orders", "pick": "/names"}}
    definition = {**PROMPT, "arguments": [{"name": "id", "required": True}, {"name": "tone", **rule}]}
    context = Counter(Outcome({"names": ["stern", "Kind", "unkind", 5]}, ""))
    assert (await complete(definition, "tone", "KIN", context)).values == ["Kind", "unkind"]
    assert (await complete(definition, "id", "KIN", context)).values == []


async def test_completions_are_bounded_and_say_so() -> None:
    definition = {**TEMPLATE, "variables": {"id": {"complete": FIND}}}
    found = await complete(definition, "id", "1", Counter(rows(*({"id": n} for n in range(150)))))
    assert (len(found.values), found.has_more) == (100, True)
    found = await complete(definition, "id", "1", Counter(rows({"id": 1}, truncated=True)))
    assert found.has_more


async def test_what_is_filled_in_already_narrows_completions() -> None:
    rule = {"complete": {**FIND, "arguments": {"prefix": "${id}", "year": "${year}"}}}
    definition = {
        "uri": "orders://{year}/{id}",
        "result": {"tool": "all_orders"},
        "variables": {"id": rule},
    }
    context = Counter(rows())
    await complete(definition, "id", "1", context, year="2026")
    await complete(definition, "id", "1", context)
    assert context.calls == [
        ("find_orders", {"prefix": "1", "year": 2026}),
        ("find_orders", {"prefix": "1"}),
    ]
    assert (await complete(definition, "id", "1", context, year="soon")).values == ()
    assert len(context.calls) == 2


@pytest.mark.parametrize(
    "tools", [{}, {"find_orders": TOOLS["delete_order"]}], ids=["may not be called", "writes by now"]
)
async def test_a_tool_that_may_not_be_called_completes_nothing(tools: Mapping[str, Offered]) -> None:
    context = Counter(Forbidden("no", rule="scope"), tools=tools)
    found = await complete({**TEMPLATE, "variables": {"id": {"complete": FIND}}}, "id", "1", context)
    assert (found.values, context.calls) == ((), [])


async def test_a_tool_that_gives_no_list_completes_nothing() -> None:
    definition = {**TEMPLATE, "variables": {"id": {"complete": {"tool": "anything", "pick": "/rows"}}}}
    assert (await complete(definition, "id", "1", Counter(Outcome({}, "")))).values == ()
    with pytest.raises(SourceError, match="gave no list of values"):
        await complete(definition, "id", "1", Counter(Outcome({"rows": "all"}, "")))


def giving(**changed: Any) -> dict[str, Any]:
    return {**TEMPLATE, "result": {**ORDER, **changed}}


@pytest.mark.parametrize(
    ("definition", "path", "words"),
    [
        ({**TEMPLATE, "text": "x"}, "result", "one of text, blob and result"),
        ({**TEMPLATE, "result": "get_order"}, "result", "must be an object"),
        ({**TEMPLATE, "result": []}, "result", "must be an object"),
        ({**TEMPLATE, "result": {}}, "result.tool", "must not be empty"),
        (giving(tool=5), "result.tool", "must be text"),
        (giving(sql="SELECT 1"), "result.sql", "no such member"),
        (giving(arguments=["${id}"]), "result.arguments", "must be an object"),
        (giving(arguments={"order_id": "${number}"}), "result.arguments.order_id", "is not known"),
        (giving(arguments={"like": {"a": ["${"]}}), "result.arguments.like.a.0", "not a name in braces"),
        (giving(arguments={"order_id": "${id.__class__}"}), "result.arguments.order_id", "is not known"),
        (giving(pick="rows"), "result.pick", "is not a JSON Pointer"),
        (giving(pick="/a~2"), "result.pick", "is not a JSON Pointer"),
        (giving(pick="/a" * 40), "result.pick", "is not a JSON Pointer"),
        (giving(pick=["rows"]), "result.pick", "must be text"),
        (giving(tool="nowhere"), "result.tool", "there is no tool called nowhere"),
        (giving(tool="delete_order"), "result.tool", "may change something"),
        (giving(arguments={}), "result.arguments.order_id", "is required, but missing"),
        (giving(arguments={"order_id": "${id}", "x": 1}), "result.arguments.x", "no such argument"),
        (giving(arguments={"order_id": "7"}), "result.arguments.order_id", "integer"),
        (giving(arguments={"order_id": "no. ${id}"}), "result.arguments.order_id", "takes integer here"),
        (
            giving(arguments={"order_id": 1, "like": "${id}"}),
            "result.arguments.like",
            "get_order takes object here",
        ),
        (giving(arguments={"order_id": 1, "tags": ["a"]}), "result.arguments.tags.0", "integer"),
        (giving(pick="/row/0"), "result.pick", "have no row there"),
        ({**giving(), "uri": "orders://all{?id}"}, "result.arguments.order_id", "id may be left out"),
        ({"uri": "orders://all", "result": ORDER}, "result.arguments.order_id", "is not known"),
        (
            {**TEMPLATE, "variables": {"id": {"enum": ["1"], "complete": FIND}}},
            "variables.id.complete",
            "either an enum or a tool",
        ),
        (
            {**TEMPLATE, "variables": {"id": {"complete": "find_orders"}}},
            "variables.id.complete",
            "must be an object",
        ),
        (
            {**TEMPLATE, "variables": {"id": {"complete": {**FIND, "tool": "delete_order"}}}},
            "variables.id.complete.tool",
            "may change something",
        ),
        (
            {**TEMPLATE, "variables": {"id": {"complete": {**FIND, "pick": "/columns"}}}},
            "variables.id.complete.pick",
            "must lead to the list",
        ),
        (
            {**TEMPLATE, "variables": {"id": {"complete": {**FIND, "pick": ""}}}},
            "variables.id.complete.pick",
            "must lead to the list",
        ),
        (
            {**TEMPLATE, "variables": {"id": {"complete": {**FIND, "member": None}}}},
            "variables.id.complete.member",
            "name the member",
        ),
        (
            {**TEMPLATE, "variables": {"id": {"complete": {**FIND, "member": 5}}}},
            "variables.id.complete.member",
            "must be text",
        ),
        ({**PROMPT, "results": []}, "results", "must be an object"),
        ({**PROMPT, "results": {f"r{n}": ORDER for n in range(11)}}, "results", "at most 10"),
        ({**PROMPT, "results": {"a b": ORDER}}, "results.a b", "must begin with a letter"),
        ({**PROMPT, "results": {"id": ORDER, "order": ORDER}}, "results.id", "an argument of that name"),
        ({**PROMPT, "results": {"order": ORDER, "more": ORDER}}, "results.more", "no message holds it"),
        ({**PROMPT, "results": None}, "messages.0.text", "is not known"),
        (
            {**PROMPT, "results": {"order": {**ORDER, "arguments": {"order_id": "${order}"}}}},
            "results.order.arguments.order_id",
            "is not known",
        ),
        (
            {**PROMPT, "results": {"order": {**ORDER, "arguments": {"order_id": "${tone}"}}}},
            "results.order.arguments.order_id",
            "tone may be left out",
        ),
        (
            {**PROMPT, "messages": [{"resource": {"uri": "a://${order}", "text": "${order}"}}]},
            "messages.0.resource.uri",
            "is not known",
        ),
        (
            {**PROMPT, "arguments": [*PROMPT["arguments"], {"name": "x", "complete": {"tool": "nowhere"}}]},
            "arguments.2.complete.tool",
            "there is no tool called nowhere",
        ),
    ],
)
def test_a_definition_that_cannot_work_is_refused_with_the_place(
    definition: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        saved(definition)
    assert words in {fault["path"]: fault["message"] for fault in caught.value.errors}[path]


def test_arguments_are_bounded_in_depth() -> None:
    deep: Any = "${id}"
    for _ in range(40):
        deep = [deep]
    with pytest.raises(InvalidInput, match="16 levels"):
        saved(giving(arguments={"order_id": 1, "tags": deep}))


def test_a_tool_whose_schema_is_broken_is_named() -> None:
    broken = Offered("get_order", "", "", {"type": "objekt"}, None, READS, Operation("sql", {}))
    offered = BACKEND.compile_resource(TEMPLATE)
    with pytest.raises(InvalidInput, match="the schema of get_order is not valid"):
        BACKEND.check_tools(offered.operation, {"get_order": broken})


def test_bytes_in_base64_stay_as_they_are() -> None:
    blob = base64.b64encode(b"x").decode()
    offered = BACKEND.compile_resource({"uri": "notes://logo", "blob": blob})
    assert BACKEND.uses(offered.operation) == []
    BACKEND.check_tools(offered.operation, {})
