"""What a data source brings: stored whole or not at all, shown, switched, and renewed on request only."""

from __future__ import annotations

import secrets

import pytest

from core.loop import run_async
from servers.models import DataSource, ServedVersion, Server, Tool
from servers.services.runtime import get_runtime
from servers.services.served_versions import serve_version
from servers.services.servers import create_server
from servers.services.sources import execution_source
from servers.services.surfaces import Surface
from tenants.models import Tenant
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.rest import Answer, Rest
from tests.shelf import add_shelf_kind, fill_shelf, shelf_resource, shelf_tool


@pytest.fixture
def team() -> Team:
    add_shelf_kind()
    return make_team()


@pytest.fixture
def shelf() -> str:
    """A shelf of this test's own, with some of each."""
    name = f"shelf-{secrets.token_hex(4)}"
    fill_shelf(
        name,
        tools=["echo_twice", "add"],
        resources=["shelf://readme", "shelf://books/{id}"],
        prompts=["review"],
    )
    return name


def put_up(team: Team, shelf: str, name: str = "books") -> Answer:
    body = {"name": name, "kind": "shelf", "settings": {"shelf": shelf}}
    return Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body)


def refresh(team: Team, name: str = "books", **given: object) -> Answer:
    with tenant_scope(team.tenant_id):
        source = DataSource.objects.get(name=name)
    return Rest.admin(team).post(f"/tenants/{team.slug}/data-sources/{source.id}/refresh", given)


def rows(team: Team, what: str) -> dict[str, dict[str, object]]:
    found = Rest.admin(team).get(f"/tenants/{team.slug}/{what}").body["results"]
    return {row.get("uri") or row["name"]: row for row in found}


def stored(team: Team, name: str = "books") -> dict[str, object]:
    with tenant_scope(team.tenant_id):
        return dict(execution_source(DataSource.objects.get(name=name)).settings)


def version(team: Team) -> int:
    return Tenant.objects.get(pk=team.tenant_id).surface_version


def surface_of(team: Team, server: str = "default") -> Surface:
    surface = run_async(get_runtime().surfaces.get(team.tenant_id, server))
    assert surface is not None
    return surface


def test_a_source_brings_tools_resources_and_prompts(team: Team, shelf: str) -> None:
    assert put_up(team, shelf).status == 201
    assert set(rows(team, "tools")) == {"echo_twice", "add"}
    resources, prompts = rows(team, "resources"), rows(team, "prompts")
    assert {uri: row["template"] for uri, row in resources.items()} == {
        "shelf://readme": False,
        "shelf://books/{id}": True,
    }
    readme = resources["shelf://readme"]
    assert (readme["source"], readme["enabled"], readme["mime_type"]) == ("books", True, "text/plain")
    assert readme["annotations"] == {"audience": ["user"], "priority": 0.5}
    assert prompts["review"]["arguments"] == [
        {"name": "topic", "description": "What about", "required": True}
    ]
    assert rows(team, "tools")["add"]["icons"] == [
        {"src": "https://example.com/icon.png", "sizes": ["48x48"]}
    ]
    record = (
        Rest.admin(team).get(f"/tenants/{team.slug}/audit/records?kind=source.created").body["results"][0]
    )
    assert record["arguments"]["after"]["resources"] == ["shelf://readme", "shelf://books/{id}"]


def test_a_taken_prompt_name_prefixes_tools_and_prompts(team: Team, shelf: str) -> None:
    fill_shelf(f"{shelf}-2", tools=["echo_thrice"], prompts=["review"])
    put_up(team, shelf)
    assert put_up(team, f"{shelf}-2", "more").body["tool_prefix"] == "more_"
    assert set(rows(team, "prompts")) == {"review", "more_review"}
    tool = rows(team, "tools")["more_echo_thrice"]
    assert tool["description"] == "Does more_echo_thrice."


