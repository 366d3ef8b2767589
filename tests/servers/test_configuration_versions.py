"""Versions of tools and a team's configuration as a file: drafts stay out of it, and what is bound stays."""

from __future__ import annotations

import pytest

from core.errors import InvalidInput
from core.strictyaml import read_yaml
from core.yamltext import write_yaml
from servers.services.configuration.exporting import export_configuration
from servers.services.configuration.importing import apply_configuration, plan_configuration
from servers.services.served_versions import serve_version
from servers.services.servers import list_servers
from servers.services.sources import create_source
from servers.services.tool_versions import list_versions
from servers.services.tools import change_tool, create_tool
from tests.factories import Team, make_team


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


def test_drafts_are_in_no_file_and_stay_when_one_is_applied(team: Team) -> None:
    create_source("snippets", "code", {}, caller=team.owner)
    old = create_tool("old", "snippets", "python", {"code": "1"}, caller=team.owner)
    change_tool(old.pk, definition={"code": "2"}, draft=True, caller=team.owner)
    new = create_tool("new", "snippets", "python", {"code": "3"}, draft=True, caller=team.owner)
    text = export_configuration(caller=team.owner)
    assert list(read_yaml(text).value["tools"]) == ["old"]
    assert not plan_configuration(text, prune=True, caller=team.owner).changes

    value = read_yaml(text).value
    value["tools"]["old"]["definition"]["code"] = "4"
    apply_configuration(write_yaml(value), prune=True, caller=team.owner)
    states = [[str(each.state) for each in list_versions(tool.pk, caller=team.owner)] for tool in (old, new)]
    assert states == [["published", "draft", "published"], ["draft"]]


def test_a_tool_that_a_server_is_bound_to_is_not_taken_away_by_a_file(team: Team) -> None:
    create_source("snippets", "code", {}, caller=team.owner)
    create_tool("old", "snippets", "python", {"code": "1"}, caller=team.owner)
    serve_version(list_servers(caller=team.owner)[0].pk, "old", 1, "pin", caller=team.owner)
    with pytest.raises(InvalidInput) as refused:
        plan_configuration("marina: 1\ntools: {}", prune=True, caller=team.owner)
    (fault,) = refused.value.errors
    assert fault["path"] == "tools.old"
    assert "End that first" in fault["message"]


def test_a_plan_says_what_servers_had_set_for_tools_that_go_with_their_source(team: Team) -> None:
    create_source("db", "postgres", {"dsn": "postgresql://u:p@db.example.com/d"}, caller=team.owner)
    serve_version(list_servers(caller=team.owner)[0].pk, "list_tables", 1, "beside", caller=team.owner)
    plan = plan_configuration("marina: 1\nsources: {}", prune=True, caller=team.owner)
    (change,) = plan.changes
    told = "Of list_tables: The server default offers version 1 beside it, as list_tables_v1: that ends."
    assert (change.action, change.name) == ("delete", "db")
    assert told in change.notes
