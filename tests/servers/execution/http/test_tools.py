"""The ready-made tools of an HTTP source: what they send, what they give, and what they do not do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.errors import InvalidInput
from servers.execution.backends.http import connections
from servers.execution.backends.http.definitions import compile_http_tool
from servers.execution.backends.http.offers import offer_operations
from servers.execution.backends.http.pacing import Pace
from servers.execution.backends.http.settings import read_settings
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from tests.farside import Asked, FarSide, Send, reply
from tests.servers.execution.http.conftest import Call, Refused, as_json, give_back

NAMED = {
    "endpoints": [
        {"name": "orders", "path": "/orders", "method": "GET", "description": "All orders"},
        {"name": "order", "path": "/orders/{id}"},
    ]
}


def test_source_brings_the_tools_that_people_know() -> None:
    offering = offer_operations(read_settings({"base_url": "https://api.example.com"}))
    assert {tool.name: sorted(tool.input_schema["properties"]) for tool in offering.tools} == {
        "list_endpoints": [],
        "api_get": ["endpoint", "params", "path", "use_cache"],
        "api_post": ["body", "endpoint", "params", "path"],
        "call_api": ["api", "data", "endpoint", "method", "params", "path", "use_cache"],
        "batch_requests": ["requests"],
        "get_api_stats": [],
    }
    assert [resource.uri for resource in offering.resources] == ["api://endpoints"]
    read_only = [tool.name for tool in offering.tools if tool.annotations["readOnlyHint"]]
    assert read_only == ["list_endpoints", "api_get", "get_api_stats"]


@pytest.mark.anyio
async def test_endpoints_are_listed_by_tool_and_resource(call: Call) -> None:
    listed = (await call("list_endpoints", settings=NAMED)).structured
    assert (listed["api"], listed["writes_allowed"]) == ("shop", False)
    assert listed["endpoints"] == [
        {"name": "orders", "path": "/orders", "method": "GET", "description": "All orders", "parameters": []},
        {"name": "order", "path": "/orders/{id}", "method": None, "description": "", "parameters": ["id"]},
    ]
    read = await call("list_endpoints", settings=NAMED, uri="api://endpoints")
    assert read.content is not None
    assert read.content[0]["uri"] == "api://endpoints"
    assert '"/orders/{id}"' in read.content[0]["text"]
    assert "path below the base address" in (await call("list_endpoints")).structured["note"]


@pytest.mark.anyio
async def test_get_gives_status_headers_and_the_body_as_json(api: FarSide, call: Call) -> None:
    api.serve(
        "/v1/orders/5",
        as_json({"id": 5}, headers={"X-RateLimit-Left": "9", "Set-Cookie": "a=b", "ETag": "x"}),
    )
    got = await call("api_get", settings=NAMED, endpoint="order", params={"id": 5})
    told = got.structured
    assert (told["status"], told["body"], told["content_type"]) == (200, {"id": 5}, "application/json")
    assert told["headers"] == {"x-ratelimit-left": "9", "etag": "x"}
    assert (told["cached"], got.failed) == (False, False)
    assert api.asked[0].headers["accept"].startswith("application/json")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("text/plain", b"tide", {"body": "tide"}),
        ("text/plain; charset=iso-8859-1", b"\xe9t\xe9", {"body": "été"}),
        ("text/plain; charset=zip_codec", b"tide", {"body": "tide"}),
        ("application/problem+json", b'{"a":1}', {"body": {"a": 1}}),
        ("application/json", b"{broken", {"body": "{broken"}),
        ("application/json", b"[" * 100_000, {"body": "[" * 100_000}),
        ("application/json", b"[" * 240 + b"]" * 240, {"body": "[" * 240 + "]" * 240}),
        ("application/json", b'{"a": 1e999}', {"body": '{"a": 1e999}'}),
        ("application/json", b'"\\ud800"', {"body": '"\\ud800"'}),
        ("application/octet-stream", b"\xff\x00", {"body": None, "body_base64": "/wA="}),
        ("image/png", b"\x89PNG\xff", {"body": None, "body_base64": "iVBOR/8="}),
        ("application/octet-stream", b"plain", {"body": "plain"}),
        ("", b"[1]", {"body": [1]}),
        ("text/plain", b"", {"body": None}),
    ],
)
async def test_bodies_of_any_kind_are_told(
    kind: str, body: bytes, expected: dict[str, Any], api: FarSide, call: Call
) -> None:
    api.serve("/v1/a", reply(body, kind=kind))
    told = (await call("api_get", endpoint="a")).structured
    assert {name: told.get(name) for name in expected} == expected


@pytest.mark.anyio
async def test_status_of_a_fault_is_a_failed_result_with_what_was_said(api: FarSide, call: Call) -> None:
    api.serve("/v1/a", as_json({"detail": "name is missing"}, status=422))
    got = await call("api_get", endpoint="a")
    assert got.failed
    assert (got.structured["status"], got.structured["body"]) == (422, {"detail": "name is missing"})


@pytest.mark.anyio
async def test_writes_are_sent_only_where_the_source_allows_them(
    api: FarSide, call: Call, refused: Refused
) -> None:
    api.serve("/v1/a", give_back)
    fault = await refused("api_post", endpoint="a", body={"x": 1})
    assert (fault.code, fault.data["rule"]) == ("source_denied", "http.writes")
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert (await refused("call_api", endpoint="a", method=method)).code == "source_denied"
    told = (await call("batch_requests", requests=[{"endpoint": "a", "method": "DELETE"}])).structured
    assert told["results"][0]["error"]["code"] == "source_denied"
    assert not api.asked
    allowed = {"allow_writes": True}
    got = (
        await call("api_post", settings=allowed, endpoint="a", body={"x": [1]}, params={"q": 1})
    ).structured
    assert (got["body"]["method"], got["body"]["target"], got["body"]["body"]) == (
        "POST",
        "/v1/a?q=1",
        '{"x":[1]}',
    )
    assert got["body"]["headers"]["content-type"] == "application/json"
    got = (await call("call_api", settings=allowed, endpoint="a", method="DELETE")).structured
    assert (got["body"]["method"], got["body"]["body"]) == ("DELETE", "")


@pytest.mark.anyio
async def test_call_takes_the_name_of_this_api_and_the_endpoints_own_method(
    api: FarSide, call: Call, refused: Refused
) -> None:
    api.serve("/v1/orders", give_back)
    got = (await call("call_api", settings=NAMED, api="shop", endpoint="orders")).structured
    assert got["body"]["method"] == "GET"
    fault = await refused("call_api", settings=NAMED, api="bank", endpoint="orders")
    assert isinstance(fault, InvalidInput)
    assert fault.errors[0]["path"] == "api"
    fault = await refused("call_api", settings=NAMED, endpoint="orders", method="POST")
    assert "for GET only" in fault.message
    fault = await refused("call_api", settings=NAMED, endpoint="orders", method="TRACE")
    assert isinstance(fault, InvalidInput)
    fault = await refused("call_api", endpoint="a", method="GET", data={"x": 1})
    assert "no body" in fault.message


@pytest.mark.anyio
async def test_batch_goes_side_by_side_and_each_request_has_its_own_result(api: FarSide, call: Call) -> None:
    together = asyncio.Event()
    waiting: list[Asked] = []
    loop = asyncio.get_running_loop()

    def meet(asked: Asked, send: Send) -> None:
        waiting.append(asked)
        if len(waiting) == 3:
            loop.call_soon_threadsafe(together.set)
        asyncio.run_coroutine_threadsafe(together.wait(), loop).result(20)
        send(as_json(asked.path))

    for name in "abc":
        api.serve(f"/v1/{name}", meet)
    api.serve("/v1/gone", reply(b"no", status=404))
    told = (
        await call(
            "batch_requests",
            requests=[
                *({"endpoint": name} for name in "abc"),
                {"endpoint": "gone"},
                {"endpoint": "../x"},
                {"endpoint": "a", "method": "POST"},
            ],
        )
    ).structured
    assert (told["succeeded"], told["failed"]) == (3, 3)
    assert [each["success"] for each in told["results"]] == [True, True, True, False, False, False]
    assert [each.get("body") for each in told["results"][:4]] == ["/v1/a", "/v1/b", "/v1/c", "no"]
    assert [each["error"]["code"] for each in told["results"][4:]] == ["invalid_input", "source_denied"]
    assert "endpoint:" in told["results"][4]["error"]["message"]


@pytest.mark.anyio
async def test_batch_is_bounded(api: FarSide, call: Call, refused: Refused) -> None:
    for requests in ([], [{"endpoint": "a"}] * 21, "a", None):
        assert isinstance(await refused("batch_requests", requests=requests), InvalidInput)
    told = (await call("batch_requests", requests=["a", None])).structured
    assert told["failed"] == 2
    api.serve("/v1/big", reply(b"x" * 1_000_000))
    told = (await call("batch_requests", requests=[{"endpoint": "big"}] * 6)).structured
    assert [each["success"] for each in told["results"]] == [True] * 4 + [False] * 2
    assert told["results"][5]["error"]["code"] == "result_too_large"


@pytest.mark.anyio
async def test_statistics_count_what_was_asked(
    api: FarSide, call: Call, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No time passes in which there could be more of them again.
    monkeypatch.setattr(connections, "Pace", lambda a_minute: Pace(a_minute, clock=lambda: 0.0))
    settings = {"requests_per_minute": 100}
    api.serve("/v1/a", as_json(1, headers={"Cache-Control": "max-age=60"}))
    for _ in range(3):
        await call("api_get", settings=settings, endpoint="a")
    await call("api_get", settings=settings, endpoint="nothing")
    await refused("api_post", settings=settings, endpoint="a")
    told = (await call("get_api_stats", settings=settings)).structured
    assert (told["requests"], told["answers"], told["failures"]) == (
        2,
        {"2xx": 1, "4xx": 1},
        {"source_denied": 1},
    )
    assert (told["cache"]["hits"], told["cache"]["entries"]) == (2, 1)
    assert told["requests_left"] == 98
    assert told["average_ms"] > 0


@pytest.mark.anyio
async def test_sources_own_rate_is_kept_and_kept_answers_do_not_count(
    api: FarSide, call: Call, refused: Refused
) -> None:
    settings = {"requests_per_minute": 2}
    api.serve("/v1/a", as_json(1, headers={"Cache-Control": "max-age=60"}))
    for _ in range(5):
        await call("api_get", settings=settings, endpoint="a")
    await call("api_get", settings=settings, endpoint="b")
    fault = await refused("api_get", settings=settings, endpoint="b")
    assert (fault.code, fault.retryable) == ("source_rate_limited", True)
    assert 1 <= fault.data["retry_after"] <= 30
    assert len(api.asked) == 2


@pytest.mark.anyio
async def test_default_headers_go_with_every_request(api: FarSide, call: Call) -> None:
    api.serve("/v1/a", give_back)
    told = await call(
        "api_get", settings={"headers": {"X-Team": "blue", "Accept": "text/plain"}}, endpoint="a"
    )
    headers = told.structured["body"]["headers"]
    assert (headers["x-team"], headers["accept"]) == ("blue", "text/plain")


TOOL = {
    "method": "GET",
    "path": "/users/{id}",
    "parameters": {"id": {"type": "integer"}, "token": {"in": "header", "name": "X-Trace", "type": "string"}},
    "answer": {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}},
}


@pytest.mark.anyio
async def test_tool_of_the_teams_own_is_sent_and_gives_the_answer_itself(
    api: FarSide, engine: Engine, source: Callable[..., Source]
) -> None:
    api.serve("/v1/users/7", as_json({"name": "Ada"}))
    api.serve("/v1/users/8", as_json({"detail": "gone"}, status=410))
    offered = compile_http_tool(TOOL)
    on = source()
    got = await engine.execute(on, offered.operation, {"id": 7, "token": "t"})
    assert (got.structured, got.text, got.failed) == ({"name": "Ada"}, '{"name":"Ada"}', False)
    assert api.asked[0].headers["x-trace"] == "t"
    got = await engine.execute(on, offered.operation, {"id": 8, "token": "t"})
    assert got.failed
    assert got.structured["status"] == 410
    wrapped = compile_http_tool({"method": "GET", "path": "/list", "answer": {"schema": {"type": "array"}}})
    api.serve("/v1/list", as_json([1, 2]))
    assert (await engine.execute(on, wrapped.operation, {})).structured == {"result": [1, 2]}
    free = compile_http_tool({"method": "GET", "path": "/text"})
    api.serve("/v1/text", reply(b"low tide"))
    got = await engine.execute(on, free.operation, {})
    assert (got.structured, got.text) == (None, "low tide")
    api.serve("/v1/text", reply(b"", status=204))
    assert "without a body" in (await engine.execute(on, free.operation, {})).text
    with pytest.raises(InvalidInput, match="no tools of the kind sql"):
        engine.backend("http").compile("sql", {})


@pytest.mark.anyio
async def test_tool_that_writes_needs_a_source_that_allows_it(
    api: FarSide, engine: Engine, source: Callable[..., Source]
) -> None:
    api.serve("/v1/users", give_back)
    offered = compile_http_tool(
        {"method": "POST", "path": "/users", "body": {"kind": "json", "schema": {"type": "object"}}}
    )
    with pytest.raises(Exception, match="allows no writes"):
        await engine.execute(source(), offered.operation, {"body": {"a": 1}})
    got = await engine.execute(source(allow_writes=True), offered.operation, {"body": {"a": 1}})
    assert got.structured["body"] == '{"a":1}'


@pytest.mark.anyio
async def test_changed_settings_hold_from_the_next_call(
    api: FarSide, engine: Engine, source: Callable[..., Source]
) -> None:
    api.serve("/v1/a", give_back)
    api.serve("/v2/a", give_back)
    old = source()
    operation = Operation("api_get", {})
    await engine.execute(old, operation, {"endpoint": "a"})
    new = replace(old, version=2, settings={"base_url": f"{api.origin}/v2"})
    got = await engine.execute(new, operation, {"endpoint": "a"})
    assert got.structured["body"]["target"] == "/v2/a"
    assert api.connections == 2


@pytest.mark.anyio
async def test_unknown_operation_is_refused(refused: Refused) -> None:
    assert "no operation nonsense" in (await refused("nonsense")).message
