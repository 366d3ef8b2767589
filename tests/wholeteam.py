"""A team with one of every kind of thing that is configured, for tests of its configuration as a whole."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import orjson

from servers.services.caching import change_caching
from servers.services.handmade import create_prompt, create_resource
from servers.services.prompts import list_prompts, set_prompt_enabled
from servers.services.resources import list_resources, set_resource_enabled
from servers.services.servers import create_server, list_servers, update_server
from servers.services.sources import create_source
from servers.services.tool_running import change_running
from servers.services.tools import change_tool, create_tool, list_tools
from tests.factories import Team, make_database, make_team
from tests.farside import FarSide, reply
from tests.servers.execution.http.openapi.shop import FASTAPI_LIKE
from tests.shelf import add_shelf_kind, fill_shelf

TABLE: Final = (
    "CREATE TABLE airport (iata text PRIMARY KEY, name text); INSERT INTO airport VALUES ('ZRH', 'Zurich')"
)

SQL: Final = {
    "sql": "SELECT name\nFROM airport\nWHERE iata = :code\n",
    "parameters": {"code": {"type": "string", "description": "IATA's code: three letters"}},
}
CODE: Final = {
    "code": "def first(text):\n    return text.split()[0]\n\nfirst(text)\n",
    "parameters": {"text": {"type": "string"}},
}


def make_whole_team(dsn: str, api: FarSide) -> Team:
    """A furnished team: ``dsn`` is of a database with ``TABLE``, ``api`` serves a document."""
    team = make_team()
    add_shelf_kind()
    _add_sources(team, dsn, api)
    _add_tools(team)
    _add_words(team)
    _add_servers(team)
    return team


def secrets_of(dsn: str) -> dict[str, dict[str, Any]]:
    """What is not in the file of a whole team, and has to be given elsewhere."""
    return {
        "airports": {"dsn": dsn},
        "Zweite": {"dsn": dsn},
        "orders": {"token": "sekrit-token-1"},
        "whole": {"openapi": deepcopy(FASTAPI_LIKE)},
        "shelf": {"token": "sekrit-token-2"},
    }


def publish_document(api: FarSide) -> None:
    """Serve the document whose server this is."""
    document = {**FASTAPI_LIKE, "servers": [{"url": "/api"}]}
    api.serve("/openapi.json", reply(orjson.dumps(document), kind="application/json"))


def _add_sources(team: Team, dsn: str, api: FarSide) -> None:
    publish_document(api)
    fill_shelf("one", tools=["take"], resources=["shelf://a", "shelf://{b}/c"], prompts=["ask"])
    settings = secrets_of(dsn)
    for name, kind, more in (
        ("airports", "postgres", {"row_limit": 50, "masks": {"public.airport.name": "partial"}}),
        ("Zweite", "postgres", {}),
        (
            "orders",
            "http",
            {
                "base_url": api.origin,
                "auth": "bearer",
                "endpoints": [{"name": "one", "path": "/orders/{id}"}],
            },
        ),
        ("fetched", "http", {"openapi": f"{api.origin}/openapi.json", "allow_writes": True}),
        ("whole", "http", {"base_url": f"{api.origin}/api"}),
        ("files", "files", {"root": "."}),
        ("toolkit", "toolkit", {}),
        ("snippets", "code", {"max_seconds": 2}),
        ("flows", "flows", {}),
        ("notes", "handmade", {}),
        ("shelf", "shelf", {"shelf": "one", "labels": ["no", "1e5", ""]}),
    ):
        create_source(name, kind, {**more, **settings.get(name, {})}, caller=team.owner)


def _add_tools(team: Team) -> None:
    steps = [{"tool": "z_airport", "args": {"code": "ZRH"}, "output": "found"}]
    for name, source, kind, definition, title, description in (
        ("z_airport", "airports", "sql", SQL, "Airport", "Finds one airport.\n\nBy its code."),
        ("get_order", "orders", "http", {"method": "GET", "path": "/orders/1"}, "", "One order: #1"),
        ("first_word", "snippets", "python", CODE, "", ""),
        ("a_report", "flows", "pipeline", {"steps": steps, "title": "Report"}, "", ""),
        ("b_report", "flows", "pipeline", {"steps": [{"tool": "a_report"}]}, "", ""),
    ):
        create_tool(name, source, kind, definition, title, description, caller=team.owner)
    tools = {tool.name: tool.id for tool in list_tools(caller=team.owner)}
    change_tool(tools["first_word"], enabled=False, caller=team.owner)
    change_tool(tools["b_report"], title="", caller=team.owner)
    change_tool(tools["list_tables"], description="Edited by hand.", caller=team.owner)
    change_tool(tools["calculate"], enabled=False, caller=team.owner)
    change_caching(tools["z_airport"], seconds=60, caller=team.owner)
    change_caching(tools["list_tables"], seconds=30, collapses=False, caller=team.owner)
    change_running(tools["get_order"], runs="worker", deadline=90, caller=team.owner)
    change_running(tools["describe_table"], deadline=5, caller=team.owner)
    document_tool = next(name for name in tools if name.startswith("read_item"))
    change_tool(tools[document_tool], title="An item", caller=team.owner)


def _add_words(team: Team) -> None:
    text = {"uri": "notes://welcome", "name": "Welcome", "text": "Hello.\n\nWelcome: here.\n", "title": "Hi"}
    template = {
        "uri": "notes://{lang}/terms",
        "text": "Terms in {{lang}}",
        "variables": {"lang": {"enum": ["en", "no"]}},
        "annotations": {"audience": ["user"], "priority": 0.5},
    }
    for definition in (text, template, {"uri": "notes://dot", "blob": "AAEC", "mime_type": "image/png"}):
        create_resource(definition, source="notes", caller=team.owner)
    prompt = {
        "name": "greet",
        "description": "Greets.",
        "arguments": [{"name": "who", "required": True}],
        "messages": [{"role": "user", "text": "Greet {{who}}."}],
    }
    create_prompt(prompt, source="notes", caller=team.owner)
    resources = {row.uri: row.id for row in list_resources(caller=team.owner)}
    prompts = {row.name: row.id for row in list_prompts(caller=team.owner)}
    for uri in ("notes://dot", "shelf://a"):
        set_resource_enabled(resources[uri], False, caller=team.owner)
    set_prompt_enabled(prompts["ask"], False, caller=team.owner)


def _add_servers(team: Team) -> None:
    owner = team.owner
    create_server(
        "public-one", "Öffentlich: #1", "public", ["toolkit", "airports"], "Be kind.\n", caller=owner
    )
    create_server("all", "All", caller=owner)
    default = next(row for row in list_servers(caller=owner) if row.slug == "default")
    update_server(default.pk, title="Whole", sources=["airports", "flows", "notes"], caller=owner)


def make_airports() -> str:
    """A database for the source of airports."""
    return make_database(TABLE)