def test_a_taken_uri_is_a_conflict_that_names_it_and_nothing_is_stored(team: Team, shelf: str) -> None:
    fill_shelf(f"{shelf}-2", tools=["other"], resources=["shelf://new", "shelf://readme"])
    put_up(team, shelf)
    refused = put_up(team, f"{shelf}-2", "more")
    assert (refused.status, refused.body["code"]) == (409, "uri_taken")
    assert "shelf://readme" in refused.body["detail"]
    assert "books" in refused.body["detail"]
    assert "other" not in rows(team, "tools")
    assert set(rows(team, "resources")) == {"shelf://readme", "shelf://books/{id}"}


def test_a_uri_that_may_hold_the_sources_name_gets_it_with_the_tools(team: Team, shelf: str) -> None:
    plain, named = "shelf://cards/{id}", "shelf://{source}/cards/{id}"
    fill_shelf(shelf, tools=["look_up"], resources=[shelf_resource(plain, named_uri=named)])
    assert put_up(team, shelf).status == 201
    assert put_up(team, shelf, "more").status == 201
    assert set(rows(team, "resources")) == {plain, "shelf://more/cards/{id}"}
    assert set(rows(team, "tools")) == {"look_up", "more_look_up"}
    assert refresh(team, "more").body["added"]["resources"] == []


def test_a_source_whose_uri_is_taken_puts_its_name_before_its_tools(team: Team, shelf: str) -> None:
    put_up(team, shelf)
    readme = shelf_resource("shelf://readme", named_uri="shelf://{source}/readme")
    fill_shelf(f"{shelf}-2", tools=["other"], resources=[readme])
    assert put_up(team, f"{shelf}-2", "more").status == 201
    assert "shelf://more/readme" in rows(team, "resources")
    assert "more_other" in rows(team, "tools")


def test_two_teams_may_offer_the_same_uri(team: Team, shelf: str) -> None:
    put_up(team, shelf)
    other = make_team()
    assert put_up(other, shelf).status == 201


@pytest.mark.parametrize(
    "uri", ["shelf://{a}{b}", "shelf://{a*}", "shelf://{", "shelf:// x", "x" * 1_100, "shelf://\u202e"]
)
def test_a_uri_that_cannot_be_is_refused_with_its_place(team: Team, shelf: str, uri: str) -> None:
    fill_shelf(shelf, tools=["fine"], resources=[shelf_resource(uri)])
    refused = put_up(team, shelf)
    assert refused.status == 400
    assert all(path.startswith("resources.") for path in refused.paths)
    assert rows(team, "tools") == {}


def test_a_source_that_brings_something_twice_is_refused(team: Team, shelf: str) -> None:
    fill_shelf(shelf, prompts=["review", "review"])
    assert put_up(team, shelf).paths == {"prompts"}


@pytest.mark.parametrize(("what", "key"), [("resources", "shelf://readme"), ("prompts", "review")])
def test_what_is_switched_off_leaves_the_surface_and_is_recorded(
    team: Team, shelf: str, what: str, key: str
) -> None:
    put_up(team, shelf)
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/{what}/{rows(team, what)[key]['id']}"
    before = version(team)
    assert rest.patch(path, {"enabled": False}).body["enabled"] is False
    assert version(team) == before + 1
    assert rest.patch(path, {"enabled": False}).status == 200
    assert version(team) == before + 1
    assert rest.get(path).body["enabled"] is False
    run_async(_forget(team))
    surface = surface_of(team)
    assert key not in {each.uri for each in surface.resources} | {each.name for each in surface.prompts}
    kind = f"{what.removesuffix('s')}.disabled"
    [record] = rest.get(f"/tenants/{team.slug}/audit/records?kind={kind}").body["results"]
    assert record["arguments"]["before"]["enabled"] is True


async def _forget(team: Team) -> None:
    get_runtime().surfaces.drop_tenant(team.tenant_id)


@pytest.mark.parametrize("what", ["resources", "prompts"])
def test_a_resource_or_prompt_takes_no_other_change(team: Team, shelf: str, what: str) -> None:
    put_up(team, shelf)
    path = f"/tenants/{team.slug}/{what}/{next(iter(rows(team, what).values()))['id']}"
    rest = Rest.admin(team)
    refused = rest.patch(path, {"title": "x"})
    assert (refused.status, refused.body["code"]) == (409, "brought")
    assert rest.patch(path, {"kind": "x"}).paths == {"kind"}
    assert rest.patch(path, {"enabled": "perhaps"}).paths == {"enabled"}


