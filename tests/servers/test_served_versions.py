"""What a server offers otherwise than as the current version: pins, versions beside, canaries, and what cannot be."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError

from core.errors import Conflict, Forbidden, InvalidInput, MarinaError, NotFound
from core.loop import run_async
from core.sealing import sealer
from servers.models import ServedVersion, Server, Tool
from servers.services.playground import try_tool
from servers.services.runtime import get_runtime
from servers.services.served_versions import (
    MAX_CREDENTIALS,
    list_served,
    list_served_of,
    serve_version,
    stop_serving,
)
from servers.services.servers import count_offered, create_server, delete_server, list_servers, update_server
from servers.services.sources import create_source
from servers.services.surfaces import Surface, load_surface
from servers.services.tool_versions import discard_draft, publish_version, roll_back
from servers.services.tools import change_tool, create_tool, delete_tool, set_tool_enabled
from tenants.access import Caller, caller_for_key
from tenants.models import AuditRecord
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.keys import list_keys
from tests.factories import Team, make_team
from tests.oauth.flows import make_app

SOURCE = "airports"


@pytest.fixture
def team(database: None) -> Team:
    """A team whose tool ``one`` has the published versions 1 and 2, and the draft 3."""
    team = make_team()
    create_source(SOURCE, "postgres", {"dsn": "postgresql://u:p@db.example.com/d"}, caller=team.owner)
    tool = create_tool("one", SOURCE, "sql", {"sql": "SELECT 1"}, caller=team.owner)
    change_tool(tool.id, definition={"sql": "SELECT 2"}, caller=team.owner)
    change_tool(tool.id, definition={"sql": "SELECT 3"}, draft=True, caller=team.owner)
    return team


@pytest.fixture
def server(team: Team) -> Server:
    return list_servers(caller=team.owner)[0]


@pytest.fixture
def tool(team: Team) -> Tool:
    with tenant_scope(team.tenant_id):
        return Tool.objects.get(name="one")


def serve(team: Team, server: Server, version: int, use: str, **given: Any) -> ServedVersion:
    return serve_version(server.pk, "one", version, use, caller=team.owner, **given)


def offered(team: Team, slug: str = "default") -> dict[str, int]:
    return {
        name: tool.version for name, tool in surface(team, slug).by_name.items() if name.startswith("one")
    }


def surface(team: Team, slug: str = "default") -> Surface:
    loaded = load_surface(team.tenant_id, slug, sealer())
    assert loaded is not None
    return loaded


def callers(team: Team, count: int) -> list[Caller]:
    return [
        Caller(team.tenant_id, team.slug, f"key:{number}", credential_id=uuid4(), scopes=frozenset({"admin"}))
        for number in range(count)
    ]


def version_for(team: Team, caller: Caller) -> int:
    return surface(team).seen_by(caller).by_name["one"].version


def test_a_server_follows_the_current_version_unless_one_is_pinned(team: Team, server: Server) -> None:
    other = create_server("other", "Other", caller=team.owner)
    served = serve(team, server, 1, "pin")
    assert (offered(team), offered(team, "other")) == ({"one": 1}, {"one": 2})
    serve(team, server, 2, "pin")
    assert offered(team) == {"one": 2}
    assert [each.pk for each in list_served(server.pk, caller=team.owner)] == [served.pk]
    assert list_served(other.pk, caller=team.owner) == []
    stop_serving(server.pk, served.pk, caller=team.owner)
    assert offered(team) == {"one": 2}


def test_a_pin_holds_while_the_tool_moves_on_and_is_rolled_back(
    team: Team, server: Server, tool: Tool
) -> None:
    serve(team, server, 2, "pin")
    publish_version(tool.id, 3, caller=team.owner)
    assert offered(team) == {"one": 2}
    roll_back(tool.id, to=1, caller=team.owner)
    assert offered(team) == {"one": 2}


def test_two_versions_stand_side_by_side(team: Team, server: Server, tool: Tool) -> None:
    before = count_offered(server.pk, caller=team.owner).tools
    serve(team, server, 1, "beside")
    assert offered(team) == {"one": 2, "one_v1": 1}
    assert count_offered(server.pk, caller=team.owner).tools == before + 1
    for _ in range(2):
        serve(team, server, 2, "beside")
    assert offered(team) == {"one": 2, "one_v1": 1, "one_v2": 2}
    set_tool_enabled(tool.id, False, caller=team.owner)
    assert offered(team) == {}


def test_what_is_offered_otherwise_goes_with_the_source_of_its_tool(team: Team, server: Server) -> None:
    serve(team, server, 1, "beside")
    update_server(server.pk, sources=[], caller=team.owner)
    assert offered(team) == {}
    update_server(server.pk, offers_all=True, caller=team.owner)
    assert offered(team) == {"one": 2, "one_v1": 1}
    gone = create_server("gone", "Gone", caller=team.owner)
    serve(team, gone, 1, "pin")
    delete_server(gone.pk, caller=team.owner)
    assert len(list_served_of(list_served(server.pk, caller=team.owner)[0].tool_id, caller=team.owner)) == 1


def test_names_of_versions_beside_and_of_tools_never_meet(team: Team, server: Server) -> None:
    create_tool("one_v2", SOURCE, "sql", {"sql": "SELECT 1"}, caller=team.owner)
    with pytest.raises(Conflict, match="there is a tool of that name"):
        serve(team, server, 2, "beside")
    serve(team, server, 1, "beside")
    with pytest.raises(Conflict, match="offers version 1 of one as one_v1"):
        create_tool("one_v1", SOURCE, "sql", {"sql": "SELECT 1"}, caller=team.owner)
    with pytest.raises(Conflict, match="offers version 1 of one as one_v1"):
        create_tool("one_v1", SOURCE, "sql", {"sql": "SELECT 1"}, draft=True, caller=team.owner)


def test_a_name_too_long_for_its_version_is_refused(team: Team, server: Server) -> None:
    name = "x" * 62
    create_tool(name, SOURCE, "sql", {"sql": "SELECT 1"}, caller=team.owner)
    with pytest.raises(InvalidInput, match="64"):
        serve_version(server.pk, name, 1, "beside", caller=team.owner)


def test_a_pipeline_calls_a_version_beside_by_its_name(team: Team, server: Server) -> None:
    create_source("flows", "flows", {}, caller=team.owner)
    steps = {"steps": [{"tool": "one_v1"}]}
    with pytest.raises(InvalidInput, match="no tool called one_v1"):
        create_tool("calls", "flows", "pipeline", steps, caller=team.owner)
    serve(team, server, 1, "beside")
    assert create_tool("calls", "flows", "pipeline", steps, caller=team.owner).name == "calls"


def test_a_share_takes_its_part_of_the_callers_and_keeps_them(team: Team, server: Server) -> None:
    everybody = callers(team, 1_000)
    serve(team, server, 3, "canary", share=20)
    some = {each for each in everybody if version_for_all(team, each) == 3}
    assert 140 < len(some) < 260
    assert {each for each in everybody if version_for_all(team, each) == 3} == some
    serve(team, server, 3, "canary", share=50)
    _surfaces.clear()
    assert some < {each for each in everybody if version_for_all(team, each) == 3}
    serve(team, server, 3, "canary", share=100)
    _surfaces.clear()
    assert all(version_for_all(team, each) == 3 for each in everybody)
    _surfaces.clear()


_surfaces: dict[int, Surface] = {}


def version_for_all(team: Team, caller: Caller) -> int:
    """As ``version_for``, of a surface that is loaded once."""
    if team.tenant_id not in _surfaces:
        _surfaces[team.tenant_id] = surface(team)
    return _surfaces[team.tenant_id].seen_by(caller).by_name["one"].version


def test_a_canary_is_for_the_credentials_that_it_names(team: Team, server: Server) -> None:
    key, other = (caller_for_key(team.key("tools:read"), tenant_slug=team.slug) for _ in range(2))
    app = make_app(team)
    client = Caller(
        team.tenant_id, team.slug, "client", credential_id=uuid4(), principal=f"client:{app.row.pk}:7"
    )
    assert key.credential_id is not None
    serve(team, server, 3, "canary", credentials=[str(key.credential_id), str(app.row.pk)])
    assert [version_for(team, each) for each in (key, client, other, team.owner)] == [3, 3, 2, 2]


def test_whoever_has_no_credential_is_in_no_canary(team: Team, server: Server) -> None:
    serve(team, server, 3, "canary", share=100)
    anybody = Caller(team.tenant_id, team.slug, "anonymous (192.0.2.7)")
    assert (version_for(team, anybody), version_for(team, team.owner)) == (2, 3)


def test_callers_in_the_same_canaries_share_one_snapshot_and_others_have_the_servers_own(
    team: Team, server: Server
) -> None:
    assert surface(team).seen_by(team.owner).canaries == ()
    whole = surface(team)
    assert whole.seen_by(team.owner) is whole
    serve(team, server, 3, "canary", share=50)
    whole = surface(team)
    seen = {id(whole.seen_by(each)) for each in callers(team, 200)}
    assert len(seen) == 2
    assert id(whole) in seen


def test_a_canary_stands_over_a_pin_and_ends_when_its_version_is_published_or_rolled_back(
    team: Team, server: Server, tool: Tool
) -> None:
    serve(team, server, 1, "pin")
    serve(team, server, 3, "canary", share=100)
    assert version_for(team, team.owner) == 3
    publish_version(tool.id, 3, caller=team.owner)
    assert version_for(team, team.owner) == 1
    assert [str(each.use) for each in list_served(server.pk, caller=team.owner)] == ["pin"]
    change_tool(tool.id, title="Four", caller=team.owner)
    serve(team, server, 4, "canary", share=100)
    roll_back(tool.id, caller=team.owner)
    assert version_for(team, team.owner) == 1


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"version": 3, "use": "pin"}, "version"),
        ({"version": 3, "use": "beside"}, "version"),
        ({"version": 9, "use": "pin"}, "version"),
        ({"version": True, "use": "pin"}, "version"),
        ({"version": "1", "use": "pin"}, "version"),
        ({"version": 2**70, "use": "pin"}, "version"),
        ({"version": 1, "use": "prefer"}, "use"),
        ({"version": 1, "use": None}, "use"),
        ({"version": 1, "use": "pin", "share": 5}, "share"),
        ({"version": 1, "use": "beside", "credentials": ["x"]}, "credentials"),
        ({"version": 3, "use": "canary"}, "share"),
        ({"version": 3, "use": "canary", "share": 0}, "share"),
        ({"version": 3, "use": "canary", "share": 101}, "share"),
        ({"version": 3, "use": "canary", "share": -1}, "share"),
        ({"version": 3, "use": "canary", "share": 0.5}, "share"),
        ({"version": 3, "use": "canary", "share": True}, "share"),
        ({"version": 3, "use": "canary", "credentials": "x"}, "credentials"),
        ({"version": 3, "use": "canary", "credentials": ["x"]}, "credentials.0"),
        ({"version": 3, "use": "canary", "credentials": [None]}, "credentials.0"),
        ({"version": 3, "use": "canary", "credentials": ["x"] * (MAX_CREDENTIALS + 1)}, "credentials"),
        ({"version": 1, "use": "pin", "tool": "two"}, "tool"),
        ({"version": 1, "use": "pin", "tool": "one\0"}, "tool"),
        ({"version": 1, "use": "pin", "tool": None}, "tool"),
    ],
)
def test_what_cannot_be_offered_is_refused_with_the_place(
    team: Team, server: Server, given: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        serve_version(server.pk, caller=team.owner, **{"tool": "one", **given})
    assert [fault["path"] for fault in refused.value.errors] == [path]
    assert list_served(server.pk, caller=team.owner) == []


def test_what_was_rolled_back_from_is_offered_in_no_way(team: Team, server: Server, tool: Tool) -> None:
    roll_back(tool.id, caller=team.owner)
    for use in ("pin", "beside", "canary"):
        with pytest.raises(InvalidInput, match="rolled back from"):
            serve(team, server, 2, use, **({"share": 5} if use == "canary" else {}))


def test_a_tool_that_the_server_does_not_offer_is_refused(team: Team) -> None:
    narrow = create_server("narrow", "Narrow", sources=[], caller=team.owner)
    with pytest.raises(InvalidInput, match="does not offer"):
        serve(team, narrow, 1, "pin")


def test_a_server_has_four_canaries_at_most(team: Team, server: Server) -> None:
    for number in range(5):
        create_tool(f"more{number}", SOURCE, "sql", {"sql": "SELECT 1"}, caller=team.owner)
    for number in range(4):
        serve_version(server.pk, f"more{number}", 1, "canary", 5, caller=team.owner)
    with pytest.raises(Conflict, match="4 canaries already"):
        serve_version(server.pk, "more4", 1, "canary", 5, caller=team.owner)
    # One of those that it has is changed all the same.
    serve_version(server.pk, "more3", 1, "canary", 10, caller=team.owner)


def test_what_a_server_is_bound_to_is_not_deleted(team: Team, server: Server, tool: Tool) -> None:
    canary = serve(team, server, 3, "canary", share=5)
    with pytest.raises(Conflict, match="canary on the server default"):
        discard_draft(tool.id, 3, caller=team.owner)
    with pytest.raises(Conflict, match="default"):
        delete_tool(tool.id, caller=team.owner)
    stop_serving(server.pk, canary.pk, caller=team.owner)
    discard_draft(tool.id, 3, caller=team.owner)
    delete_tool(tool.id, caller=team.owner)


def test_nobody_else_offers_or_ends_anything(team: Team, server: Server) -> None:
    served = serve(team, server, 1, "pin")
    outsider, viewer = make_team(), team.member(Role.VIEWER)
    theirs = list_servers(caller=outsider.owner)[0]
    for server_id in (server.pk, uuid4()):
        with pytest.raises(NotFound, match="no such server"):
            serve_version(server_id, "one", 1, "pin", caller=outsider.owner)
        with pytest.raises(NotFound, match="no such server"):
            stop_serving(server_id, served.pk, caller=outsider.owner)
        with pytest.raises(NotFound, match="no such server"):
            list_served(server_id, caller=outsider.owner)
    for served_id in (served.pk, uuid4()):
        with pytest.raises(NotFound, match="no such version of a tool"):
            stop_serving(theirs.pk, served_id, caller=outsider.owner)
    with pytest.raises(InvalidInput, match="no tool of that name"):
        serve_version(theirs.pk, "one", 1, "pin", caller=outsider.owner)
    assert list_served_of(served.tool_id, caller=outsider.owner) == []
    for act in (
        lambda: serve_version(server.pk, "one", 1, "pin", caller=viewer),
        lambda: stop_serving(server.pk, served.pk, caller=viewer),
    ):
        with pytest.raises(Forbidden):
            act()


def test_another_teams_key_names_nobody(team: Team, server: Server) -> None:
    outsider = make_team()
    outsider.key("tools:read")
    foreign = list_keys(caller=outsider.owner)[0].pk
    messages = set()
    for each in (foreign, uuid4()):
        with pytest.raises(InvalidInput) as refused:
            serve(team, server, 3, "canary", credentials=[str(each)])
        messages.add(refused.value.message)
    assert len(messages) == 1


def test_each_change_is_in_the_log_with_what_was_before(team: Team, server: Server) -> None:
    serve(team, server, 1, "pin")
    served = serve(team, server, 2, "pin")
    stop_serving(server.pk, served.pk, caller=team.owner)
    with tenant_scope(team.tenant_id):
        rows = AuditRecord.objects.filter(kind__startswith="server.version_").order_by("seq")
        assert [(row.kind, row.server, row.tool) for row in rows] == [
            ("server.version_served", "default", "one"),
            ("server.version_served", "default", "one"),
            ("server.version_ended", "default", "one"),
        ]


def test_the_database_refuses_what_no_service_would_write(team: Team, server: Server, tool: Tool) -> None:
    with tenant_scope(team.tenant_id):
        version = tool.versions.get(number=1)
    for use, share in (("canary", None), ("canary", 0), ("canary", 101), ("pin", 5), ("other", None)):
        with pytest.raises(IntegrityError, match="canary_valid"), tenant_scope(team.tenant_id):
            ServedVersion.objects.create(server=server, tool=tool, version=version, use=use, share=share)


def test_a_draft_is_tried_by_those_who_may_change_tools_only(team: Team) -> None:
    run_async(get_runtime().start())
    tried = try_tool("one", {}, version=3, caller=team.owner)
    # Its database is not there: it came as far as that.
    assert (tried.tool_version, tried.error is not None and tried.error.code != "tool_unknown") == (3, True)
    runner = Caller(
        team.tenant_id,
        team.slug,
        "key:runner",
        credential_id=uuid4(),
        scopes=frozenset({"tools:read", "tools:execute"}),
    )
    with pytest.raises(Forbidden):
        try_tool("one", {}, version=3, caller=runner)
    for given in ({"version": 9}, {"version": 3, "server_slug": "nowhere"}):
        with pytest.raises(MarinaError) as refused:
            try_tool("one", {}, caller=team.owner, **given)
        assert isinstance(refused.value, NotFound)


def test_which_versions_there_are_is_not_told_to_a_key_that_is_kept_from_the_tool(team: Team) -> None:
    kept = Caller(
        team.tenant_id,
        team.slug,
        "key:kept",
        credential_id=uuid4(),
        scopes=frozenset({"admin", "tool:other"}),
    )
    for number in (1, 3, 99):
        with pytest.raises(Forbidden) as refused:
            try_tool("one", {}, version=number, caller=kept)
        assert refused.value.rule == "scope:tool:one"
