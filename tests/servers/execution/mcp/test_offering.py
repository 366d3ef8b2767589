"""What a source brings of what its upstream lists: all by default, checked and marked, with reasons for the rest."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import InvalidInput
from servers.execution.backends.mcp import McpBackend, offers
from servers.execution.backends.mcp.catalog import Catalog
from servers.execution.backends.mcp.offers import describe_server, offer_catalog
from servers.execution.backends.mcp.overrides import MAX_DESCRIPTION
from servers.execution.backends.mcp.schemas import schema_fault
from servers.execution.backends.mcp.session import Server
from servers.execution.backends.mcp.settings import CATALOG, KEPT, clean_settings, read_settings
from servers.execution.contract import Offering
from tests.farside import FarSide, reply
from tests.marina.harbour import Harbour
from tests.servers.execution.mcp.conftest import Ask

SERVER = Server("2025-11-25", {"name": "odd", "version": "1"}, {"tools": {}}, "")
PLAIN = {"type": "object"}


def offer(*tools: Any, settings: dict[str, Any] | None = None, **more: Any) -> Offering:
    catalog = Catalog(SERVER, tools=tools, **more)
    return offer_catalog(catalog, read_settings({"url": "https://mcp.example.com/mcp", **(settings or {})}))


def tool(name: Any = "one", **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": PLAIN, **more}


def reasons(offering: Offering) -> dict[str, str]:
    return {each.name: each.reason for each in offering.left_out}


def test_what_one_request_asks_for_often_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Any] = []

    def judge(schema: Any, *, of_object: bool) -> str:
        judged.append(schema)
        return schema_fault(schema, of_object=of_object)

    monkeypatch.setattr(offers, "schema_fault", judge)
    backend = McpBackend()
    catalog = Catalog(SERVER, tools=[tool("one"), tool("two")])
    given = {"url": "https://mcp.example.com/mcp", CATALOG: catalog}
    cleaned = backend.clean_settings(given)
    first = backend.offered(cleaned)
    assert backend.keep_settings(cleaned) == backend.keep_settings(cleaned)
    assert (backend.offered(cleaned), len(judged)) == (first, 2)
    # With other settings it is another offering; what the server itself says is known by now.
    changed = backend.clean_settings({**given, "overrides": {"one": {"name": "uno"}}})
    assert [each.name for each in backend.offered(changed).tools] == ["uno", "two"]
    assert (
        backend.keep_settings(changed)[KEPT]["fingerprint"]
        == backend.keep_settings(cleaned)[KEPT]["fingerprint"]
    )
    assert len(judged) == 4


@pytest.mark.anyio
async def test_everything_of_a_real_server_is_offered(ask: Ask, yard: Harbour) -> None:
    offering = await ask.offering(yard.url)
    tools = {each.name: each for each in offering.tools}
    assert {"add", "launch", "everything", "sail", "berth"} <= tools.keys()
    add = tools["add"]
    assert add.title == "Add"
    assert add.description.startswith("Add two numbers.")
    assert "(From the MCP server at 127.0.0.1" in add.description
    assert add.input_schema["required"] == ["a", "b"]
    assert add.output_schema is not None
    assert add.annotations == {"readOnlyHint": True, "idempotentHint": True}
    assert add.icons[0]["src"] == "https://example.com/ship.png"
    assert add.operation.definition == {"name": "add", "repeatable": True}
    assert tools["berth"].operation.definition["mirrored"] == {"Harbour": ["harbour"]}
    assert {(each.uri, each.template) for each in offering.resources} == {
        ("ship://log", False),
        ("ship://deck/{number}", True),
    }
    greet = offering.prompts[0]
    assert (greet.name, greet.title) == ("greet", "Greet")
    assert [(each["name"], each["required"]) for each in greet.arguments] == [("name", True), ("tone", False)]
    assert not offering.left_out


@pytest.mark.anyio
async def test_asking_what_is_offered_runs_nothing_and_leaves_no_session(ask: Ask, yard: Harbour) -> None:
    await ask.offering(yard.url)
    methods = {seen.method for seen in yard.seen if seen.method}
    assert methods <= {
        "server/discover",
        "initialize",
        "notifications/initialized",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "prompts/list",
    }
    assert len(yard.verbs("DELETE")) == len(yard.of("initialize"))


def test_names_get_the_prefix_and_calls_go_to_the_name_without_it() -> None:
    offered = offer(tool("search"), settings={"prefix": "hub_"}).tools[0]
    assert (offered.name, offered.operation.definition["name"]) == ("hub_search", "search")


@pytest.mark.parametrize(
    ("picks", "expected"),
    [
        ([], ["drop_all", "get_one", "get_two"]),
        (["get_one"], ["get_one"]),
        (["get_*"], ["get_one", "get_two"]),
        (["get_*", "!*_two"], ["get_one"]),
        (["!drop_*"], ["get_one", "get_two"]),
        (["get_t?o"], ["get_two"]),
    ],
)
def test_only_what_is_picked_is_offered(picks: list[str], expected: list[str]) -> None:
    listed = [tool("get_one"), tool("get_two"), tool("drop_all")]
    offering = offer(*listed, settings={"tools": picks})
    assert sorted(each.name for each in offering.tools) == expected


def test_nothing_at_all_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidInput) as caught:
        offer(tool("a/b"))
    assert "a/b: Its name has other characters" in caught.value.message
    with pytest.raises(InvalidInput, match="lists no tools"):
        offer()


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (tool("a b"), "other characters"),
        (tool("x" * 65), "65 characters"),
        (tool("\u0430dd"), "other characters"),
        (tool("bad", inputSchema={"type": "array"}), "is not of the type object"),
        (tool("bad", inputSchema=[]), "is no object"),
        (tool("bad", inputSchema={"type": "object", "$ref": "#"}), "in a circle"),
        (tool("bad", inputSchema={"type": "object", "title": "x" * 1_000_000}), "bytes; at most"),
        (
            tool("bad", inputSchema={"type": "object", "properties": {"a": {"$ref": "https://x.example/s"}}}),
            "does not hold",
        ),
        (
            tool("bad", inputSchema={"type": "object", "properties": {"a": {"pattern": "(?=x)y"}}}),
            "not valid JSON Schema",
        ),
        (
            tool("bad", inputSchema={"type": "object", "properties": {"a": {"x-mcp-header": "A b"}}}),
            "x-mcp-header",
        ),
    ],
)
def test_a_tool_that_cannot_be_taken_says_why_and_keeps_no_other_out(
    listed: dict[str, Any], reason: str
) -> None:
    offering = offer(tool("good"), listed)
    assert [each.name for each in offering.tools] == ["good"]
    assert reason in reasons(offering)[listed["name"]]


def test_what_is_no_tool_is_left_out() -> None:
    offering = offer(tool("good"), 7, {}, {"name": ""}, {"name": ["x"]})
    assert [each.reason for each in offering.left_out] == ["It has no name."] * 4


def test_a_name_that_is_listed_twice_is_taken_once() -> None:
    offering = offer(tool("one", description="first"), tool("one", description="second"))
    assert [each.description.partition("\n")[0] for each in offering.tools] == ["first"]
    assert "listed twice" in reasons(offering)["one"]


def test_schemas_that_double_at_every_step_are_refused_in_time() -> None:
    defs: dict[str, Any] = {
        f"d{each}": {"allOf": [{"$ref": f"#/$defs/d{each + 1}"}, {"$ref": f"#/$defs/d{each + 1}"}]}
        for each in range(30)
    }
    defs["d30"] = {"type": "string"}
    bomb = {"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": defs}
    both = [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]
    nested = {"type": "object", "anyOf": both}
    offering = offer(tool("good"), tool("bomb", inputSchema=bomb), tool("nested", inputSchema=nested))
    assert "so often" in reasons(offering)["bomb"]
    assert "so often" in reasons(offering)["nested"]


def test_schemas_of_trees_and_filters_are_taken() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    parts = [
        {"properties": {"and": {"type": "array", "items": {"$ref": "#/$defs/f"}}}},
        {"properties": {"or": {"type": "array", "items": {"$ref": "#/$defs/f"}}}},
        {"properties": {"not": {"$ref": "#/$defs/f"}}},
    ]
    filters = {
        "type": "object",
        "properties": {"filter": {"$ref": "#/$defs/f"}},
        "$defs": {"f": {"anyOf": parts}},
    }
    assert not offer(tool("tree", inputSchema=tree), tool("filter", inputSchema=filters)).left_out


def test_an_output_schema_that_cannot_be_taken_leaves_the_tool() -> None:
    offering = offer(tool("one", outputSchema={"$ref": "#"}))
    assert offering.tools[0].output_schema is None
    assert "output schema of this tool refers to itself" in reasons(offering)["one"]


def test_hidden_characters_are_shown_marked_wherever_a_model_would_read_them() -> None:
    hidden = "safe\u202e\u200b \U000e0041text\u3164"
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": hidden}}}
    offered = offer(tool("one", title=hidden, description=hidden, inputSchema=schema)).tools[0]
    marked = "safe[U+202E][U+200B] [U+E0041]text[U+3164]"
    assert offered.title == marked
    assert offered.description.startswith(marked)
    assert offered.input_schema["properties"]["a"]["description"] == marked


def test_texts_that_are_written_with_joiners_stay_as_they_are() -> None:
    words = "\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f467\nsecond line"
    assert offer(tool("one", description=words)).tools[0].description.startswith(words)


def test_a_description_that_is_too_long_is_cut() -> None:
    description = offer(tool("one", description="x" * 20_000)).tools[0].description
    assert "x" * MAX_DESCRIPTION + " …" in description
    assert len(description) <= 8_000


def test_icons_of_other_addresses_than_https_are_left_out() -> None:
    icons = [
        {"src": "javascript:alert(1)"},
        {"src": "http://a.example/i.png"},
        {"src": "https://a.example/i.png"},
    ]
    assert offer(tool("one", icons=icons)).tools[0].icons == [{"src": "https://a.example/i.png"}]


def test_hints_that_are_none_are_dropped() -> None:
    annotations = {"readOnlyHint": "yes", "destructiveHint": False, "other": 1}
    assert offer(tool("one", annotations=annotations)).tools[0].annotations == {"destructiveHint": False}


def test_resources_and_prompts_that_cannot_be_taken_say_why() -> None:
    offering = offer(
        tool(),
        resources=[{"uri": "a b"}, {"uri": "x:" + "y" * 2_000}, {"uri": "ok:one"}, {"uri": "ok:one"}],
        templates=[{"uriTemplate": "x:{"}],
        prompts=[{"name": "p", "arguments": [{"name": ""}]}, {"name": "q"}],
    )
    assert [each.uri for each in offering.resources] == ["ok:one"]
    assert [each.name for each in offering.prompts] == ["q"]
    assert len(offering.left_out) == 5


def test_a_thousand_tools_are_taken() -> None:
    assert len(offer(*(tool(f"t{each}") for each in range(1_000))).tools) == 1_000


@pytest.mark.anyio
async def test_a_source_is_healthy_until_its_upstream_changes_what_it_offers(ask: Ask, yard: Harbour) -> None:
    settings = {"url": yard.url}
    fetched = await ask.backend.fetch_documents(settings)
    kept = ask.backend.keep_settings(ask.backend.clean_settings(fetched))
    assert kept[KEPT]["name"] == "shipyard"
    source = ask.source(yard.url, **{KEPT: kept[KEPT]})
    health = await ask.engine.check(source)
    assert (health.state, health.reason) == ("healthy", "")
    changed = {**kept[KEPT], "fingerprint": "0" * 64}
    health = await ask.engine.check(ask.source(yard.url, **{KEPT: changed}))
    assert (health.state, health.code) == ("degraded", "definitions_changed")


@pytest.mark.anyio
async def test_a_source_that_does_not_answer_is_unhealthy_with_its_reason(ask: Ask, side: FarSide) -> None:
    health = await ask.engine.check(ask.source(side.serve("/mcp", reply(b"<html>", kind="text/html"))))
    assert (health.state, health.code) == ("unhealthy", "source_not_mcp")
    assert "is no JSON" in health.reason


def test_what_is_kept_of_the_server_holds_no_hidden_character() -> None:
    server = Server("2025-11-25", {"name": "a\u202eb", "version": 7}, {}, "")
    settings = read_settings({"url": "https://mcp.example.com/mcp"})
    described = describe_server(Catalog(server, tools=[tool()]), settings)
    assert (described["name"], described["version"]) == ("a[U+202E]b", "7")


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, "url"),
        ({"url": "ftp://a.example"}, "url"),
        ({"url": "https://u:p@a.example/mcp"}, "url"),
        ({"url": "https://a.example/../x"}, "url"),
        ({"url": "https://a.example/mcp#x"}, "url"),
        ({"url": "https://a.example/\u00e9"}, "url"),
        ({"auth": "bearer"}, "token"),
        ({"auth": "headers"}, "headers"),
        ({"auth": "none", "token": "abc"}, "token"),
        ({"auth": "magic"}, "auth"),
        ({"token": "a b"}, "token"),
        ({"headers": {"Host": "x"}}, "headers.Host"),
        ({"headers": {"Mcp-Session-Id": "x"}}, "headers.Mcp-Session-Id"),
        ({"headers": {"X": "a\r\nb"}}, "headers.X"),
        ({"headers": {"X": "1", "x": "2"}}, "headers.x"),
        ({"token": "t", "headers": {"Authorization": "x"}}, "headers.Authorization"),
        ({"prefix": "a b"}, "prefix"),
        ({"tools": "all"}, "tools"),
        ({"tools": ["!"]}, "tools.0"),
        ({"timeout": 0}, "timeout"),
        ({"max_bytes": True}, "max_bytes"),
        ({"command": "npx"}, "command"),
    ],
)
def test_settings_that_are_wrong_say_where(settings: dict[str, Any], path: str) -> None:
    given = {"url": "https://a.example/mcp", **settings} if settings else {}
    with pytest.raises(InvalidInput) as caught:
        read_settings(given)
    assert path in [each["path"] for each in caught.value.errors]


def test_how_it_signs_in_is_told_by_what_is_given() -> None:
    url = {"url": "https://a.example/mcp"}
    assert clean_settings({**url, "token": "abc"})["auth"] == "bearer"
    assert clean_settings({**url, "headers": {"X-Key": "abc"}})["auth"] == "headers"
    assert clean_settings(url) == {**url, "auth": "none", "timeout": 30, "max_bytes": 4_194_304}


def test_what_is_shown_of_settings_has_no_secret() -> None:
    given = {"url": "https://a.example/mcp", "token": "abc", "headers": {"X-Key": "secret"}}
    shown = McpBackend().describe_settings(clean_settings(given))
    assert shown.keys() == {"url", "auth", "timeout", "max_bytes"}
    assert "secret" not in repr(read_settings(given))
