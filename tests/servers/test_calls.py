"""The one decision path: what runs, what is refused, and what of it stands in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
from django.db import connection

from core.errors import Forbidden, InvalidInput, MarinaError, NotFound, SourceError, Unavailable
from core.loop import run_async
from servers.execution.contract import Completion, InputRequired, Outcome
from servers.execution.engine import Engine
from servers.services.callresults import CallResult
from servers.services.calls import call_tool, complete_argument, get_prompt, read_resource
from servers.services.runtime import get_runtime
from servers.services.surfaces import Surface
from tenants.access import Caller
from tenants.audit.chain import Head
from tenants.audit.originals import Detail, Marks
from tenants.audit.records import decode
from tenants.audit.verification import verify_log
from tenants.audit.writer import AuditWriter
from tenants.models import AuditRecord
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.activity import measure_usage
from tests.plainkind import only
from tests.servers.ledger import TEMPLATE, URI, Ledger, make_surface
from tests.tenants.audit.places import make_place

_T = TypeVar("_T")


@dataclass
class Desk:
    """A tenant with a server on a ledger, and who asks."""

    ledger: Ledger
    surface: Surface
    caller: Caller

    def scoped(self, *scopes: str) -> Caller:
        return replace(self.caller, role=None, scopes=frozenset(scopes))

    def log(self) -> list[dict[str, Any]]:
        with tenant_scope(self.caller.tenant_id):
            rows = AuditRecord.objects.order_by("seq")
            return [{**decode(bytes(row.body)), "seq": row.seq} for row in rows]

    def outcomes(self) -> list[str]:
        return [record["outcome"] for record in self.log()]

    def call(self, tool: str, arguments: dict[str, Any] | None = None, **given: Any) -> CallResult:
        return _run(self.calling(tool, arguments, **given))

    async def calling(self, tool: str, arguments: dict[str, Any] | None = None, **given: Any) -> CallResult:
        return await call_tool(
            **{"caller": self.caller, **given},
            surface=self.surface,
            tool_name=tool,
            arguments=arguments or {},
            client="test",
            request_id="r-1",
        )

    def read(self, uri: str, **given: Any) -> Outcome:
        who = {"caller": self.caller, **given}
        return _run(read_resource(**who, surface=self.surface, uri=uri, client="test", request_id="r-1"))

    def prompt(self, name: str, arguments: dict[str, Any], **given: Any) -> Outcome:
        return _run(
            get_prompt(
                **{"caller": self.caller, **given},
                surface=self.surface,
                name=name,
                arguments=arguments,
                client="test",
                request_id="r-1",
            )
        )

    def complete(self, argument: str, value: str, **given: Any) -> Completion:
        return _run(
            complete_argument(
                **{"caller": self.caller, "prompt": None, "uri": None, **given},
                surface=self.surface,
                argument=argument,
                value=value,
                given={},
                client="test",
                request_id="r-1",
            )
        )


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    return run_async(work, timeout=20)


@pytest.fixture
def desk(database: None, monkeypatch: pytest.MonkeyPatch) -> Desk:
    runtime = get_runtime()
    run_async(runtime.start(), timeout=20)
    ledger = Ledger()
    monkeypatch.setattr(runtime, "engine", Engine(makers=only(ledger), max_result_bytes=10_000))
    place = make_place()
    caller = Caller(place.tenant_id, place.slug, actor="key:desk", role=Role.OWNER)
    return Desk(ledger, make_surface(place.tenant_id, place.slug), caller)


# Intents


def test_a_call_that_may_change_something_is_in_the_log_before_it_runs(desk: Desk) -> None:
    seen: list[list[str]] = []
    # On the loop the log is read through a connection of its own; the writer's commit must be over by then.
    desk.ledger.during = lambda: seen.append(_outcomes_elsewhere(desk))
    result = desk.call("pay", {"amount": 5, "password": "hunter2"})
    intent, outcome = desk.log()
    assert seen == [["intent"]]
    assert (intent["outcome"], outcome["outcome"], outcome["intent"]) == ("intent", "ok", intent["seq"])
    assert "intent" not in intent
    assert result.seq == outcome["seq"]
    assert intent["arguments"] == outcome["arguments"] == {"amount": 5, "password": "[masked]"}
    assert (intent["tool"], intent["tool_version"], intent["duration_us"]) == ("pay", 3, 0)
    assert isinstance(verify_log(desk.caller.tenant_id), Head)


def _outcomes_elsewhere(desk: Desk) -> list[str]:
    from concurrent.futures import ThreadPoolExecutor

    def read() -> list[str]:
        try:
            return desk.outcomes()
        finally:
            # A thread that ends with its connection takes it out of the pool for good.
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(read).result()


def test_a_read_only_tool_leaves_one_record(desk: Desk) -> None:
    assert desk.call("look").outcome == "ok"
    (record,) = desk.log()
    assert record["outcome"] == "ok"
    assert "intent" not in record


def test_only_a_hint_that_is_true_makes_a_tool_read_only(desk: Desk) -> None:
    desk.call("claim")
    assert desk.outcomes() == ["intent", "ok"]


def test_what_is_refused_or_does_not_fit_has_no_intent(desk: Desk) -> None:
    with pytest.raises(Forbidden):
        desk.call("pay", caller=desk.scoped("tools:read"))
    assert desk.call("pay", {"amount": "much"}).outcome == "invalid"
    with pytest.raises(NotFound):
        desk.call("steal")
    assert desk.outcomes() == ["refused", "invalid", "invalid"]
    assert desk.ledger.ran == 0


@pytest.mark.parametrize(("tool", "outcome"), [("break", "error"), ("ask", "input_required")])
def test_however_a_call_ends_its_outcome_names_its_intent(desk: Desk, tool: str, outcome: str) -> None:
    if tool == "ask":
        with pytest.raises(InputRequired):
            desk.call(tool)
    else:
        assert desk.call(tool).error is not None
    intent, ended = desk.log()
    assert (ended["outcome"], ended["intent"]) == (outcome, intent["seq"])


def test_a_client_that_leaves_leaves_an_intent_and_that_it_left(desk: Desk) -> None:
    async def leave() -> None:
        call = asyncio.create_task(desk.calling("wait"))
        await asyncio.to_thread(desk.ledger.entered.wait, 10)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()

    _run(leave())
    intent, ended = desk.log()
    assert (ended["outcome"], ended["intent"]) == ("cancelled", intent["seq"])


def test_a_client_that_leaves_before_the_intent_is_written_has_nothing_run(desk: Desk) -> None:
    async def leave() -> None:
        call = asyncio.create_task(desk.calling("pay"))
        while not get_runtime().writer.waiting:  # noqa: ASYNC110 - what the writer shows is a property
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()

    _run(leave())
    intent, ended = desk.log()
    assert (intent["outcome"], ended["outcome"], ended["intent"]) == ("intent", "cancelled", intent["seq"])
    assert desk.ledger.ran == 0


def test_when_the_outcome_cannot_be_written_the_caller_learns_that_it_ran(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests before may share the runtime, so the log that goes away is one of this test's own.
    lost = AuditWriter(get_runtime().writer._dsn)
    _run(lost.start())
    monkeypatch.setattr(get_runtime(), "writer", lost)
    desk.ledger.during = lambda: setattr(lost, "_accepting", False)
    with pytest.raises(MarinaError) as told:
        desk.call("pay")
    monkeypatch.undo()
    _run(lost.close())
    assert told.value.code == "outcome_unrecorded"
    assert not isinstance(told.value, Unavailable), "whoever hears 503 calls again"
    assert not told.value.retryable
    (intent,) = desk.log()
    assert intent["outcome"] == "intent"
    assert told.value.data == {"intent_seq": intent["seq"]}


def test_while_the_log_cannot_be_written_nothing_runs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_runtime(), "writer", AuditWriter("postgresql://127.0.0.1:9/none"))
    for attempt in (
        lambda: desk.call("pay"),
        lambda: desk.read(URI),
        lambda: desk.prompt("audit", {"year": "2026"}),
        lambda: desk.complete("year", "20", prompt="audit"),
    ):
        with pytest.raises(Unavailable):
            attempt()
    assert desk.ledger.ran == 0
    assert desk.ledger.completed == []


def test_the_overview_counts_each_call_once(desk: Desk) -> None:
    desk.call("pay")
    desk.call("look")
    desk.call("break")
    with pytest.raises(InputRequired):
        desk.call("ask")
    usage = measure_usage(caller=desk.caller)
    assert (usage.calls, usage.errors) == (3, 1)


# Results


def test_a_tools_own_failure_keeps_what_it_said(desk: Desk) -> None:
    result = desk.call("fail")
    assert (result.outcome, result.text) == ("error", "There is no such account.")
    assert result.content == [{"type": "text", "text": "There is no such account."}]
    assert result.error is not None
    assert result.error.code == "tool_failed"
    (record,) = desk.log()
    assert (record["outcome"], record["reason"]["code"]) == ("error", "tool_failed")


def test_a_result_that_does_not_fit_its_schema_is_the_tools_error_and_repeats_no_value(desk: Desk) -> None:
    result = desk.call("misfit")
    assert result.outcome == "error"
    assert result.error is not None
    assert result.error.code == "result_invalid"
    assert "$.total must be of type integer" in result.text
    assert result.structured is None
    assert "hunter2" not in result.text + str(desk.log())


def test_a_structured_result_may_be_any_json_value(desk: Desk) -> None:
    assert desk.call("list").structured == [1, 2]


def test_content_counts_towards_the_size_of_a_result(desk: Desk) -> None:
    assert desk.call("blocks", {"size": 100}).size > 100
    too_large = desk.call("blocks", {"size": 10_001})
    assert too_large.error is not None
    assert too_large.error.code == "result_too_large"


# Resources and prompts


def test_reading_a_resource_is_recorded_with_its_uri(desk: Desk) -> None:
    outcome = desk.read(URI, caller=desk.scoped("resources:read"))
    assert outcome.content == [{"uri": URI, "text": str({"uri": URI})}]
    (record,) = desk.log()
    assert (record["kind"], record["outcome"], record["tool"]) == ("resources/read", "ok", URI)
    assert record["arguments"] == {"uri": URI}
    assert record["size"] > 2


def test_a_secret_in_a_uri_is_in_no_record_and_no_answer(desk: Desk) -> None:
    with pytest.raises(NotFound) as unknown:
        desk.read(f"https://joe:hunter2@example.com/{'x/' * 300}?api_key=sk_live_0123456789abcdef")
    assert unknown.value.code == "resource_unknown"
    (record,) = desk.log()
    assert (record["outcome"], len(record["tool"])) == ("invalid", 140)
    for said in (unknown.value.message, str(unknown.value.data), str(record)):
        assert "hunter2" not in said
        assert "0123456789abcdef" not in said


def test_getting_a_prompt_is_recorded_with_its_name(desk: Desk) -> None:
    outcome = desk.prompt("audit", {"year": "2026"}, caller=desk.scoped("prompts:read"))
    assert outcome.text == "Audits a year."
    (record,) = desk.log()
    assert (record["kind"], record["outcome"], record["tool"]) == ("prompts/get", "ok", "audit")
    assert record["arguments"] == {"year": "2026"}


def test_each_fault_of_a_prompts_arguments_is_named(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as refusal:
        desk.prompt("audit", {"depth": 5, "colour": "red"})
    assert refusal.value.code == "arguments_invalid"
    assert {error["path"]: error["message"] for error in refusal.value.errors} == {
        "$.year": "is required, but missing",
        "$.depth": "must be of type string, not integer",
        "$.colour": "is not an argument of this prompt",
    }
    assert desk.outcomes() == ["invalid"]
    assert desk.ledger.ran == 0


def test_an_unknown_prompt_names_those_that_there_are(desk: Desk) -> None:
    with pytest.raises(NotFound, match="It offers: audit") as unknown:
        desk.prompt("nothing", {})
    assert unknown.value.code == "prompt_unknown"
    assert desk.outcomes() == ["invalid"]


@pytest.mark.parametrize(
    "scopes",
    [
        ("tools:read", "tools:execute"),
        ("tools:read", "tools:execute", "tool:pay"),
        ("resources:read", "prompts:read", "server:other"),
        (),
    ],
)
def test_a_key_without_the_scope_or_for_another_server_reads_nothing(
    desk: Desk, scopes: tuple[str, ...]
) -> None:
    caller = desk.scoped(*scopes)
    for attempt in (
        lambda: desk.read(URI, caller=caller),
        lambda: desk.prompt("audit", {"year": "2026"}, caller=caller),
        lambda: desk.complete("year", "20", prompt="audit", caller=caller),
        lambda: desk.complete("year", "20", uri=TEMPLATE, caller=caller),
    ):
        with pytest.raises(Forbidden):
            attempt()
    assert desk.outcomes() == ["refused"] * 4
    assert desk.ledger.ran == 0
    assert desk.ledger.completed == []


def test_a_scope_that_narrows_tools_leaves_resources_and_prompts_alone(desk: Desk) -> None:
    caller = desk.scoped("resources:read", "prompts:read", "tool:pay", "server:default")
    desk.read(URI, caller=caller)
    desk.prompt("audit", {"year": "2026"}, caller=caller)
    assert desk.outcomes() == ["ok", "ok"]


def test_a_resource_whose_source_cannot_be_opened_says_so(desk: Desk) -> None:
    (resource,) = desk.surface.resources
    broken = replace(resource, source=None, fault="The settings cannot be opened.")
    desk.surface = replace(desk.surface, resources=(broken,))
    with pytest.raises(SourceError, match="cannot be opened") as refusal:
        desk.read(URI)
    assert refusal.value.code == "resource_unusable"
    assert desk.outcomes() == ["error"]


# Completion


def test_completion_gives_at_most_a_hundred_values_and_leaves_no_record(desk: Desk) -> None:
    found = desk.complete("year", "20", prompt="audit", caller=desk.scoped("prompts:read"))
    assert (len(found.values), found.total, found.has_more) == (100, 150, True)
    desk.complete("size", "1", uri=TEMPLATE, caller=desk.scoped("resources:read"))
    assert desk.ledger.completed == [("year", "20"), ("size", "1")]
    assert desk.log() == []


@pytest.mark.parametrize(
    ("given", "argument", "error"),
    [
        ({"prompt": "audit"}, "colour", InvalidInput),
        ({"prompt": "nothing"}, "year", NotFound),
        ({"uri": TEMPLATE}, "colour", InvalidInput),
        ({"uri": URI}, "year", InvalidInput),
        ({"uri": "ledger://nothing"}, "year", NotFound),
        ({}, "year", InvalidInput),
        ({"prompt": "audit", "uri": URI}, "year", InvalidInput),
    ],
)
def test_what_cannot_be_completed_is_refused_and_recorded(
    desk: Desk, given: dict[str, str], argument: str, error: type[MarinaError]
) -> None:
    with pytest.raises(error):
        desk.complete(argument, "x", **given)
    (record,) = desk.log()
    assert (record["kind"], record["outcome"]) == ("completion/complete", "invalid")
    assert desk.ledger.completed == []


# What is kept beside masked arguments


MARKS = Marks(b"k" * 32)


@pytest.fixture
def kept(desk: Desk) -> Desk:
    """The desk of a team that keeps all of it."""
    desk.surface = replace(desk.surface, detail=Detail(MARKS, 500))
    return desk


def test_every_record_of_a_run_has_the_mark_of_what_was_given_and_the_outcome_how_its_result_begins(
    kept: Desk,
) -> None:
    given = {"amount": 5, "password": "hunter2"}
    kept.call("pay", given)
    intent, outcome = kept.log()
    assert intent["arguments"]["password"] == "[masked]"
    assert (intent["hmac"], outcome["hmac"]) == (MARKS.of(given), MARKS.of(given))
    assert ("preview" in intent, outcome["preview"]) == (False, '{"total":5}')


def test_resources_prompts_and_failures_have_theirs_and_what_was_refused_has_none(kept: Desk) -> None:
    kept.read(URI)
    kept.prompt("audit", {"year": "2026"})
    kept.call("fail")
    kept.call("break")
    read, got, failed, _, broken = kept.log()
    assert (read["hmac"], read["preview"][:9]) == (MARKS.of({"uri": URI}), "{'uri': '")
    assert (got["hmac"], got["preview"]) == (MARKS.of({"year": "2026"}), "user: Audit 2026.")
    assert (failed["outcome"], failed["preview"]) == ("error", "There is no such account.")
    assert (broken["hmac"], "preview" in broken) == (MARKS.of({}), False)
    # Whoever could have guesses marked by calls that nothing lets through could try all there are.
    nothing = kept.scoped("audit:metadata")
    for asked in (
        lambda: kept.call("look", {"amount": 1}, caller=nothing),
        lambda: kept.call("nowhere", {"amount": 1}),
        lambda: kept.read("ledger://nowhere"),
        lambda: kept.prompt("nowhere", {"year": "2026"}),
    ):
        with pytest.raises((Forbidden, NotFound)):
            asked()
        assert "hmac" not in kept.log()[-1]


def test_a_team_that_keeps_nothing_of_results_has_marks_alone(desk: Desk) -> None:
    desk.surface = replace(desk.surface, detail=Detail(MARKS, 0))
    desk.call("look")
    (record,) = desk.log()
    assert (record["hmac"], "preview" in record) == (MARKS.of({}), False)


def test_a_secret_in_a_result_is_masked_in_the_log_and_not_in_the_answer(kept: Desk) -> None:
    secret = "ghp_" + "a1" * 20
    kept.read("ledger://books/2026")
    kept.prompt("audit", {"year": secret})
    assert secret not in str(kept.log())
    assert "[masked]" in kept.log()[1]["preview"]