@pytest.mark.parametrize(
    ("scope", "what", "status"),
    [
        ("resources:read", "resources", 200),
        ("prompts:read", "prompts", 200),
        ("tools:read", "resources", 403),
        ("resources:read", "prompts", 403),
    ],
)
def test_each_list_needs_its_own_scope(team: Team, scope: str, what: str, status: int) -> None:
    assert Rest(team.key(scope)).get(f"/tenants/{team.slug}/{what}").status == status


@pytest.mark.parametrize("what", ["resources", "prompts"])
def test_a_key_of_one_server_sees_what_that_server_offers(team: Team, shelf: str, what: str) -> None:
    put_up(team, shelf)
    rest = Rest.admin(team)
    for slug, sources in (("with", ["books"]), ("without", [])):
        body = {"slug": slug, "title": slug, "sources": sources}
        assert rest.post(f"/tenants/{team.slug}/servers", body).status == 201
    seen = Rest(team.key(f"{what}:read", "server:with")).get(f"/tenants/{team.slug}/{what}").body["results"]
    assert len(seen) == len(rows(team, what)) > 0
    narrowed = Rest(team.key(f"{what}:read", "server:without"))
    assert narrowed.get(f"/tenants/{team.slug}/{what}").body["results"] == []
    assert narrowed.get(f"/tenants/{team.slug}/{what}/{seen[0]['id']}").status == 404


def test_a_refresh_takes_over_what_is_new_changed_and_gone(team: Team, shelf: str) -> None:
    put_up(team, shelf)
    rest = Rest.admin(team)
    add = rows(team, "tools")["add"]
    rest.post(f"/tenants/{team.slug}/tools/{add['id']}/disable")
    fill_shelf(
        shelf,
        tools=[shelf_tool("add", description="Adds."), "subtract"],
        resources=[shelf_resource("shelf://readme", title="Read me"), "shelf://news"],
        prompts=["summary"],
    )
    before = version(team)
    assert set(rows(team, "tools")) == {"echo_twice", "add"}
    answer = refresh(team)
    told = {each["tool"]: each["words"] for each in answer.body.pop("differences")}
    assert told["add"] == ["The description changed."]
    assert (told["echo_twice"], told["subtract"]) == (["echo_twice is gone."], ["subtract is new."])
    assert len(answer.body.pop("fingerprint")) == 64
    assert answer.body == {
        "added": {"tools": ["subtract"], "resources": ["shelf://news"], "prompts": ["summary"]},
        "changed": {"tools": ["add"], "resources": ["shelf://readme"], "prompts": []},
        "removed": {"tools": ["echo_twice"], "resources": ["shelf://books/{id}"], "prompts": ["review"]},
    }
    assert version(team) == before + 1
    changed = rows(team, "tools")["add"]
    assert (changed["version"], changed["description"], changed["enabled"]) == (2, "Adds.", False)
    assert rows(team, "resources")["shelf://readme"]["title"] == "Read me"
    assert set(rows(team, "prompts")) == {"summary"}
    [record] = rest.get(f"/tenants/{team.slug}/audit/records?kind=source.refreshed").body["results"]
    assert record["arguments"]["after"]["removed"]["tools"] == ["echo_twice"]


