"""A tool that calls other tools: by its caller's rights, under its record, and within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from core.errors import Forbidden, MarinaError, SourceError
from core.loop import run_async
from servers.execution.context import Detached
from servers.execution.contract import (
    Ask,
    Context,
    InputRequired,
    Operation,
    Outcome,
    Principal,
    Source,
)
from servers.execution.engine import Engine
from servers.execution.schemas import compile_schema
from servers.services import nesting
from servers.services.callresults import CallResult
from servers.services.calls import call_tool
from servers.services.runtime import get_runtime
from servers.services.surfaces import Surface, SurfaceTool
from tenants.access import Caller
from tenants.audit.records import decode
from tenants.models import AuditRecord
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.log import get_record, list_calls_within
from tests.plainkind import PlainKind, only
from tests.servers.ledger import Ledger, make_surface
from tests.tenants.audit.places import make_place

Work = Callable[[Context], Awaitable[Any]]


class Foreman(PlainKind):
    """A kind whose tools do what a test says, with other tools' help. ``works``: by the tool's name."""

    kind = "foreman"
    title = "Foreman"
    composes = True

    def __init__(self) -> None:
        self.works: dict[str, Work] = {}

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        return Outcome(await self.works[operation.kind](context), "done")


class Site:
    """A tenant's server with a ledger's tools, and two that compose."""

    def __init__(self) -> None:
        self.foreman = Foreman()
        place = make_place()
        self.caller = Caller(place.tenant_id, place.slug, actor="key:site", role=Role.OWNER)
        surface = make_surface(place.tenant_id, place.slug)
        source = Source(uuid4(), place.tenant_id, "site", "foreman", 1, {})
        tools = [*surface.tools, *(_composed(name, source) for name in ("build", "wall", "roof"))]
        self.surface: Surface = replace(
            surface, tools=tuple(tools), by_name={tool.name: tool for tool in tools}
        )

    def call(self, tool: str, *, timeout: float = 20.0, **given: Any) -> CallResult:
        return run_async(
            call_tool(
                **{"caller": self.caller, **given},
                surface=self.surface,
                tool_name=tool,
                arguments={"amount": 1},
                client="test",
                request_id="r-site",
                timeout=timeout,
            ),
            timeout=20,
        )

    def log(self) -> list[dict[str, Any]]:
        with tenant_scope(self.caller.tenant_id):
            rows = AuditRecord.objects.order_by("seq")
            return [{**decode(bytes(row.body)), "seq": row.seq} for row in rows]

    def told(self) -> list[tuple[str, str, int | None]]:
        return [(each["tool"], each["outcome"], each.get("parent")) for each in self.log()]


def _composed(name: str, source: Source) -> SurfaceTool:
    return SurfaceTool(
        name=name,
        title=name,
        description="",
        input_schema={"type": "object"},
        output_schema=None,
        annotations={},
        version=1,
        operation=Operation(name, {}),
        source=source,
        validator=compile_schema({"type": "object"}),
    )


@pytest.fixture
def site(database: None, monkeypatch: pytest.MonkeyPatch) -> Site:
    runtime = get_runtime()
    run_async(runtime.start(), timeout=20)
    made = Site()
    monkeypatch.setattr(runtime, "engine", Engine(makers=only(Ledger(), made.foreman)))
    return made


def test_each_call_is_recorded_under_the_call_that_makes_it(site: Site) -> None:
    async def build(context: Context) -> Any:
        looked = await context.call("look", {}, key="1")
        paid = await context.call("pay", {"amount": 2}, key="2")
        return {"looked": looked.structured, "paid": paid.structured}

    site.foreman.works["build"] = build
    result = site.call("build")
    assert result.structured == {"looked": {"total": 5}, "paid": {"total": 5}}
    first = site.log()[0]["seq"]
    assert site.told() == [
        ("build", "intent", None),
        ("look", "ok", first),
        ("pay", "intent", first),
        ("pay", "ok", first),
        ("build", "ok", None),
    ]
    assert {each["request_id"] for each in site.log()} == {"r-site"}
    for seq in (first, result.seq):
        within = list_calls_within(get_record(seq, caller=site.caller), caller=site.caller)
        assert [(each.tool, each.outcome) for each in within] == [("look", "ok"), ("pay", "ok")]
        assert {each.parent_seq for each in within} == {first}


def test_a_call_of_calls_shows_those_that_it_made_itself(site: Site) -> None:
    async def build(context: Context) -> Any:
        return (await context.call("wall", {}, key="1")).structured

    async def wall(context: Context) -> Any:
        return (await context.call("look", {}, key="1")).structured

    site.foreman.works |= {"build": build, "wall": wall}
    result = site.call("build")
    outer = get_record(result.seq, caller=site.caller)
    (made,) = list_calls_within(outer, caller=site.caller)
    assert (made.tool, [each.tool for each in list_calls_within(made, caller=site.caller)]) == (
        "wall",
        ["look"],
    )


def test_calls_are_decided_by_the_callers_own_rights(site: Site) -> None:
    async def build(context: Context) -> Any:
        with pytest.raises(Forbidden):
            await context.call("pay", {}, key="1")
        return (await context.call("look", {}, key="2")).structured

    site.foreman.works["build"] = build
    scopes = frozenset({"tools:read", "tools:execute", "tool:build", "tool:look"})
    result = site.call("build", caller=replace(site.caller, role=None, scopes=scopes))
    assert (result.outcome, result.structured) == ("ok", {"total": 5})
    assert [(tool, outcome) for tool, outcome, _ in site.told()] == [
        ("build", "intent"),
        ("pay", "refused"),
        ("look", "ok"),
        ("build", "ok"),
    ]


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("break", {}, "source_unreachable"),
        ("fail", {}, "tool_failed"),
        ("look", {"amount": "much"}, "arguments_invalid"),
        ("misfit", {}, "result_invalid"),
        ("nothing", {}, "tool_unknown"),
    ],
)
def test_what_fails_within_fails_by_its_own_reason(
    site: Site, tool: str, arguments: dict[str, Any], code: str
) -> None:
    async def build(context: Context) -> Any:
        return await context.call(tool, arguments, key="1")

    site.foreman.works["build"] = build
    result = site.call("build")
    assert result.error is not None
    assert result.error.code == code
    if code == "tool_failed":
        assert result.error.message == "There is no such account."


def test_a_tool_that_calls_itself_is_stopped(site: Site) -> None:
    async def build(context: Context) -> Any:
        return await context.call("wall", {}, key="1")

    async def wall(context: Context) -> Any:
        return await context.call("build", {}, key="1")

    site.foreman.works |= {"build": build, "wall": wall}
    result = site.call("build")
    assert result.error is not None
    assert (result.error.code, result.error.message) == (
        "calls_itself",
        "A tool may not call itself, and this one would: build → wall → build.",
    )


def test_a_loop_of_calls_is_stopped_at_its_bound(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nesting, "MAX_CALLS", 5)

    async def build(context: Context) -> Any:
        for number in range(100):
            await context.call("wall" if number == 0 else "look", {}, key=str(number))

    async def wall(context: Context) -> Any:
        # Those of its calls count, too.
        await context.call("look", {}, key="1")

    site.foreman.works |= {"build": build, "wall": wall}
    result = site.call("build")
    assert result.error is not None
    assert result.error.code == "too_many_calls"
    assert sum(tool == "look" for tool, _, _ in site.told()) == 4


def test_calls_go_so_deep_and_no_deeper(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nesting, "MAX_DEPTH", 2)

    async def down(context: Context, to: str) -> Any:
        return await context.call(to, {}, key="1")

    site.foreman.works |= {
        "build": lambda context: down(context, "wall"),
        "wall": lambda context: down(context, "roof"),
        "roof": lambda context: down(context, "look"),
    }
    result = site.call("build")
    assert result.error is not None
    assert result.error.code == "calls_too_deep"
    assert "build → wall → roof → look" in result.error.message


def test_a_call_within_ends_by_its_own_deadline(site: Site) -> None:
    async def build(context: Context) -> Any:
        return await context.call("wait", {}, key="1")

    site.foreman.works["build"] = build
    result = site.call("build", timeout=4)
    assert result.error is not None
    assert result.error.code == "source_timeout"
    reasons = {each["tool"]: each["reason"]["code"] for each in site.log() if each["reason"]}
    assert reasons == {"wait": "source_timeout", "build": "source_timeout"}


def test_who_leaves_cancels_what_runs_within(site: Site) -> None:
    async def build(context: Context) -> Any:
        return await context.call("wait", {}, key="1")

    site.foreman.works["build"] = build

    async def leave() -> None:
        task = asyncio.create_task(
            call_tool(
                caller=site.caller,
                surface=site.surface,
                tool_name="build",
                arguments={},
                client="test",
                request_id="r-site",
            )
        )
        ledger = get_runtime().engine.backend("ledger")
        assert isinstance(ledger, Ledger)
        assert await asyncio.to_thread(ledger.entered.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_async(leave(), timeout=20)
    ended = [(tool, outcome) for tool, outcome, _ in site.told() if outcome != "intent"]
    assert ended == [("wait", "cancelled"), ("build", "cancelled")]


class Answering(Detached):
    """A client of 2025-11-25 that answers every question at once, and keeps what it heard."""

    def __init__(self) -> None:
        super().__init__(Principal("a", "t", "s", "r"))
        self.asked: list[str] = []
        self.heard: list[Any] = []

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        self.asked.extend(asks)
        return {key: {"action": "accept", "content": {"key": key}} for key in asks}

    async def log(self, level: Any, data: Any, logger: str = "") -> None:
        self.heard.append(data)

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        self.heard.append(progress)


def test_questions_within_carry_the_way_to_them(site: Site) -> None:
    async def build(context: Context) -> Any:
        return (await context.call("wall", {}, key="a")).structured

    async def wall(context: Context) -> Any:
        await context.progress(1)
        return (await context.call("roof", {}, key="b")).structured

    async def roof(context: Context) -> Any:
        await context.log("info", "hello")
        return dict(await context.ask({"sure": Ask("elicitation/create", {})}))

    site.foreman.works |= {"build": build, "wall": wall, "roof": roof}
    client = Answering()
    result = site.call("build", context=client)
    assert client.asked == ["a/b/sure"]
    assert result.structured == {"sure": {"action": "accept", "content": {"key": "a/b/sure"}}}
    # Progress is the outer call's to tell.
    assert client.heard == ["hello"]


def test_a_question_begins_the_run_anew_only_while_nothing_was_changed(site: Site) -> None:
    calls: Sequence[str] = ("look", "ask")

    async def build(context: Context) -> Any:
        for number, tool in enumerate(calls):
            await context.call(tool, {}, key=str(number))

    site.foreman.works["build"] = build
    with pytest.raises(InputRequired):
        site.call("build")
    calls = ("pay", "ask")
    result = site.call("build")
    assert isinstance(result.error, SourceError)
    assert result.error.code == "asked_too_late"


def test_other_kinds_call_no_tools(site: Site) -> None:
    async def ask() -> None:
        with pytest.raises(MarinaError, match="calls no other tools"):
            await Detached(Principal("a", "t", "s", "r")).call("look", {}, key="1")

    run_async(ask(), timeout=5)
