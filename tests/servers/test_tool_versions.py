"""A tool's versions: drafts that nobody is offered, publishing, rolling back, and what cannot be."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, IntegrityError

from core.errors import Conflict, Forbidden, InvalidInput, MarinaError, NotFound
from core.loop import run_async
from servers.models import Tool, ToolVersion
from servers.services.runtime import get_runtime
from servers.services.sources import create_source, preview_refresh, refresh_source
from servers.services.tool_versions import (
    compare_versions,
    discard_draft,
    get_version,
    list_versions,
    publish_version,
    roll_back,
)
from servers.services.tools import change_tool, create_tool, get_tool, list_tools
from tenants.models import AuditRecord
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team

SOURCE = "airports"
DSN = "postgresql://u:p@db.example.com/d"


def sql(text: str) -> dict[str, Any]:
    return {"sql": text}


@pytest.fixture
def team(database: None) -> Team:
    """A team with a data source; nothing connects to it."""
    team = make_team()
    create_source(SOURCE, "postgres", {"dsn": DSN}, caller=team.owner)
    return team


@pytest.fixture
def tool(team: Team) -> Tool:
    return create_tool("one", SOURCE, "sql", sql("SELECT 1"), caller=team.owner)


def next_version(team: Team, tool: Tool, text: str, **given: Any) -> Tool:
    return change_tool(tool.id, definition=sql(text), caller=team.owner, **given)


def states(team: Team, tool: Tool) -> dict[int, str]:
    return {each.number: str(each.state) for each in list_versions(tool.id, caller=team.owner)}


def current(team: Team, tool: Tool) -> int:
    version = get_tool(tool.id, caller=team.owner).current
    assert version is not None
    return version.number


def offered(team: Team) -> dict[str, int]:
    """What the default server offers, by name, each with its version."""
    surface = run_async(get_runtime().surfaces.get(team.tenant_id, "default"))
    assert surface is not None
    return {each.name: each.version for each in surface.tools}


def recorded(team: Team) -> list[str]:
    with tenant_scope(team.tenant_id):
        return list(AuditRecord.objects.filter(tool="one").order_by("seq").values_list("kind", flat=True))


def test_a_draft_is_kept_beside_what_is_offered_until_it_is_published(team: Team, tool: Tool) -> None:
    next_version(team, tool, "SELECT 2", draft=True)
    assert (current(team, tool), states(team, tool)) == (1, {1: "published", 2: "draft"})
    assert offered(team)["one"] == 1
    run_async(_forget(team))
    publish_version(tool.id, 2, caller=team.owner)
    assert (current(team, tool), states(team, tool)) == (2, {1: "published", 2: "published"})
    run_async(_forget(team))
    assert offered(team)["one"] == 2
    assert recorded(team) == ["tool.created", "tool.draft_saved", "tool.published"]


async def _forget(team: Team) -> None:
    get_runtime().surfaces.drop_tenant(team.tenant_id)


def test_a_tool_may_begin_as_a_draft_which_no_server_offers_and_no_other_tool_calls(team: Team) -> None:
    new = create_tool("fresh", SOURCE, "sql", sql("SELECT 1"), draft=True, caller=team.owner)
    assert states(team, new) == {1: "draft"}
    assert "fresh" not in offered(team)
    create_source("flows", "flows", {}, caller=team.owner)
    steps = {"steps": [{"tool": "fresh"}]}
    with pytest.raises(InvalidInput, match="no tool called fresh"):
        create_tool("calls", "flows", "pipeline", steps, caller=team.owner)
    next_version(team, new, "SELECT 2", draft=True)
    assert current(team, new) == 2
    publish_version(new.id, 2, caller=team.owner)
    run_async(_forget(team))
    assert offered(team)["fresh"] == 2
    create_tool("calls", "flows", "pipeline", steps, caller=team.owner)


def test_publishing_again_does_nothing(team: Team, tool: Tool) -> None:
    next_version(team, tool, "SELECT 2", draft=True)
    for _ in range(2):
        publish_version(tool.id, 2, caller=team.owner)
    assert recorded(team).count("tool.published") == 1


def test_a_change_may_go_on_from_a_draft(team: Team, tool: Tool) -> None:
    next_version(team, tool, "SELECT 2", title="Two", draft=True)
    assert current(team, next_version(team, tool, "SELECT 3", based_on=2)) == 3
    assert get_version(tool.id, 3, caller=team.owner).title == "Two"
    with pytest.raises(Conflict, match="version 3 now"):
        next_version(team, tool, "SELECT 4", based_on=2)


def test_saving_a_draft_as_it_is_publishes_what_it_holds(team: Team, tool: Tool) -> None:
    next_version(team, tool, "SELECT 2", draft=True)
    change_tool(tool.id, based_on=2, caller=team.owner)
    assert get_version(tool.id, current(team, tool), caller=team.owner).definition == sql("SELECT 2")


def test_a_rollback_goes_to_what_was_published_before_and_on_from_there(team: Team, tool: Tool) -> None:
    next_version(team, tool, "SELECT 2")
    next_version(team, tool, "SELECT 3", draft=True)
    next_version(team, tool, "SELECT 4")
    roll_back(tool.id, caller=team.owner)
    assert (current(team, tool), states(team, tool)) == (
        2,
        {1: "published", 2: "published", 3: "draft", 4: "withdrawn"},
    )
    # What was found wanting is not come back to.
    next_version(team, tool, "SELECT 5")
    roll_back(tool.id, caller=team.owner)
    assert current(team, tool) == 2
    roll_back(tool.id, caller=team.owner)
    assert current(team, tool) == 1
    with pytest.raises(Conflict, match="nothing to roll back to"):
        roll_back(tool.id, caller=team.owner)
    assert recorded(team).count("tool.rolled_back") == 3


def test_a_rollback_may_name_its_version_and_is_undone_by_publishing(team: Team, tool: Tool) -> None:
    for number in (2, 3):
        next_version(team, tool, f"SELECT {number}")
    roll_back(tool.id, to=1, caller=team.owner)
    assert states(team, tool) == {1: "published", 2: "withdrawn", 3: "withdrawn"}
    publish_version(tool.id, 3, caller=team.owner)
    assert (current(team, tool), states(team, tool)[2]) == (3, "withdrawn")


@pytest.mark.parametrize(
    ("to", "code"), [(3, "version_not_before"), (2, "version_not_before"), (9, "version_not_found")]
)
def test_a_rollback_leads_to_earlier_published_versions_only(
    team: Team, tool: Tool, to: int, code: str
) -> None:
    next_version(team, tool, "SELECT 2", draft=True)
    next_version(team, tool, "SELECT 3")
    with pytest.raises(MarinaError) as refused:
        roll_back(tool.id, to=to, caller=team.owner)
    assert refused.value.code == code
    assert current(team, tool) == 3


def test_a_draft_that_was_overtaken_is_not_published(team: Team, tool: Tool) -> None:
    next_version(team, tool, "SELECT 2", draft=True)
    next_version(team, tool, "SELECT 3")
    with pytest.raises(Conflict, match="published after version 2"):
        publish_version(tool.id, 2, caller=team.owner)
    with pytest.raises(Conflict, match="Roll back to it"):
        publish_version(tool.id, 1, caller=team.owner)


def test_a_draft_is_discarded_and_its_number_never_used_again(team: Team, tool: Tool) -> None:
    next_version(team, tool, "SELECT 2", draft=True)
    discard_draft(tool.id, 2, caller=team.owner)
    assert current(team, next_version(team, tool, "SELECT 2")) == 3
    assert states(team, tool)[2] == "discarded"
    for refused in (publish_version, discard_draft):
        with pytest.raises(Conflict):
            refused(tool.id, 2, caller=team.owner)
    with pytest.raises(Conflict, match="no draft"):
        discard_draft(tool.id, 1, caller=team.owner)


def test_a_tool_keeps_its_only_draft(team: Team) -> None:
    new = create_tool("fresh", SOURCE, "sql", sql("SELECT 1"), draft=True, caller=team.owner)
    with pytest.raises(Conflict, match="Delete the tool"):
        discard_draft(new.id, 1, caller=team.owner)
    with pytest.raises(Conflict, match="nothing to roll back to"):
        roll_back(new.id, caller=team.owner)


def test_a_draft_is_checked_again_when_it_is_published(team: Team) -> None:
    create_source("flows", "flows", {}, caller=team.owner)
    create_tool("inner", SOURCE, "sql", sql("SELECT 1"), caller=team.owner)
    steps = {"steps": [{"tool": "inner"}]}
    outer = create_tool("outer", "flows", "pipeline", steps, draft=True, caller=team.owner)
    inner = create_tool("round", "flows", "pipeline", steps, caller=team.owner)
    change_tool(outer.id, definition={"steps": [{"tool": "round"}]}, draft=True, caller=team.owner)
    publish_version(outer.id, 2, caller=team.owner)
    with pytest.raises(InvalidInput, match="would call itself"):
        change_tool(inner.id, definition={"steps": [{"tool": "outer"}]}, draft=True, caller=team.owner)


def test_what_differs_is_told_in_words_and_lines(team: Team, tool: Tool) -> None:
    definition = {"sql": "SELECT :code\nWHERE true", "parameters": {"code": {"type": "string"}}}
    change_tool(tool.id, definition=definition, title="One", caller=team.owner)
    found = compare_versions(tool.id, 1, 2, caller=team.owner)
    assert list(found.words) == ["The argument code was added, and is required.", "The title changed."]
    assert found.breaking
    shown = [f"{line.sign}{line.text}" for line in found.lines]
    assert {"-  SELECT 1", "+  SELECT :code", "+  WHERE true", " description:"} <= set(shown)
    assert compare_versions(tool.id, 2, 2, caller=team.owner).lines == []


def test_a_version_too_long_to_compare_says_so(team: Team, tool: Tool) -> None:
    next_version(team, tool, "SELECT\n" + "\n" * 4_000 + "2")
    (line,) = compare_versions(tool.id, 1, 2, caller=team.owner).lines
    assert "not compared" in line.text


def test_nobody_else_publishes_or_rolls_back(team: Team, tool: Tool) -> None:
    next_version(team, tool, "SELECT 2")
    next_version(team, tool, "SELECT 3", draft=True)
    outsider, viewer = make_team().owner, team.member(Role.VIEWER)
    for act in (
        lambda caller, tool_id: publish_version(tool_id, 3, caller=caller),
        lambda caller, tool_id: discard_draft(tool_id, 3, caller=caller),
        lambda caller, tool_id: roll_back(tool_id, caller=caller),
    ):
        for tool_id in (tool.id, uuid4()):
            with pytest.raises(NotFound, match="no such tool"):
                act(outsider, tool_id)
        with pytest.raises(Forbidden):
            act(viewer, tool.id)
    with pytest.raises(NotFound, match="no such tool"):
        list_versions(tool.id, caller=outsider)
    with pytest.raises(NotFound, match="no such tool"):
        get_version(tool.id, 1, caller=outsider)
    assert states(team, tool) == {1: "published", 2: "published", 3: "draft"}


def test_a_version_of_another_tool_is_not_found(team: Team, tool: Tool) -> None:
    other = create_tool("other", SOURCE, "sql", sql("SELECT 1"), caller=team.owner)
    next_version(team, tool, "SELECT 2", draft=True)
    with pytest.raises(NotFound, match="no version of that number"):
        publish_version(other.id, 2, caller=team.owner)


def test_a_refresh_does_not_bring_back_what_a_tool_was_rolled_back_from(team: Team) -> None:
    tool = next(each for each in list_tools(caller=team.owner) if each.name == "query_database")
    change_tool(tool.id, title="Ours", caller=team.owner)
    source = tool.source_id
    # The source's own title is offered again by a refresh; the tool is then rolled back from that.
    refresh_source(source, caller=team.owner)
    assert current(team, tool) == 3
    roll_back(tool.id, caller=team.owner)
    assert preview_refresh(source, caller=team.owner).differences == []
    refresh_source(source, caller=team.owner)
    assert current(team, tool) == 2


def test_the_state_is_all_that_the_database_lets_change(team: Team, tool: Tool) -> None:
    with pytest.raises(DatabaseError, match="immutable"), tenant_scope(team.tenant_id):
        ToolVersion.objects.filter(tool=tool).update(state="draft", title="changed")
    with pytest.raises(IntegrityError, match="state_valid"), tenant_scope(team.tenant_id):
        ToolVersion.objects.filter(tool=tool).update(state="gone")


@pytest.mark.parametrize("number", [0, -1, 2**70])
def test_a_number_that_no_version_has_is_not_found(team: Team, tool: Tool, number: int) -> None:
    with pytest.raises(NotFound):
        publish_version(tool.id, number, caller=team.owner)
    with pytest.raises(NotFound):
        publish_version(UUID(int=0), 1, caller=team.owner)
