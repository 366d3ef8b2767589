"""A team's own Python: what is refused when it is saved, what a run gives, and how one is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from time import process_time
from typing import Any
from uuid import uuid4

import psutil
import pytest

from core.errors import Forbidden, InvalidInput, MarinaError, SourceError, Unavailable
from servers.execution.backends.code import CodeBackend
from servers.execution.backends.code.running import LINES_AT_ONCE, NICE
from servers.execution.context import Detached
from servers.execution.contract import Ask, InputRequired, Offered, Operation, Outcome, Principal, Source
from tests.turns import has_long_turns

SOURCE = Source(uuid4(), 1, "snippets", "code", 1, {"max_seconds": 20, "max_memory_mb": 32})
BRIEF = replace(SOURCE, settings={**SOURCE.settings, "max_seconds": 0.5})


class Bench(Detached):
    """A server with a few tools, and what was heard and called."""

    def __init__(self) -> None:
        super().__init__(Principal("a", "t", "s", "r"))
        self.heard: list[str] = []
        self.calls: list[tuple[str, dict[str, Any], str]] = []

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        self.calls.append((tool, dict(arguments), key))
        match tool:
            case "rows":
                return Outcome({"rows": [{"n": 1}, {"n": 2}]}, "")
            case "shop.say-it":
                return Outcome(None, f"hello {arguments['to']}")
            case "fail":
                raise SourceError("The till is shut.", code="source_unreachable")
            case "forbidden":
                raise Forbidden("Not yours.", rule="scope")
            case "away":
                raise Unavailable("The log cannot be written.", code="log_unavailable")
            case "ask":
                raise InputRequired({"sure": Ask("elicitation/create", {})})
        raise AssertionError(tool)

    async def log(self, level: Any, data: Any, logger: str = "") -> None:
        self.heard.append(data)


@pytest.fixture
async def backend() -> AsyncIterator[CodeBackend]:
    made = CodeBackend()
    yield made
    await made.close()


async def run(
    backend: CodeBackend,
    code: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    bench: Bench | None = None,
    source: Source = SOURCE,
    **more: Any,
) -> Outcome:
    definition = {"code": code, **more}
    return await backend.execute(
        source, Operation("python", definition), arguments or {}, timeout=30, context=bench or Bench()
    )


pytestmark = pytest.mark.anyio


# Runs


async def test_the_last_expression_is_the_result(backend: CodeBackend) -> None:
    parameters = {"word": {"type": "string"}, "times": {"type": "integer", "default": 2}}
    outcome = await run(
        backend, "again = word * times\n[again, len(again)]", {"word": "ab"}, parameters=parameters
    )
    assert outcome.structured == ["abab", 4]


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("{'a': (1, 2), 3: None}", {"a": [1, 2], "3": None}),
        ("{3, 1, 2}", [1, 2, 3]),
        ("import datetime\ndatetime.date(2026, 11, 21)", "2026-11-21"),
        ("import json, re, math\n[json.dumps(1), re.sub('a', 'b', 'aa'), math.floor(2.5)]", ["1", "bb", 2]),
        ("sum(n for n in range(10))", 45),
        ("'x'", "x"),
    ],
)
async def test_results_are_json(backend: CodeBackend, code: str, result: Any) -> None:
    assert (await run(backend, code)).structured == result


async def test_what_it_prints_is_logged_line_by_line(backend: CodeBackend) -> None:
    bench = Bench()
    outcome = await run(
        backend, "print('one')\nprint('two', end='')\nprint('!')\nprint('rest', end='')", bench=bench
    )
    assert bench.heard == ["one", "two!", "rest"]
    assert (outcome.structured, outcome.text) == (None, "one\ntwo!\nrest")


async def test_tools_are_functions(backend: CodeBackend) -> None:
    bench = Bench()
    code = "found = await rows(table='t')\nsaid = await shop_say_it(to=str(found['rows'][1]['n']))\nsaid"
    outcome = await run(backend, code, bench=bench, tools=["rows", "shop.say-it"])
    assert outcome.structured == "hello 2"
    assert bench.calls == [("rows", {"table": "t"}, "call 1"), ("shop.say-it", {"to": "2"}, "call 2")]


async def test_several_tools_are_called_at_the_same_time(backend: CodeBackend) -> None:
    code = "import asyncio\nboth = await asyncio.gather(rows(), shop_say_it(to='you'))\n[len(both[0]['rows']), both[1]]"
    assert (await run(backend, code, tools=["rows", "shop.say-it"])).structured == [2, "hello you"]


@pytest.mark.parametrize(("tool", "words"), [("fail", "The till is shut."), ("forbidden", "Not yours.")])
async def test_a_tool_that_fails_raises_where_it_is_called(
    backend: CodeBackend, tool: str, words: str
) -> None:
    with pytest.raises(SourceError) as caught:
        await run(backend, f"x = 1\nawait {tool}()", tools=[tool])
    assert f"line 2: RuntimeError: {words}" in caught.value.message
    code = f"try:\n    await {tool}()\nexcept Exception as fault:\n    said = str(fault)\nsaid"
    assert (await run(backend, code, tools=[tool])).structured == words


@pytest.mark.parametrize(("tool", "kind"), [("away", Unavailable), ("ask", InputRequired)])
async def test_what_ends_a_call_ends_the_run_whatever_the_code_catches(
    backend: CodeBackend, tool: str, kind: type[Exception]
) -> None:
    bench = Bench()
    code = (
        f"for n in range(3):\n    try:\n        await {tool}()\n    except Exception:\n        pass\n'fine'"
    )
    with pytest.raises(kind):
        await run(backend, code, bench=bench, tools=[tool])
    assert len(bench.calls) == 1


async def test_nothing_is_kept_between_runs(backend: CodeBackend) -> None:
    await run(backend, "kept = 'secret'\nimport sys\n1")
    with pytest.raises(SourceError, match="kept"):
        await run(backend, "kept")


# How a run is ended


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("while True: pass", "code_too_slow"),
        ("[n for n in range(10**12)]", "code_too_large"),
        ("x = []\nwhile True: x.append('a' * 100000)", "code_too_large"),
        ("'a' * 10**10", "code_too_large"),
        ("10 ** 10 ** 8", "code_too_large"),
        ("def f(n):\n    return f(n + 1)\nf(0)", "code_too_deep"),
        ("import time\ntime.sleep(60)", "code_too_slow"),
        ("open('/etc/passwd').read()", "code_failed"),
        ("import os\nos.listdir('/')", "code_failed"),
        ("import os\nos.environ['HOME']", "code_failed"),
        ("import os\nos.fork()", "code_failed"),
        ("import subprocess", "code_failed"),
        ("import socket", "code_failed"),
        ("import ctypes", "code_failed"),
        ("__import__('os').system('id')", "code_failed"),
        ("eval('__import__(\"os\").getpid()')", "code_failed"),
        ("().__class__.__bases__[0].__subclasses__()", "code_failed"),
        ("(lambda: 0).__globals__", "code_failed"),
        ("import re\nre.match('(' * 5000, 'a')", "code_failed"),
        ("1 / 0", "code_failed"),
        ("raise ValueError('no')", "code_failed"),
        ("b'bytes'", "result_not_json"),
    ],
)
async def test_code_that_would_do_harm_is_ended_with_the_reason(
    backend: CodeBackend, code: str, why: str
) -> None:
    with pytest.raises(SourceError) as caught:
        await run(backend, code, source=BRIEF if why == "code_too_slow" else SOURCE)
    assert caught.value.code == why, caught.value.message
    assert "/home" not in caught.value.message
    # The next run finds a sandbox that works.
    assert (await run(backend, "1 + 1")).structured == 2


async def test_a_fault_names_its_line(backend: CodeBackend) -> None:
    with pytest.raises(SourceError, match="line 3: ZeroDivisionError: division"):
        await run(backend, "x = 1\n\ny = x / 0")


async def test_calls_of_tools_are_bounded(backend: CodeBackend) -> None:
    bench = Bench()
    with pytest.raises(SourceError):
        await run(backend, "while True:\n    await rows()", bench=bench, tools=["rows"])
    assert len(bench.calls) <= 200


async def test_what_is_printed_is_bounded(backend: CodeBackend) -> None:
    outcome = await run(backend, "for n in range(200):\n    print('x' * 1000)")
    assert len(outcome.text) < 70_000
    assert "more was printed" in outcome.text


async def test_what_prints_without_end_is_not_read_as_fast_as_it_prints(backend: CodeBackend) -> None:
    await run(backend, "1")
    before = process_time()
    with pytest.raises(SourceError, match="time limit exceeded"):
        await run(backend, "while True: print('x' * 1000)", source=BRIEF)
    # Read as fast as it comes, it took more than a processor for all of half a second.
    assert process_time() - before < 0.25


async def test_many_printed_lines_leave_the_loop_to_others(backend: CodeBackend) -> None:
    bench = Bench()
    running = asyncio.create_task(run(backend, "print('\\n' * 8_000)", bench=bench))
    while not running.done():
        heard = len(bench.heard)
        await asyncio.sleep(0)
        assert len(bench.heard) - heard <= LINES_AT_ONCE
    await running
    assert len(bench.heard) == 8_001


async def test_who_leaves_ends_the_run(backend: CodeBackend) -> None:
    await run(backend, "1")
    task = asyncio.create_task(run(backend, "import asyncio\nwhile True:\n    await asyncio.sleep(0)"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await run(backend, "2")).structured == 2


async def test_the_sandbox_gives_way_to_the_process_that_serves_everybody(backend: CodeBackend) -> None:
    await run(backend, "sum(range(100_000))")
    own = psutil.Process()
    workers = [child for child in own.children() if child.name() == "monty"]
    assert workers
    for worker in workers:
        assert all(psutil.Process(each.id).nice() >= own.nice() + NICE for each in worker.threads())
        assert all(has_long_turns(each.id) for each in worker.threads())


async def test_the_sandbox_is_healthy(backend: CodeBackend) -> None:
    health = await backend.check(SOURCE)
    assert (health.state, health.reason) == ("healthy", "")


# When it is saved


def compiled(code: str, **more: Any) -> Offered:
    return CodeBackend().compile("python", {"code": code, **more})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "Write the code"),
        ("x = (", "line 1: '(' was never closed"),
        ("x = 1\nif x\n  y", "line 2: expected ':'"),
        ("x\0", "null bytes"),
        ("(" * 300 + ")" * 300, "line 1"),
        ("await row()", "line 1: nothing is called row"),
        ("x = 1\ny = xx + 1", "line 2: nothing is called xx"),
        ("#" * 70_000, "65536 characters"),
    ],
)
async def test_a_fault_that_can_be_seen_is_told_when_it_is_saved(code: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compiled(code, tools=["rows"])
    (fault,) = caught.value.errors
    assert fault["path"] == "code"
    assert words in fault["message"]


async def test_sound_code_is_taken() -> None:
    code = """
