"""Resources, prompts and completions that a team's own SQL tools fill, through the official client in both eras."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp import Client
from mcp_types import ElicitResult, PromptReference, ResourceTemplateReference

from core.threads import run_sync
from servers.services import calls
from servers.services.handmade import create_prompt, create_resource, find_faults
from servers.services.resources import list_resources
from servers.services.sources import create_source
from servers.services.tools import create_tool, delete_tool, list_tools
from tests.factories import Team, make_database, make_team, switch_tool
from tests.protocol.conftest import ALL_SCOPES, HearAll, Records
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import LEGACY, MODERN, Answer, Endpoint

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("mode", ["legacy", MODERN])

ORDERS = """
CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, item text NOT NULL);
INSERT INTO orders VALUES (7, 'Ærø', 'sail'), (71, 'Ærø', 'rope'), (8, 'Vega', '${item}');
INSERT INTO orders SELECT 1000 + n, 'Many', 'rope' FROM generate_series(1, 150) n;
CREATE VIEW slow AS SELECT pg_sleep(20)::text AS id
"""
TOOLS: dict[str, dict[str, Any]] = {
    "get_order": {
        "sql": "SELECT id, customer, item FROM orders WHERE id = :order_id",
        "parameters": {"order_id": {"type": "integer"}},
    },
    "find_orders": {
        "sql": "SELECT id FROM orders WHERE starts_with(id::text, :prefix) "
        "AND (CAST(:customer AS text) IS NULL OR customer = :customer) ORDER BY id",
        "parameters": {"prefix": {"type": "string"}, "customer": {"type": "string", "required": False}},
    },
    "slow": {
        "sql": "SELECT id FROM slow WHERE id >= :prefix",
        "parameters": {"prefix": {"type": "string"}},
    },
}
FIND = {
    "tool": "find_orders",
    "arguments": {"prefix": "${id}", "customer": "${customer}"},
    "pick": "/rows",
    "member": "id",
}
GET = {"tool": "get_order", "arguments": {"order_id": "${id}"}, "pick": "/rows/0"}
ORDER = "orders://{id}{?customer}"
QUERY = {
    "tool": "execute_query",
    "arguments": {
        "query": "SELECT count(*) AS orders FROM orders WHERE customer = :customer",
        "params": {"customer": "${customer}"},
    },
    "pick": "/rows/0/orders",
}


@pytest.fixture
def team(port: int, hear_all: HearAll) -> Team:
    made = make_team()
    create_source("shop", "postgres", {"dsn": make_database(ORDERS)}, caller=made.owner)
    for name, definition in TOOLS.items():
        create_tool(name, "shop", "sql", definition, caller=made.owner)
    for resource in (
        {"uri": ORDER, "result": GET, "variables": {"id": {"complete": FIND}}},
        {"uri": "customers://{customer}/orders", "mime_type": "text/plain", "result": QUERY},
        {
            "uri": "slow://{id}",
            "text": "${id}",
            "variables": {"id": {"complete": {**FIND, "tool": "slow", "arguments": {"prefix": "${id}"}}}},
        },
    ):
        create_resource(resource, caller=made.owner)
    create_prompt(
        {
            "name": "get_order",
            "arguments": [
                {"name": "id", "required": True, "complete": {**FIND, "arguments": {"prefix": "${id}"}}}
            ],
            "results": {"order": GET},
            "messages": [
                {"text": "Explain ${order}."},
                {"resource": {"uri": "orders://${id}", "mime_type": "application/json", "text": "${order}"}},
            ],
        },
        caller=made.owner,
    )
    hear_all()
    return made


@pytest.fixture
def shop(port: int, team: Team) -> Endpoint:
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


async def text_at(client: Client, uri: str) -> str:
    (held,) = (await client.read_resource(uri)).contents
    return str(getattr(held, "text", None))


async def completed(
    client: Client, reference: Any, name: str, typed: str, **given: str
) -> tuple[list[str], bool]:
    found = await client.complete(reference, {"name": name, "value": typed}, context_arguments=given or None)
    return list(found.completion.values), bool(found.completion.has_more)


def read(endpoint: Endpoint) -> Answer:
    uri = "orders://7"
    return endpoint.modern("resources/read", {"uri": uri}, headers={"Mcp-Name": uri})


@ERAS
async def test_a_client_reads_gets_and_completes_what_tools_give(shop: Endpoint, mode: str) -> None:
    template, prompt = ResourceTemplateReference(uri=ORDER), PromptReference(name="get_order")
    async with connected(shop, mode) as client:
        order = {"id": 7, "customer": "Ærø", "item": "sail"}
        assert json.loads(await text_at(client, "orders://7")) == order
        assert await text_at(client, "customers://%C3%86r%C3%B8/orders") == "2"
        messages = (await client.get_prompt("get_order", {"id": "8"})).messages
        # What a tool gives is put in once: no slot opens in it.
        assert "${item}" in str(getattr(messages[0].content, "text", None))
        held = getattr(messages[1].content, "resource", None)
        assert json.loads(getattr(held, "text", ""))["item"] == "${item}"
        assert await completed(client, template, "id", "7") == (["7", "71"], False)
        assert await completed(client, template, "id", "7", customer="Vega") == ([], False)
        assert await completed(client, prompt, "id", "71") == (["71"], False)
        many, more = await completed(client, template, "id", "1")
        assert (len(many), more) == (100, True)


@ERAS
async def test_what_cannot_be_read_says_why(shop: Endpoint, mode: str) -> None:
    async with connected(shop, mode) as client:
        with pytest.raises(Exception, match=r"There is no such resource. The tool get_order gave nothing at"):
            await client.read_resource("orders://9")
        with pytest.raises(Exception, match="id must be a whole number"):
            await client.read_resource("orders://seven")
        with pytest.raises(Exception, match="The tool get_order gave nothing at /rows/0"):
            await client.get_prompt("get_order", {"id": "9"})


@pytest.mark.parametrize("version", [MODERN, LEGACY[-1]])
def test_a_read_has_the_tools_call_below_its_record(
    shop: Endpoint, team: Team, records: Records, version: str
) -> None:
    asked = {"name": "get_order", "arguments": {"id": "8"}}
    if version == MODERN:
        read(shop)
        shop.modern("prompts/get", asked)
    else:
        shop.legacy("resources/read", {"uri": "orders://7"}, version=version)
        shop.legacy("prompts/get", asked, version=version)
    told = records(team)
    places = {each["seq"]: number for number, each in enumerate(told)}
    assert [
        (each["kind"], each["tool"], each["outcome"], places.get(each.get("parent"))) for each in told
    ] == [
        ("resources/read", "orders://7", "intent", None),
        ("tools/call", "get_order", "ok", 0),
        ("resources/read", "orders://7", "ok", None),
        ("prompts/get", "get_order", "intent", None),
        ("tools/call", "get_order", "ok", 3),
        ("prompts/get", "get_order", "ok", None),
    ]
    assert told[1]["arguments"] == {"order_id": 7}
    assert {each["actor"] for each in told} == {told[0]["actor"]}


def test_a_completion_leaves_the_tools_record_alone(shop: Endpoint, team: Team, records: Records) -> None:
    ref = {"type": "ref/resource", "uri": ORDER}
    shop.modern("completion/complete", {"ref": ref, "argument": {"name": "id", "value": "7"}})
    assert [(each["tool"], each["outcome"], each.get("parent")) for each in records(team)] == [
        ("find_orders", "ok", None)
    ]


def test_who_may_not_call_the_tool_neither_reads_nor_completes(
    shop: Endpoint, team: Team, records: Records
) -> None:
    for scopes in (
        ("resources:read", "prompts:read"),
        ("tools:execute", "tool:slow", "resources:read", "prompts:read"),
    ):
        narrow = Endpoint(shop.port, shop.path, team.key(*scopes))
        refused = read(narrow)
        assert (refused.status, refused.error["data"]["code"]) == (403, "insufficient_scope"), refused.error
        assert narrow.modern("prompts/get", {"name": "get_order", "arguments": {"id": "7"}}).status == 403
        before = len(records(team))
        for ref in ({"type": "ref/resource", "uri": ORDER}, {"type": "ref/prompt", "name": "get_order"}):
            asked = {"ref": ref, "argument": {"name": "id", "value": "7"}}
            assert narrow.modern("completion/complete", asked).result["completion"]["values"] == []
        assert len(records(team)) == before


def test_a_tool_that_is_slow_completes_nothing_in_time(
    shop: Endpoint, team: Team, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "COMPLETE_SECONDS", 0.3)
    asked = {"ref": {"type": "ref/resource", "uri": "slow://{id}"}, "argument": {"name": "id", "value": "7"}}
    answer = shop.modern("completion/complete", asked)
    assert answer.error["data"]["code"] == "source_timeout"
    (record,) = records(team)
    assert (record["tool"], record["outcome"]) == ("slow", "error")


@pytest.mark.parametrize("way", ["deleted", "switched off"])
def test_a_tool_that_is_gone_is_told_where_it_is_missed(
    shop: Endpoint, team: Team, hear_all: HearAll, way: str
) -> None:
    if way == "deleted":
        tool = next(tool for tool in list_tools(caller=team.owner) if tool.name == "get_order")
        delete_tool(tool.pk, caller=team.owner)
    else:
        switch_tool(team, "get_order", False)
    hear_all()
    answer = read(shop)
    assert answer.error["data"]["code"] == "tool_missing"
    assert "The tool get_order fills it, and this server does not offer that tool" in answer.error["message"]
    rows = {row.uri: row for row in list_resources(caller=team.owner)}
    told = [fault["path"] for fault in find_faults(rows[ORDER])]
    assert told == (["result.tool"] if way == "deleted" else [])
    assert find_faults(rows["customers://{customer}/orders"]) == []


@ERAS
async def test_a_tool_that_asks_the_client_is_answered_within_a_read(
    port: int, talkers: Team, hear_all: HearAll, mode: Any
) -> None:
    async def answer(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"region": "north"})

    def prepare() -> str:
        asking = {"uri": "asked://region", "result": {"tool": "ask", "pick": "/told/region/content/region"}}
        create_resource({**asking, "mime_type": "text/plain"}, caller=talkers.owner)
        variables = {"id": {"complete": {"tool": "ask", "pick": "/told"}}}
        create_resource({"uri": "asking://{id}", "text": "", "variables": variables}, caller=talkers.owner)
        hear_all()
        return talkers.key(*ALL_SCOPES)

    endpoint = Endpoint(port, f"/mcp/{talkers.slug}", await run_sync(prepare))
    async with connected(endpoint, mode, elicitation_callback=answer) as client:
        assert await text_at(client, "asked://region") == "north"
        # While somebody types nobody is asked.
        with pytest.raises(Exception, match="this client does not offer that"):
            await completed(client, ResourceTemplateReference(uri="asking://{id}"), "id", "")
