"""Pipelines and workflows as a team saves them: linked to its tools, and the examples of the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidInput
from servers.services.playground import try_tool
from servers.services.previews import preview_tool
from servers.services.sources import create_source
from servers.services.tools import change_tool, create_tool, list_tools, set_tool_enabled
from tests.factories import Team, make_database, make_team

PAGE = Path(__file__).resolve().parents[2] / "docs/pipelines.md"

STATEMENTS = """
CREATE TABLE ports (code text PRIMARY KEY, name text);
INSERT INTO ports VALUES ('AMS', 'Amsterdam'), ('HAM', 'Hamburg');
"""


@pytest.fixture
def team(database: None) -> Team:
    made = make_team()
    create_source("base", "postgres", {"dsn": make_database(STATEMENTS)}, caller=made.owner)
    create_source("flows", "flows", {}, caller=made.owner)
    return made


def steps(*tools: str) -> dict[str, Any]:
    return {"steps": [{"tool": tool} for tool in tools]}


def faults(team: Team, name: str, definition: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        create_tool(name, "flows", "pipeline", definition, caller=team.owner)
    return {fault["path"]: fault["message"] for fault in caught.value.errors}


def test_a_tool_that_is_not_there_is_named_with_its_place(team: Team) -> None:
    found = faults(team, "report", steps("list_tables", "list_tabels"))
    assert found == {"definition.steps[1].tool": "There is no tool called list_tabels in this team."}


def test_a_tool_that_would_call_itself_is_refused_whatever_the_way(team: Team) -> None:
    create_tool("a", "flows", "pipeline", steps("list_tables"), caller=team.owner)
    create_tool("b", "flows", "pipeline", steps("a"), caller=team.owner)
    create_tool("c", "flows", "pipeline", steps("b", "list_tables"), caller=team.owner)
    a = next(tool for tool in list_tools(caller=team.owner) if tool.name == "a")
    for name, way in (("c", "a → c → b → a"), ("a", "a → a")):
        with pytest.raises(InvalidInput) as caught:
            change_tool(a.id, definition=steps("list_tables", name), caller=team.owner)
        assert way in caught.value.message


def test_a_pipeline_only_reads_where_its_tools_do(team: Team) -> None:
    made = create_tool("look", "flows", "pipeline", steps("list_tables"), caller=team.owner)
    assert made.current is not None
    assert made.current.annotations["readOnlyHint"] is True
    calling = {"steps": [{"tool": "execute_pipeline", "args": {"pipeline": "look"}}]}
    running = create_tool("run", "flows", "pipeline", calling, caller=team.owner)
    assert running.current is not None
    assert running.current.annotations["readOnlyHint"] is False


def test_a_tool_that_was_switched_off_fails_the_step_with_its_reason(team: Team) -> None:
    create_tool("look", "flows", "pipeline", steps("list_tables"), caller=team.owner)
    listing = next(tool for tool in list_tools(caller=team.owner) if tool.name == "list_tables")
    set_tool_enabled(listing.id, False, caller=team.owner)
    result = try_tool("look", {}, caller=team.owner)
    assert result.outcome == "error"
    assert "steps[0] (list_tables) failed: Unknown tool: list_tables" in result.text


def test_a_preview_checks_what_saving_would(team: Team) -> None:
    offered = preview_tool("flows", "pipeline", steps("list_tables"), "look", caller=team.owner)
    assert offered.annotations["readOnlyHint"] is True
    with pytest.raises(InvalidInput) as caught:
        preview_tool("flows", "pipeline", steps("nothing"), "look", caller=team.owner)
    assert caught.value.errors[0]["path"] == "steps[0].tool"


def test_the_examples_of_the_documentation_run(team: Team) -> None:
    examples = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    for example in examples:
        create_tool(**example, caller=team.owner)
    report = try_tool("table_report", {"table": "ports"}, caller=team.owner)
    assert report.error is None
    assert report.structured["result"]["about"] == "ports has 2 rows or more."
    assert report.structured["result"]["rows"][0] == {"code": "AMS", "name": "Amsterdam"}
    small = try_tool("small_tables", {"tables": ["ports", "nothing"]}, caller=team.owner)
    assert small.error is None
    counts = small.structured["result"]
    assert counts[0]["rows"] == [{"n": 2}]
    assert counts[1] is None
    assert len(examples) == 2
