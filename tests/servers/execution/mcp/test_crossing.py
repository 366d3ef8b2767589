"""Calls to real servers of the official SDK, of either era: what they answer comes back as it is."""

from __future__ import annotations

import asyncio

import anyio
import orjson
import pytest

from core.errors import NotFound, SourceError
from servers.execution.backends.mcp.calls import margin_of
from servers.execution.contract import Operation, Trace
from tests.marina.harbour import Harbour
from tests.servers.execution.mcp.conftest import Ask, Client
from tests.servers.execution.mcp.shipyard import PIXEL, open_shipyard

pytestmark = pytest.mark.anyio

LOGS_ARE_OLD = pytest.mark.filterwarnings("ignore:The logging capability is deprecated")


async def test_a_structured_result_comes_back_whole(ask: Ask, yard: Harbour) -> None:
    outcome = await ask.call(yard.url, "launch", {"name": "Argo"})
    assert outcome.structured == {"name": "Argo", "masts": 3}
    assert not outcome.failed
    assert outcome.content is not None
    assert outcome.content[0]["type"] == "text"


async def test_every_type_of_content_comes_back_with_its_annotations_and_meta(
    ask: Ask, yard: Harbour
) -> None:
    outcome = await ask.call(yard.url, "everything")
    assert outcome.content is not None
    text, image, resource, link = outcome.content
    assert text["text"] == "words"
    assert text["annotations"] == {"audience": ["user"]}
    assert (image["data"], image["mimeType"]) == (PIXEL, "image/png")
    assert resource["resource"]["text"] == "calm"
    assert (link["type"], link["uri"]) == ("resource_link", "ship://log")
    assert outcome.meta == {"example.com/trip": 7}
    assert outcome.text == "words"


async def test_a_tool_that_fails_says_so_in_its_own_words(ask: Ask, yard: Harbour) -> None:
    outcome = await ask.call(yard.url, "sink")
    assert outcome.failed
    assert "the hull has a hole" in outcome.text


async def test_a_tool_that_is_gone_is_a_failure_and_not_a_fault_of_ours(ask: Ask, yard: Harbour) -> None:
    outcome = await ask.call(yard.url, "keelhaul")
    assert outcome.failed


async def test_progress_and_log_messages_reach_the_client(ask: Ask, yard: Harbour) -> None:
    client = Client()
    outcome = await ask.call(yard.url, "sail", client=client)
    assert outcome.text == "arrived"
    assert client.told == [(1, 3, "mile 1"), (2, 3, "mile 2"), (3, 3, "mile 3")]


@LOGS_ARE_OLD
async def test_a_log_message_reaches_the_client(ask: Ask, yard: Harbour) -> None:
    client = Client()
    await ask.call(yard.url, "talk", client=client)
    assert client.told == [("info", "land in sight")]


async def test_a_resource_a_template_and_a_prompt_are_read(ask: Ask, yard: Harbour) -> None:
    log = await ask.run(yard.url, Operation("resource", {"uri": "ship://log"}), {"uri": "ship://log"})
    assert log.content is not None
    assert (log.content[0]["text"], log.content[0]["mimeType"]) == ("calm", "text/plain")
    deck = await ask.run(
        yard.url,
        Operation("resource", {"uri": "ship://deck/{number}"}),
        {"uri": "ship://deck/4", "number": "4"},
    )
    assert deck.content is not None
    assert deck.content[0]["text"] == "deck 4"
    greeting = await ask.run(yard.url, Operation("prompt", {"name": "greet"}), {"name": "Ann"})
    assert greeting.content is not None
    assert greeting.content[0]["role"] == "user"
    assert greeting.content[0]["content"]["text"] == "Greet Ann in a warm way."


async def test_a_resource_that_is_not_there_is_not_found(ask: Ask, yard: Harbour) -> None:
    with pytest.raises(NotFound):
        await ask.run(yard.url, Operation("resource", {"uri": "ship://none"}), {"uri": "ship://none"})


