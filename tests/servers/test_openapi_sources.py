"""Data sources made of OpenAPI documents, over REST: fetched or given, picked, called, and taken over anew."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest

from servers.models import DataSource
from servers.services.sources import execution_source
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.farside import FarSide, far_side, reply
from tests.rest import Rest
from tests.servers.execution.http.openapi.shop import FASTAPI_LIKE

READ = "read_item_items__item_id__get"
UPLOAD = "upload_files_post"


@pytest.fixture
def api() -> Iterator[FarSide]:
    with far_side() as side:
        serve(side, FASTAPI_LIKE)
        item = {"id": 3, "name": "Rope", "price": 9.5, "tags": None}
        side.serve("/api/items/3", reply(orjson.dumps(item), kind="application/json"))
        yield side


def serve(api: FarSide, document: dict[str, Any]) -> None:
    """Publish a document whose server is this one."""
    document = {**document, "servers": [{"url": "/api"}]}
    api.serve("/openapi.json", reply(orjson.dumps(document), kind="application/json"))


def create(rest: Rest, team: Team, **settings: Any) -> Any:
    body = {"name": "orders", "kind": "http", "settings": settings}
    return rest.post(f"/tenants/{team.slug}/data-sources", body)


def tools_of(rest: Rest, team: Team) -> dict[str, Any]:
    return {tool["name"]: tool for tool in rest.get(f"/tenants/{team.slug}/tools").body["results"]}


def test_document_of_an_address_becomes_tools(rest: Rest, team: Team, api: FarSide) -> None:
    made = create(rest, team, openapi=f"{api.origin}/openapi.json")
    assert made.status == 201, made.body
    shown = made.body["settings"]
    assert shown["base_url"] == f"{api.origin}/api"
    assert shown["openapi"].keys() == {"url", "title", "version", "digest"}
    tools = tools_of(rest, team)
    assert set(tools) == {READ}
    called = rest.post(
        f"/tenants/{team.slug}/tools/{tools[READ]['id']}/call",
        {"arguments": {"item_id": 3, "x-token": "t", "q": "rope"}},
    )
    assert called.body["structured"]["name"] == "Rope", called.body
    assert api.asked[-1].target == "/api/items/3?q=rope"
    assert api.asked[-1].headers["x-token"] == "t"


def test_stored_settings_hold_no_document(rest: Rest, team: Team, api: FarSide) -> None:
    create(rest, team, openapi=f"{api.origin}/openapi.json", allow_writes=True)
    with tenant_scope(team.tenant_id):
        row = DataSource.objects.get(name="orders")
        assert len(orjson.dumps(execution_source(row).settings)) < 2_000


@pytest.mark.parametrize("form", ["object", "text"])
def test_document_is_given_whole(rest: Rest, team: Team, form: str) -> None:
    given = FASTAPI_LIKE if form == "object" else orjson.dumps(FASTAPI_LIKE).decode()
    made = create(rest, team, openapi=given, allow_writes=True)
    assert made.status == 201, made.body
    assert made.body["settings"]["base_url"] == "https://orders.example.com/api"
    assert made.body["settings"]["openapi"].keys() == {"title", "version", "digest"}
    assert len(tools_of(rest, team)) == 4


def test_operations_are_picked(rest: Rest, team: Team) -> None:
    picked = ["tag:items", UPLOAD]
    made = create(rest, team, openapi=FASTAPI_LIKE, operations=picked, allow_writes=True)
    assert made.body["settings"]["operations"] == picked
    assert set(tools_of(rest, team)) == {READ, "update_item_items__item_id__put", UPLOAD}


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ({"openapi": 3}, "settings.openapi", "Give the address"),
        ({"openapi": {}}, "settings.openapi", "no openapi"),
        ({"openapi": "nothing"}, "settings.openapi", "no OpenAPI document"),
        ({"openapi": "{"}, "settings.openapi", "JSON"),
        ({"openapi": "ftp://h/x"}, "settings.openapi", "no OpenAPI document"),
        ({"openapi": "https://169.254.169.254/latest"}, "settings.openapi", "not fetched"),
        ({"openapi": "{origin}/missing"}, "settings.openapi", "status 404"),
        ({"openapi": "{origin}/moved"}, "settings.openapi", "Another address"),
        ({"openapi": "{origin}/html"}, "settings.openapi", "YAML"),
        ({"openapi": {**FASTAPI_LIKE, "paths": {}}}, "settings.openapi", "No operation"),
        ({"openapi": {**FASTAPI_LIKE, "servers": []}}, "settings.base_url", "names no address"),
        ({"openapi": FASTAPI_LIKE, "operations": ["nope"]}, "settings.operations.0", "no such operation"),
        ({"openapi": FASTAPI_LIKE, "operations": "all"}, "settings.operations", "Give a list"),
        ({"openapi": FASTAPI_LIKE, "operations": [UPLOAD]}, "settings.operations", "allow_writes"),
        ({"base_url": "https://h", "operations": ["a"]}, "settings.operations", "give one as openapi"),
        ({}, "settings.base_url", "address"),
    ],
)
def test_bad_documents_are_refused_with_their_place(
    rest: Rest, team: Team, api: FarSide, settings: dict[str, Any], path: str, words: str
) -> None:
    api.serve("/moved", reply(b"", status=302, headers={"Location": "/openapi.json"}))
    api.serve("/html", reply(b"<!doctype html>\n<a: b>: [", kind="text/html"))
    api.serve("/missing", reply(b"", status=404))
    if isinstance(settings.get("openapi"), str):
        settings = {**settings, "openapi": settings["openapi"].replace("{origin}", api.origin)}
    made = create(rest, team, **settings)
    assert made.status == 400, made.body
    faults = {fault["path"]: fault["message"] for fault in made.body["errors"]}
    assert words in faults[path], faults
    assert tools_of(rest, team) == {}


def changed(**parts: Any) -> dict[str, Any]:
    new = deepcopy(FASTAPI_LIKE)
    new["paths"]["/items/{item_id}"]["get"]["parameters"][1]["required"] = True
    new["paths"]["/items"] = {"get": {"operationId": "list_items"}}
    return {**new, **parts}


def test_changed_document_is_previewed_then_taken_over(rest: Rest, team: Team, api: FarSide) -> None:
    source = create(rest, team, openapi=f"{api.origin}/openapi.json").body["id"]
    route = f"/tenants/{team.slug}/data-sources/{source}/refresh"
    assert rest.post(route, {}).body["differences"] == []
    serve(api, changed())
    told = [
        {"kind": "changed", "tool": READ, "words": ["The argument q became required."], "breaking": True},
        {"kind": "added", "tool": "list_items", "words": ["GET /items is new."], "breaking": False},
    ]
    differences = [{**each, "ends": []} for each in told]
    previewed = rest.post(route, {"preview": True})
    assert (previewed.status, previewed.body["differences"]) == (200, differences)
    assert tools_of(rest, team)[READ]["version"] == 1
    done = rest.post(route, {})
    assert done.body["differences"] == differences
    assert (done.body["added"]["tools"], done.body["changed"]["tools"]) == (["list_items"], [READ])
    assert tools_of(rest, team)[READ]["version"] == 2


def test_preview_of_tools_under_the_source_s_name_says_what_taking_over_does(rest: Rest, team: Team) -> None:
    document = deepcopy(FASTAPI_LIKE)
    document["paths"]["/items/{item_id}"]["get"]["description"] = f"As {READ} says it."
    create(rest, team, openapi=document)
    body = {"name": "more", "kind": "http", "settings": {"openapi": document}}
    source = rest.post(f"/tenants/{team.slug}/data-sources", body).body["id"]
    route = f"/tenants/{team.slug}/data-sources/{source}/refresh"
    assert f"As more_{READ} says it." in tools_of(rest, team)[f"more_{READ}"]["description"]
    for preview in (True, False):
        assert rest.post(route, {"document": document, "preview": preview}).body["differences"] == []


def test_document_that_was_given_whole_is_given_again(rest: Rest, team: Team) -> None:
    source = create(rest, team, openapi=FASTAPI_LIKE).body["id"]
    route = f"/tenants/{team.slug}/data-sources/{source}/refresh"
    refused = rest.post(route, {})
    assert (refused.status, "give it again" in refused.body["detail"]) == (400, True)
    assert set(tools_of(rest, team)) == {READ}
    done = rest.post(route, {"document": changed()})
    assert done.body["added"]["tools"] == ["list_items"]


def test_refresh_with_a_bad_document_changes_nothing(rest: Rest, team: Team) -> None:
    source = create(rest, team, openapi=FASTAPI_LIKE).body["id"]
    route = f"/tenants/{team.slug}/data-sources/{source}/refresh"
    assert rest.post(route, {"document": {"openapi": "3.1.0", "paths": {}}}).status == 400
    assert set(tools_of(rest, team)) == {READ}


def test_settings_change_without_touching_the_document(rest: Rest, team: Team) -> None:
    made = create(rest, team, openapi=FASTAPI_LIKE).body
    settings = {**made["settings"], "timeout": 5}
    answer = rest.patch(f"/tenants/{team.slug}/data-sources/{made['id']}", {"settings": settings})
    assert (answer.status, answer.body["settings"]["timeout"]) == (200, 5)
    assert answer.body["settings"]["openapi"] == made["settings"]["openapi"]
    assert set(tools_of(rest, team)) == {READ}


def test_new_document_in_changed_settings_renews_the_tools(rest: Rest, team: Team) -> None:
    made = create(rest, team, openapi=FASTAPI_LIKE).body
    settings = {"openapi": changed()}
    answer = rest.patch(f"/tenants/{team.slug}/data-sources/{made['id']}", {"settings": settings})
    assert answer.status == 200, answer.body
    assert set(tools_of(rest, team)) == {READ, "list_items"}


def test_own_tool_of_a_name_that_the_document_brings_later_stays_as_it_is(rest: Rest, team: Team) -> None:
    source = create(rest, team, openapi=FASTAPI_LIKE).body["id"]
    mine = {"method": "GET", "path": "/mine"}
    own = {"name": "list_items", "source": "orders", "kind": "http", "definition": mine}
    assert rest.post(f"/tenants/{team.slug}/tools", own).status == 201
    route = f"/tenants/{team.slug}/data-sources/{source}/refresh"
    refused = rest.post(route, {"document": changed()})
    assert (refused.status, refused.body["code"]) == (409, "name_taken")
    kept = tools_of(rest, team)["list_items"]
    assert (kept["version"], kept["definition"]) == (1, mine)


def test_source_with_own_tools_is_not_deleted_unawares(rest: Rest, team: Team) -> None:
    source = create(rest, team, openapi=FASTAPI_LIKE).body["id"]
    own = {"name": "own", "source": "orders", "kind": "http", "definition": {"method": "GET", "path": "/a"}}
    assert rest.post(f"/tenants/{team.slug}/tools", own).status == 201
    refused = rest.delete(f"/tenants/{team.slug}/data-sources/{source}")
    assert (refused.status, "own" in refused.body["detail"]) == (409, True)
    rest.delete(f"/tenants/{team.slug}/tools/{tools_of(rest, team)['own']['id']}")
    assert rest.delete(f"/tenants/{team.slug}/data-sources/{source}").status == 204


def test_document_says_how_a_key_is_sent(rest: Rest, team: Team) -> None:
    schemes = {"key": {"type": "apiKey", "in": "header", "name": "X-Orders-Key"}}
    document = {**FASTAPI_LIKE, "components": {**FASTAPI_LIKE["components"], "securitySchemes": schemes}}
    shown = create(rest, team, openapi=document, token="k" * 20).body["settings"]
    assert (shown["auth"], shown["key_header"]) == ("api_key", "X-Orders-Key")
    assert "token" not in shown