def test_a_refresh_says_what_servers_had_set_for_tools_that_go(team: Team, shelf: str) -> None:
    fill_shelf(shelf, tools=["echo", "add", "keep"])
    put_up(team, shelf)
    fill_shelf(shelf, tools=["echo", "add", shelf_tool("keep", description="Kept.")])
    create_server("shop", "Shop", "private", None, caller=team.owner)
    refresh(team)
    with tenant_scope(team.tenant_id):
        source = DataSource.objects.get(name="books")
        slugs = {row.slug: row.pk for row in Server.objects.all()}
    for slug, tool, use in (
        ("default", "echo", "pin"),
        ("shop", "echo", "beside"),
        ("shop", "echo", "canary"),
        ("shop", "add", "pin"),
        ("shop", "keep", "pin"),
    ):
        share = 5 if use == "canary" else None
        serve_version(slugs[slug], tool, 1, use, share, caller=team.owner)
    fill_shelf(shelf, tools=["keep"])
    path = f"/tenants/{team.slug}/data-sources/{source.id}/refresh"
    ends = {
        "add": ["The server shop has version 1 pinned: that ends."],
        "echo": [
            "The server default has version 1 pinned: that ends.",
            "The server shop offers version 1 beside it, as echo_v1: that ends.",
            "The server shop tries version 1 with some: that ends.",
        ],
        "keep": [],
    }
    preview = Rest.admin(team).post(path, {"preview": True}).body["differences"]
    assert {each["tool"]: each["ends"] for each in preview} == ends
    assert {each["tool"]: each["ends"] for each in refresh(team).body["differences"]} == ends
    with tenant_scope(team.tenant_id):
        assert [row.tool.name for row in ServedVersion.objects.select_related("tool")] == ["keep"]
    kind = f"/tenants/{team.slug}/audit/records?kind=source.refreshed"
    ended = Rest.admin(team).get(kind).body["results"][0]["arguments"]["after"]["ended"]
    assert sorted((each["server"], each["tool"], each["use"]) for each in ended) == [
        ("default", "echo", "pin"),
        ("shop", "add", "pin"),
        ("shop", "echo", "beside"),
        ("shop", "echo", "canary"),
    ]


def test_a_refresh_of_the_same_changes_and_announces_nothing(team: Team, shelf: str) -> None:
    put_up(team, shelf)
    before = version(team)
    answer = refresh(team)
    assert answer.body.pop("differences") == []
    assert len(answer.body.pop("fingerprint")) == 64
    assert not any(names for state in answer.body.values() for names in state.values())
    assert version(team) == before
    assert rows(team, "tools")["add"]["version"] == 1


def test_a_refresh_whose_new_name_is_taken_changes_nothing(team: Team, shelf: str) -> None:
    fill_shelf(f"{shelf}-2", tools=["subtract"])
    put_up(team, shelf)
    put_up(team, f"{shelf}-2", "more")
    fill_shelf(shelf, tools=["subtract"], resources=["shelf://readme"])
    refused = refresh(team)
    assert refused.status == 409
    assert "subtract" in refused.body["detail"]
    assert set(rows(team, "tools")) == {"echo_twice", "add", "subtract"}
    assert "review" in rows(team, "prompts")


@pytest.mark.parametrize(
    ("brings", "words"),
    [
        ({"tools": ["subtract"]}, "A tool called subtract exists already."),
        ({"resources": ["shelf://atlas"]}, "The URI shelf://atlas is taken"),
        ({"prompts": ["summary"]}, "A prompt called summary exists already."),
        ({"tools": ["add", "add"]}, "brings add twice"),
        ({"tools": ["subtract_v1"]}, "offers version 1 of subtract as subtract_v1"),
    ],
)
def test_a_preview_refuses_what_the_refresh_would_refuse(
    team: Team, shelf: str, brings: dict[str, list[str]], words: str
) -> None:
    fill_shelf(f"{shelf}-2", tools=["subtract"], resources=["shelf://atlas"], prompts=["summary"])
    put_up(team, shelf)
    put_up(team, f"{shelf}-2", "more")
    with tenant_scope(team.tenant_id):
        server = Server.objects.get(slug="default").pk
    serve_version(server, "subtract", 1, "beside", None, caller=team.owner)
    fill_shelf(shelf, **brings)
    preview, done = refresh(team, preview=True), refresh(team)
    assert words in preview.body["detail"], preview.body
    assert (preview.status, preview.body["detail"]) == (done.status, done.body["detail"])


def test_a_preview_leaves_all_as_it_was_and_keeps_no_record(team: Team, shelf: str) -> None:
    put_up(team, shelf)
    before, kept = version(team), stored(team)
    fill_shelf(shelf, tools=["subtract"], resources=["shelf://atlas"])
    assert [each["tool"] for each in refresh(team, preview=True).body["differences"]] == [
        "add",
        "echo_twice",
        "subtract",
        "shelf://books/{id}",
        "shelf://readme",
        "review",
        "shelf://atlas",
    ]
    assert set(rows(team, "tools")) == {"add", "echo_twice"}
    assert set(rows(team, "resources")) == {"shelf://readme", "shelf://books/{id}"}
    assert (version(team), stored(team)) == (before, kept)
    kind = f"/tenants/{team.slug}/audit/records?kind=source.refreshed"
    assert Rest.admin(team).get(kind).body["results"] == []


