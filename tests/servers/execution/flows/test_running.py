"""Runs of pipelines and workflows: what is called with what, what comes of it, and how a run ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from core.errors import Forbidden, InvalidInput, MarinaError, SourceError, Unavailable
from servers.execution.backends.flows import FlowsBackend, running
from servers.execution.context import Detached
from servers.execution.contract import Ask, InputRequired, Offered, Operation, Outcome, Principal, Source

SOURCE = Source(uuid4(), 1, "flows", "flows", 1, {})


class Bench(Detached):
    """A server with a few tools, and what they were called with."""

    def __init__(self) -> None:
        super().__init__(Principal("a", "t", "s", "r"))
        self.calls: list[tuple[str, dict[str, Any], str]] = []
        self.told: list[tuple[float, float | None, str]] = []
        self.running = self.most = 0

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        self.calls.append((tool, dict(arguments), key))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            # Others get their turn, as with a tool that waits.
            await asyncio.sleep(0)
            return self._produce(tool, arguments)
        finally:
            self.running -= 1

    def _produce(self, tool: str, arguments: Mapping[str, Any]) -> Outcome:
        match tool:
            case "echo":
                return Outcome(dict(arguments), "")
            case "add":
                return Outcome({"sum": arguments["a"] + arguments["b"]}, "")
            case "say":
                return Outcome(None, f"hello {arguments['to']}")
            case "fail":
                raise SourceError("The till is shut.", code="source_unreachable")
            case "forbidden":
                raise Forbidden("Not yours.", rule="scope")
            case "away":
                raise Unavailable("The log cannot be written.", code="log_unavailable")
            case "lost":
                raise MarinaError("Unrecorded.", code="outcome_unrecorded")
            case "ask":
                raise InputRequired({"sure": Ask("elicitation/create", {})})
        raise AssertionError(tool)

    def tool(self, name: str) -> Offered | None:
        known = {"echo": True, "add": True, "say": True, "fail": False}
        if name not in known:
            return None
        schema: dict[str, Any] = {"type": "object"}
        if name == "say":
            schema |= {"properties": {"to": {"type": "string"}}, "required": ["to"]}
        return Offered(name, name, "", schema, None, {"readOnlyHint": known[name]}, Operation(name, {}))

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        self.told.append((progress, total, message))


def run(
    kind: str,
    definition: Mapping[str, Any],
    arguments: Mapping[str, Any] | None = None,
    bench: Bench | None = None,
) -> Outcome:
    return asyncio.run(
        FlowsBackend().execute(
            SOURCE, Operation(kind, definition), arguments or {}, timeout=5, context=bench or Bench()
        )
    )


def step(tool: str = "echo", /, **more: Any) -> dict[str, Any]:
    return {"tool": tool, **more}


def test_each_step_gets_what_earlier_ones_gave() -> None:
    bench = Bench()
    definition = {
        "parameters": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 10}},
        "steps": [
            step("add", args={"a": "$x", "b": "$y"}, output="first"),
            step("add", args={"a": "${first.sum}", "b": 1}, output="second"),
            step("say", args={"to": "number ${second.sum}"}),
        ],
    }
    outcome = run("pipeline", definition, {"x": 5}, bench)
    assert outcome.structured["result"] == "hello number 16"
    assert [(tool, key) for tool, _, key in bench.calls] == [
        ("add", "steps[0]"),
        ("add", "steps[1]"),
        ("say", "steps[2]"),
    ]
    assert [each["output"] for each in outcome.structured["steps"]] == [
        {"sum": 15},
        {"sum": 16},
        "hello number 16",
    ]
    assert bench.told == [(1, 3, "1 of 3: add"), (2, 3, "2 of 3: add"), (3, 3, "3 of 3: say")]


def test_a_result_is_made_of_what_the_definition_says() -> None:
    definition = {
        "steps": [step(args={"v": 1}, output="one")],
        "result": {"got": "${one.v}", "all": ["$one"]},
    }
    assert run("pipeline", definition).structured["result"] == {"got": 1, "all": [{"v": 1}]}


def test_a_failing_step_ends_the_run_and_says_where() -> None:
    bench = Bench()
    outcome = run("pipeline", {"steps": [step(), step("fail"), step()]}, bench=bench)
    assert outcome.failed
    assert outcome.text == "steps[1] (fail) failed: The till is shut."
    assert outcome.structured["error"] == {
        "step": "steps[1]",
        "code": "source_unreachable",
        "message": "The till is shut.",
    }
    assert [each["status"] for each in outcome.structured["steps"]] == ["ok", "failed"]
    assert len(bench.calls) == 2


@pytest.mark.parametrize("tool", ["fail", "forbidden"])
def test_a_step_that_may_fail_leaves_nothing_and_the_run_goes_on(tool: str) -> None:
    definition = {
        "steps": [step(tool, output="got", continue_on_failure=True), step(args={"got": "$got"})],
    }
    outcome = run("pipeline", definition)
    assert outcome.structured["result"] == {"got": None}
    assert [each["status"] for each in outcome.structured["steps"]] == ["failed", "ok"]


@pytest.mark.parametrize(("tool", "code"), [("away", "log_unavailable"), ("lost", "outcome_unrecorded")])
def test_no_step_goes_on_without_the_log(tool: str, code: str) -> None:
    steps: list[dict[str, Any]] = [
        step(tool, continue_on_failure=True),
        {"type": "parallel", "branches": [[step()], [step(tool)]], "continue_on_failure": True},
    ]
    for each in steps:
        with pytest.raises(MarinaError) as caught:
            run("workflow", {"steps": [each, step()]})
        assert caught.value.code == code


def test_a_question_to_the_client_passes_through() -> None:
    for each in (
        step("ask", continue_on_failure=True),
        {"type": "parallel", "branches": [[step("ask")], [step("fail")]]},
    ):
        with pytest.raises(InputRequired):
            run("workflow", {"steps": [each]})


def test_a_missing_member_fails_the_step_that_wants_it() -> None:
    outcome = run("pipeline", {"steps": [step(output="a"), step(args={"v": "${a.x.y}"})]})
    assert (
        outcome.text == "steps[1] (echo) failed: steps[1].args: ${a.x.y} is not there: ${a} has no member x."
    )


def test_a_loop_takes_each_item_and_gives_all_results() -> None:
    bench = Bench()
    loop = {
        "type": "loop",
        "over": "$numbers",
        "as": "n",
        "steps": [step("add", args={"a": "$n", "b": 1})],
        "output_variable": "all",
    }
    definition = {"parameters": {"numbers": {"type": "array"}}, "steps": [loop]}
    outcome = run("workflow", definition, {"numbers": [1, 2, 3]}, bench)
    assert outcome.structured["result"] == [{"sum": 2}, {"sum": 3}, {"sum": 4}]
    assert [key for _, _, key in bench.calls] == [
        "steps[0].steps[0]@0",
        "steps[0].steps[0]@1",
        "steps[0].steps[0]@2",
    ]
    assert run("workflow", definition, {"numbers": []}).structured["result"] == []


def test_a_loop_goes_on_while_its_condition_holds() -> None:
    counting = {
        "type": "loop",
        "while": {"left": "${n.sum}", "operator": "lt", "right": 5},
        "steps": [step("add", args={"a": "${n.sum}", "b": 2}, output="n")],
    }
    definition = {"steps": [step("add", args={"a": 0, "b": 0}, output="n"), counting], "result": "${n.sum}"}
    assert run("workflow", definition).structured["result"] == 6


def test_a_loop_without_end_is_ended() -> None:
    endless = {"type": "loop", "while": {"left": 1, "operator": "eq", "right": 1}, "steps": [step()]}
    outcome = run("workflow", {"steps": [{**endless, "max_iterations": 7}]})
    assert outcome.structured["error"]["code"] == "loop_too_long"
    assert "still holds after 7 times" in outcome.text
    long = {"type": "loop", "over": list(range(20)), "max_iterations": 10, "steps": [step()]}
    assert "has 20 items" in run("workflow", {"steps": [long]}).text


def test_loops_in_loops_are_bounded_whatever_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MAX_RUN_STEPS", 50)
    inner: dict[str, Any] = step("fail", continue_on_failure=True)
    for _ in range(3):
        inner = {"type": "loop", "over": list(range(100)), "steps": [inner], "continue_on_failure": True}
    bench = Bench()
    outcome = run("workflow", {"steps": [inner]}, bench=bench)
    assert outcome.structured["error"]["code"] == "too_many_steps"
    assert len(bench.calls) <= 50


def test_a_condition_takes_one_way() -> None:
    def choose(value: Any, operator: str, right: Any) -> Any:
        condition = {"left": "$v", "operator": operator}
        if operator not in ("exists", "empty"):
            condition["right"] = right
        definition = {
            "parameters": {"v": {"type": "object", "required": False}},
            "steps": [
                {
                    "type": "condition",
                    "if": condition,
                    "then": [step("say", args={"to": "yes"})],
                    "else": [step("say", args={"to": "no"})],
                }
            ],
        }
        return run("workflow", definition, {"v": value}).structured["result"]

    for value, operator, right, is_so in (
        (1, "eq", 1, True),
        (1, "eq", True, False),
        (0, "eq", False, False),
        ([1], "eq", [1], True),
        (1, "ne", 2, True),
        (2, "gt", 1.5, True),
        ("b", "gt", "a", True),
        (1, "lte", 1, True),
        (1, "lt", 1, False),
        ("abc", "contains", "b", True),
        ([1, 2], "contains", 2, True),
        ({"k": 1}, "contains", "k", True),
        (5, "contains", 5, False),
        (None, "exists", None, False),
        (0, "exists", None, True),
        ("", "empty", None, True),
        ([], "empty", None, True),
        (0, "empty", None, False),
    ):
        assert choose(value, operator, right) == f"hello {'yes' if is_so else 'no'}", (value, operator, right)


def test_values_without_an_order_are_named() -> None:
    definition = {
        "steps": [{"type": "condition", "if": {"left": 1, "operator": "lt", "right": "a"}, "then": [step()]}]
    }
    assert "no order" in run("workflow", definition).text


def test_branches_run_at_the_same_time() -> None:
    bench = Bench()
    branches = [[step(args={"n": n}, output=f"v{n}")] for n in range(5)]
    definition = {
        "steps": [{"type": "parallel", "branches": branches, "output_variable": "all"}],
        "result": ["${v0.n}", "${v4.n}", "${all[2].n}"],
    }
    assert run("workflow", definition, bench=bench).structured["result"] == [0, 4, 2]
    assert bench.most == 5


def test_a_branch_that_fails_ends_the_others_and_the_run() -> None:
    definition = {"steps": [{"type": "parallel", "branches": [[step("fail")], [step(), step(), step()]]}]}
    outcome = run("workflow", definition)
    assert outcome.text == "steps[0].branches[0][0] (fail) failed: The till is shut."


def test_large_results_of_steps_are_given_by_their_size() -> None:
    outcome = run("pipeline", {"steps": [step(args={"text": "x" * 5000})]})
    (told,) = outcome.structured["steps"]
    assert told["output_bytes"] == 5011
    assert outcome.structured["result"] == {"text": "x" * 5000}


# What a source brings along


def test_a_pipeline_of_the_caller_is_checked_and_run() -> None:
    steps = [step("say", args={"to": "$who"}, output="said")]
    checked = run("create_pipeline", {}, {"steps": steps, "initial_data": {"who": "me"}})
    assert checked.structured == {"pipeline": {"steps": steps}, "tools": ["say"], "read_only": True}
    done = run(
        "execute_pipeline", {}, {"pipeline": checked.structured["pipeline"], "initial_data": {"who": "you"}}
    )
    assert done.structured["result"] == "hello you"


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([step("nothing")], "steps[0].tool: There is no tool called nothing"),
        ([step("say")], "steps[0].args.to: is required"),
        ([step("say", args={"to": "$who"})], "nothing has set who"),
        ([{"type": "loop", "over": [], "steps": [step()]}], "for workflows"),
    ],
)
def test_a_pipeline_that_cannot_run_is_refused_before_anything_runs(steps: list[Any], words: str) -> None:
    for kind, arguments in (
        ("create_pipeline", {"steps": steps}),
        ("execute_pipeline", {"pipeline": {"steps": steps}}),
    ):
        bench = Bench()
        with pytest.raises(InvalidInput) as caught:
            run(kind, {}, arguments, bench)
        assert words in caught.value.message
        assert bench.calls == []


def test_a_stored_pipeline_is_run_by_its_name() -> None:
    bench = Bench()
    outcome = run("execute_pipeline", {}, {"pipeline": "echo", "initial_data": {"a": 1}}, bench)
    assert outcome.structured == {"a": 1}
    assert bench.calls == [("echo", {"a": 1}, "pipeline")]


def test_the_prompt_names_the_goal() -> None:
    outcome = run("data_pipeline", {}, {"goal": "a table of sales", "data": "orders.csv"})
    assert outcome.content is not None
    text = outcome.content[0]["content"]["text"]
    assert "a table of sales" in text
    assert "orders.csv" in text