import json as j
from datetime import date

class Point:
    def __init__(self, x): self.x = x

async def work(n, *rest, **more):
    try:
        found = await rows(table=f"{n}")
    except ValueError as fault:
        return str(fault)
    match found:
        case {"rows": [first, *others], **left}:
            return [first, others, left]
    return [each for each in found if (kept := each)]

j.dumps(await work(count))
"""
    offered = compiled(code, tools=["rows"], parameters={"count": {"type": "integer"}})
    assert offered.input_schema["required"] == ["count"]
    assert CodeBackend().uses(offered.operation) == ["rows"]


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"tools": "rows"}, "tools"),
        ({"tools": ["a.b", "a-b"]}, "tools[1]"),
        ({"tools": ["x"], "parameters": {"x": {"type": "string"}}}, "tools[0]"),
        ({"output_schema": []}, "output_schema"),
        ({"output_schema": {"type": "nothing"}}, "output_schema"),
        ({"colour": "red"}, "colour"),
        ({"parameters": {"a": {"type": "date"}}}, "parameters.a.type"),
    ],
)
async def test_a_fault_of_the_definition_is_named_at_its_place(more: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compiled("1", **more)
    assert path in {fault["path"] for fault in caught.value.errors}


async def test_it_reads_as_its_tools_do() -> None:
    backend = CodeBackend()
    offered = compiled("await rows()", tools=["rows"])

    def tool(reads: bool) -> Offered:
        return Offered("rows", "", "", {}, None, {"readOnlyHint": reads}, Operation("x", {}))

    assert backend.link(offered, {"rows": tool(True)}).annotations["readOnlyHint"] is True
    assert backend.link(offered, {"rows": tool(False)}).annotations == {"readOnlyHint": False}
    with pytest.raises(InvalidInput) as caught:
        backend.link(offered, {})
    assert caught.value.errors[0]["path"] == "tools[0]"


@pytest.mark.parametrize(
    "settings", [{"max_seconds": 0}, {"max_seconds": 21}, {"max_memory_mb": True}, {"colour": 1}]
)
async def test_settings_are_bounded(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        CodeBackend().clean_settings(settings)
    assert CodeBackend().clean_settings({}) == {"max_seconds": 5, "max_memory_mb": 64}


async def test_only_python_is_made_here(backend: CodeBackend) -> None:
    with pytest.raises(InvalidInput, match="Use python"):
        backend.compile("sql", {})
    with pytest.raises(MarinaError):
        await backend.execute(SOURCE, Operation("sql", {}), {}, timeout=1, context=Bench())