def test_a_tool_stored_before_sources_marked_theirs_is_taken_over(team: Team, shelf: str) -> None:
    put_up(team, shelf)
    with tenant_scope(team.tenant_id):
        Tool.objects.filter(name="add").update(brought=False)
    assert refresh(team).body["added"]["tools"] == []
    with tenant_scope(team.tenant_id):
        assert Tool.objects.get(name="add").brought


def test_a_tool_that_the_source_no_longer_brings_does_not_keep_it_from_being_deleted(
    team: Team, shelf: str
) -> None:
    created = put_up(team, shelf).body
    fill_shelf(shelf)
    assert Rest.admin(team).delete(f"/tenants/{team.slug}/data-sources/{created['id']}").status == 204
    assert [rows(team, what) for what in ("tools", "resources", "prompts")] == [{}, {}, {}]


def test_a_viewer_cannot_refresh_or_switch(team: Team, shelf: str) -> None:
    created = put_up(team, shelf).body
    rest = Rest(team.key("tools:read", "resources:read", "prompts:read"))
    assert rest.post(f"/tenants/{team.slug}/data-sources/{created['id']}/refresh").status == 403
    for what in ("resources", "prompts"):
        path = f"/tenants/{team.slug}/{what}/{next(iter(rows(team, what).values()))['id']}"
        assert rest.patch(path, {"enabled": False}).status == 403


def test_a_surface_holds_what_its_servers_sources_bring(team: Team, shelf: str) -> None:
    fill_shelf(f"{shelf}-2", resources=["other://x"], prompts=["unseen"])
    put_up(team, shelf)
    put_up(team, f"{shelf}-2", "more")
    body = {"slug": "some", "title": "Some", "sources": ["books"]}
    Rest.admin(team).post(f"/tenants/{team.slug}/servers", body)
    surface, everything = surface_of(team, "some"), surface_of(team)
    assert [each.uri for each in surface.resources] == ["shelf://readme"]
    assert [each.uri for each in surface.templates] == ["shelf://books/{id}"]
    assert [each.name for each in surface.prompts] == ["review"]
    assert surface.by_name["add"].icons == [{"src": "https://example.com/icon.png", "sizes": ["48x48"]}]
    assert [each.uri for each in everything.resources] == ["other://x", "shelf://readme"]
    found = surface.find_resource("shelf://books/7")
    assert found is not None
    assert (found[0].uri, found[1], found[0].operation.kind) == ("shelf://books/{id}", {"id": "7"}, "read")
    assert surface.find_resource("other://x") is None
    assert surface.find_resource("shelf://books/a%2Fb") is None
    prompt = surface.find_prompt("review")
    assert prompt is not None
    assert prompt.source is not None
    assert surface.find_prompt("unseen") is None
    assert surface.find_template("shelf://books/{id}") is surface.templates[0]


def test_changed_settings_neither_keep_nor_lose_a_stored_secret(team: Team, shelf: str) -> None:
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/data-sources"
    whole = {"shelf": shelf, "token": "t0psecret"}
    source = rest.post(path, {"name": "books", "kind": "shelf", "settings": whole}).body["id"]
    refused = rest.patch(f"{path}/{source}", {"settings": {"shelf": "elsewhere"}})
    assert refused.paths == {"settings.token"}
    assert "t0psecret" not in str(refused.body)
    assert stored(team) == whole
    assert rest.patch(f"{path}/{source}", {"settings": {"shelf": shelf, "token": "an0ther"}}).status == 200
    assert stored(team) == {"shelf": shelf, "token": "an0ther"}
    assert rest.patch(f"{path}/{source}", {"settings": {"shelf": shelf, "token": None}}).status == 200
    assert rest.patch(f"{path}/{source}", {"settings": {"shelf": "elsewhere"}}).status == 200
    assert stored(team) == {"shelf": "elsewhere"}
