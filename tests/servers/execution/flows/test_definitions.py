"""Definitions of pipelines and workflows: what is accepted, and the place and words of each fault."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import InvalidInput
from servers.execution.backends.flows import FlowsBackend
from servers.execution.backends.flows.references import BadReference, Missing, fill, read_value
from servers.execution.contract import Offered, Operation

READS = {"readOnlyHint": True}


def tool(
    name: str,
    properties: dict[str, Any] | None = None,
    *,
    required: tuple[str, ...] = (),
    output: dict[str, Any] | None = None,
    hints: dict[str, Any] | None = None,
) -> Offered:
    schema = {
        "type": "object",
        "properties": properties or {},
        "required": list(required),
        "additionalProperties": False,
    }
    return Offered(name, name, "", schema, output, READS if hints is None else hints, Operation(name, {}))


TOOLS = {
    each.name: each
    for each in (
        tool("now", output={"type": "object", "properties": {"at": {"type": "string"}}}),
        tool(
            "rows",
            {"table": {"type": "string"}, "limit": {"type": "integer", "minimum": 1}},
            required=("table",),
            output={
                "type": "object",
                "properties": {
                    "rows": {"type": "array", "items": {"type": "object"}},
                    "count": {"type": "integer"},
                },
            },
        ),
        tool("sum", {"numbers": {"type": "array", "items": {"type": "number"}}}, required=("numbers",)),
        tool("pay", {"amount": {"type": "number"}}, hints={}),
    )
}


def linked(kind: str, definition: dict[str, Any]) -> Offered:
    backend = FlowsBackend()
    return backend.link(backend.compile(kind, definition), TOOLS)


def faults(kind: str, definition: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        linked(kind, definition)
    return {fault["path"]: fault["message"] for fault in caught.value.errors}


def call(tool_name: str = "now", /, **more: Any) -> dict[str, Any]:
    return {"tool": tool_name, **more}


# Sound ones


def test_a_pipeline_has_the_schema_of_its_parameters_and_reads_as_its_tools_do() -> None:
    definition = {
        "title": "Count",
        "parameters": {"table": {"type": "string"}, "limit": {"type": "integer", "default": 5}},
        "steps": [
            call("rows", args={"table": "$table", "limit": "$limit"}, output="found"),
            call("sum", args={"numbers": ["${found.count}", 1]}),
        ],
        "result": {"count": "${found.count}", "said": "${found.count} rows of $$5"},
    }
    offered = linked("pipeline", definition)
    assert offered.input_schema["required"] == ["table"]
    assert offered.annotations["readOnlyHint"] is True
    assert FlowsBackend().uses(offered.operation) == ["rows", "sum"]
    paying = linked("pipeline", {"steps": [call(), call("pay", args={"amount": 1})]})
    assert paying.annotations == {"readOnlyHint": False}


def test_a_workflow_may_have_all_types_of_steps() -> None:
    offered = linked(
        "workflow",
        {
            "parameters": {"tables": {"type": "array"}},
            "steps": [
                {
                    "type": "loop",
                    "over": "$tables",
                    "as": "table",
                    "steps": [call("rows", args={"table": "$table"}, output="found")],
                    "output_variable": "all",
                },
                {
                    "type": "condition",
                    "if": {
                        "any": [
                            {"left": "$all", "operator": "empty"},
                            {"not": {"left": 1, "operator": "eq", "right": 2}},
                        ]
                    },
                    "then": [call(output="when")],
                    "else": [call(output="when")],
                },
                {"type": "parallel", "branches": [[call(output="a")], [call(output="b")]]},
                {
                    "type": "loop",
                    "while": {"left": "${when.at}", "operator": "lt", "right": "${a.at}"},
                    "max_iterations": 3,
                    "steps": [call(output="when")],
                },
            ],
            "result": ["$all", "$when", "$a", "$b"],
        },
    )
    assert FlowsBackend().uses(offered.operation) == ["now", "rows"]


# Faults: each with its place


@pytest.mark.parametrize(
    ("definition", "place", "words"),
    [
        ({}, "steps", "one at least"),
        ({"steps": []}, "steps", "one at least"),
        ({"steps": [call()], "stepz": 1}, "stepz", "no such key"),
        ({"steps": ["now"]}, "steps[0]", "is an object"),
        ({"steps": [{}]}, "steps[0].tool", "Name the tool"),
        ({"steps": [call("nothing")]}, "steps[0].tool", "no tool called nothing"),
        ({"steps": [call(), call("rows", args=[1])]}, "steps[1].args", "Give an object"),
        ({"steps": [call(colour="red")]}, "steps[0].colour", "no such key"),
        ({"steps": [call(output="2x")]}, "steps[0].output", "starts with no digit"),
        ({"steps": [call(output="a", output_variable="b")]}, "steps[0].output_variable", "give one"),
        ({"steps": [call(continue_on_failure="yes")]}, "steps[0].continue_on_failure", "true or false"),
        ({"steps": [call(name="x" * 65)]}, "steps[0].name", "at most 64"),
        ({"steps": [{"type": "loop", "over": [1], "steps": [call()]}]}, "steps[0].type", "for workflows"),
        ({"steps": [call("rows", args={"table": "$name"})]}, "steps[0].args.table", "nothing has set name"),
        (
            {"steps": [call("rows", args={"table": "${later.at}"}), call(output="later")]},
            "steps[0].args.table",
            "nothing has set later",
        ),
        ({"steps": [call("rows", args={"table": "${x"})]}, "steps[0].args.table", "is no reference"),
        ({"steps": [call("rows", args={"table": "a ${x y} b"})]}, "steps[0].args.table", "is no reference"),
        ({"steps": [call("rows")]}, "steps[0].args.table", "is required, but missing"),
        (
            {"steps": [call("rows", args={"table": "t", "colour": 1})]},
            "steps[0].args.colour",
            "no such argument",
        ),
        ({"steps": [call("rows", args={"table": 5})]}, "steps[0].args.table", "string"),
        ({"steps": [call("rows", args={"table": "t", "limit": 0})]}, "steps[0].args.limit", "minimum"),
        (
            {"steps": [call(output="n"), call("rows", args={"table": "t", "limit": "${n.at}"})]},
            "steps[1].args.limit",
            "${n.at} is of type string; rows takes number here",
        ),
        (
            {"steps": [call(output="n"), call("sum", args={"numbers": [1, "at ${n.at}"]})]},
            "steps[1].args.numbers[1]",
            "is of type string",
        ),
        (
            {"parameters": {"n": {"type": "boolean"}}, "steps": [call("pay", args={"amount": "$n"})]},
            "steps[0].args.amount",
            "is of type boolean",
        ),
        ({"steps": [call()], "result": "$nothing"}, "result", "nothing has set nothing"),
        ({"steps": [call()], "parameters": {"a": {"type": "date"}}}, "parameters.a.type", "must be one of"),
        ({"steps": [call()] * 101}, "steps[100]", "100 steps"),
    ],
)
def test_a_fault_of_a_pipeline_is_named_at_its_place(
    definition: dict[str, Any], place: str, words: str
) -> None:
    found = faults("pipeline", definition)
    assert words in found[place], found


def loop(**given: Any) -> dict[str, Any]:
    return {"type": "loop", "steps": [call()], **given}


def nested(depth: int) -> dict[str, Any]:
    step = call()
    for _ in range(depth):
        step = loop(over=[1], steps=[step])
    return step


@pytest.mark.parametrize(
    ("step", "place", "words"),
    [
        ({"type": "goto"}, "steps[0].type", "must be one of tool_call, condition, loop, parallel"),
        (loop(), "steps[0]", "either over"),
        (loop(over=[1], **{"while": {"left": 1, "operator": "exists"}}), "steps[0]", "either over"),
        (loop(over={"a": 1}), "steps[0].over", "Give a list"),
        (loop(over="abc"), "steps[0].over", "Give a list"),
        (loop(over=[1], **{"as": "a b"}), "steps[0].as", "starts with no digit"),
        (loop(over=[1], max_iterations=1001), "steps[0].max_iterations", "1 to 1000"),
        (loop(over=[1], max_iterations=True), "steps[0].max_iterations", "1 to 1000"),
        (loop(over=[1], steps=[]), "steps[0].steps", "one at least"),
        (loop(**{"while": {}}), "steps[0].while", "Give {"),
        (
            loop(**{"while": {"left": 1, "operator": "~", "right": 2}}),
            "steps[0].while.operator",
            "must be one of eq",
        ),
        (loop(**{"while": {"left": 1, "operator": "eq"}}), "steps[0].while.right", "required"),
        (loop(**{"while": {"left": 1, "operator": "exists", "right": 1}}), "steps[0].while.right", "nothing"),
        (loop(**{"while": {"all": []}}), "steps[0].while.all", "1 to 20"),
        (
            loop(**{"while": {"left": "$x", "operator": "eq", "right": 1}}),
            "steps[0].while.left",
            "nothing has set x",
        ),
        (
            loop(**{"while": {"any": [{"not": {"left": 1, "operator": "eq", "right": ["$x"]}}]}}),
            "steps[0].while.any[0].not.right[0]",
            "nothing has set x",
        ),
        (nested(9), "steps[0]" + ".steps[0]" * 8 + ".steps", "8 levels"),
        ({"type": "parallel", "branches": [[call()]]}, "steps[0].branches", "2 to 20"),
        ({"type": "parallel", "branches": [[call()]] * 21}, "steps[0].branches", "2 to 20"),
        (
            {"type": "parallel", "branches": [[call(output="a")], [call(output="a")]]},
            "steps[0].branches[1]",
            "as branch 0 does",
        ),
        (
            {"type": "parallel", "branches": [[call(output="a")], [call("rows", args={"table": "$a"})]]},
            "steps[0].branches[1][0].args.table",
            "nothing has set a",
        ),
        ({"type": "condition", "then": [call()]}, "steps[0].if", "Give {"),
    ],
)
def test_a_fault_of_a_workflow_is_named_at_its_place(step: dict[str, Any], place: str, words: str) -> None:
    found = faults("workflow", {"steps": [step]})
    assert words in found[place], found


def test_what_only_one_way_sets_may_not_be_read_after_it() -> None:
    choice = {"type": "condition", "if": {"left": 1, "operator": "exists"}, "then": [call(output="when")]}
    found = faults("workflow", {"steps": [choice], "result": "$when"})
    assert "nothing has set when for certain" in found["result"]
    after = loop(over=[1], steps=[call(output="when")])
    assert "nothing has set when" in faults("workflow", {"steps": [after], "result": "$when"})["result"]


def test_all_faults_are_told_at_once() -> None:
    found = faults("pipeline", {"steps": [{}, call("rows", args={"table": "$x"}, output="9")], "colour": 1})
    assert set(found) == {"steps[0].tool", "steps[1].args.table", "steps[1].output", "colour"}


def test_another_kind_of_tool_is_refused() -> None:
    with pytest.raises(InvalidInput, match="pipeline or workflow"):
        FlowsBackend().compile("sql", {"steps": [call()]})


def test_a_source_of_flows_has_no_settings() -> None:
    assert FlowsBackend().clean_settings({}) == {}
    with pytest.raises(InvalidInput) as caught:
        FlowsBackend().clean_settings({"url": "x"})
    assert caught.value.errors[0]["path"] == "url"


# References

VARIABLES: dict[str, Any] = {"a": {"b": [{"c": 5}, "x"], "": 1}, "n": None, "text": "hi", "flag": True}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("$a", VARIABLES["a"]),
        ("${a.b[0].c}", 5),
        ("${a.b[1]}", "x"),
        ("got ${a.b[0].c} and ${text}", "got 5 and hi"),
        ("${flag}!", "true!"),
        ("is ${a.b}", 'is [{"c":5},"x"]'),
        ("$n", None),
        ("$$a costs $5", "$a costs $5"),
        ("$${a}", "${a}"),
        ("5 $", "5 $"),
        (["$text", {"k": "${n}"}], ["hi", {"k": None}]),
        ({"plain": [1, None]}, {"plain": [1, None]}),
        (7, 7),
    ],
)
def test_references_are_filled(written: Any, value: Any) -> None:
    assert fill(read_value(written), VARIABLES) == value


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("$z", "nothing has set z"),
        ("${a.x}", "${a} has no member x"),
        ("${a.b[2]}", "${a.b} has no item 2"),
        ("${text[0]}", "${text} has no item 0"),
        ("${a.b.c}", "${a.b} has no member c"),
        ("${n.x}", "${n} has no member x"),
    ],
)
def test_what_is_not_there_is_named(written: str, words: str) -> None:
    with pytest.raises(Missing) as caught:
        fill(read_value(written), VARIABLES)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "written",
    [
        "${",
        "${}",
        "${a",
        "${a.}",
        "${a[}",
        "${a[x]}",
        "${a..b}",
        "${1}",
        "${a b}",
        "${a!r}",
        "${__import__('os')}",
    ],
)
def test_nothing_else_is_a_reference(written: str) -> None:
    with pytest.raises(BadReference):
        read_value(written)


def test_values_are_bounded_in_depth() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(BadReference, match="32 levels"):
        read_value(deep)