async def test_arguments_are_repeated_in_the_headers_that_a_schema_names(
    ask: Ask, modern_yard: Harbour
) -> None:
    offering = await ask.offering(modern_yard.url)
    berth = next(each for each in offering.tools if each.name == "berth")
    outcome = await ask.run(modern_yard.url, berth.operation, {"harbour": "Málaga"})
    assert outcome.text == "a berth in Málaga"
    assert modern_yard.of("tools/call")[-1].headers["mcp-param-harbour"].startswith("=?base64?")


async def test_the_trace_of_a_call_goes_on_with_it(ask: Ask, yard: Harbour) -> None:
    client = Client()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.trace = Trace("0af7651916cd43dd8448eb211c80319c", {"traceparent": parent})
    await ask.call(yard.url, "add", {"a": 1, "b": 2}, client=client)
    assert yard.of("tools/call")[-1].body["params"]["_meta"]["traceparent"] == parent


async def test_a_token_and_headers_are_sent_with_every_request(ask: Ask, yard: Harbour) -> None:
    settings = {"auth": "bearer", "token": "s3cret-token", "headers": {"X-Team": "blue"}}
    await ask.call(yard.url, "add", {"a": 1, "b": 2}, settings=settings)
    assert yard.seen
    for seen in yard.seen:
        assert seen.headers["authorization"] == "Bearer s3cret-token"
        assert seen.headers["x-team"] == "blue"


async def test_who_stops_waiting_stops_the_call_there_too(ask: Ask, yard: Harbour) -> None:
    call = asyncio.create_task(ask.call(yard.url, "moor"))
    await anyio.to_thread.run_sync(yard.waiting.wait, 60)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await anyio.to_thread.run_sync(yard.cancelled.wait, 60)


async def test_a_call_ends_before_its_callers_deadline_and_is_cancelled_there(
    ask: Ask, yard: Harbour
) -> None:
    for timeout in (2, 8, 30):
        with pytest.raises(SourceError) as caught:
            await ask.call(yard.url, "moor", timeout=timeout)
        assert caught.value.code == "source_timeout"
        assert caught.value.data == {"seconds": timeout - margin_of(timeout)}
        # Where the machine stalls, it may not have arrived by then.
        if yard.waiting.is_set():
            break
    assert await anyio.to_thread.run_sync(yard.cancelled.wait, 60)


async def test_a_stream_that_breaks_off_is_taken_up_again(ask: Ask, legacy_yard: Harbour) -> None:
    outcome = await ask.call(legacy_yard.url, "drift")
    assert outcome.text == "found again"
    assert len(legacy_yard.of("tools/call")) == 1
    assert [seen for seen in legacy_yard.verbs("GET") if "last-event-id" in seen.headers]


async def test_answers_of_plain_json_are_read_as_well(ask: Ask) -> None:
    with open_shipyard("legacy", json_response=True) as yard:
        assert (await ask.call(yard.url, "add", {"a": 1, "b": 2})).structured == {"result": 3}


async def test_a_server_without_sessions_is_asked_without(ask: Ask) -> None:
    with open_shipyard("legacy", stateless=True) as yard:
        for _ in range(2):
            assert (await ask.call(yard.url, "add", {"a": 1, "b": 2})).structured == {"result": 3}
        assert not yard.verbs("DELETE")


async def test_a_redirect_within_the_same_origin_is_followed(ask: Ask) -> None:
    with open_shipyard("legacy", path="/mcp/") as yard:
        offering = await ask.offering(yard.url)
        assert len(offering.tools) > 5


async def test_values_that_complete_an_argument_are_none_where_there_are_none(
    ask: Ask, yard: Harbour
) -> None:
    found = await ask.engine.complete(
        ask.source(yard.url), Operation("prompt", {"name": "greet"}), "name", "A", {}
    )
    assert list(found.values) == []


async def test_the_callers_headers_are_not_known_to_the_upstream(ask: Ask, yard: Harbour) -> None:
    outcome = await ask.call(yard.url, "who")
    headers = orjson.loads(outcome.text)
    assert "authorization" not in headers
    assert headers["user-agent"] == "Marina"
