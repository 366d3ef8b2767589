"""Tools in Python as a team saves and runs them: the examples of the documentation, and calls within."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidInput
from servers.services.playground import try_tool
from servers.services.source_checks import test_source as check_source
from servers.services.sources import create_source
from servers.services.tools import create_tool
from tenants.scoping import tenant_scope
from tests.factories import Team, make_database, make_team

PAGE = Path(__file__).resolve().parents[2] / "docs/code-tools.md"


@pytest.fixture
def team(database: None) -> Team:
    made = make_team()
    statements = "CREATE TABLE ports (code text); INSERT INTO ports VALUES ('AMS'), ('HAM');"
    create_source("base", "postgres", {"dsn": make_database(statements)}, caller=made.owner)
    create_source("snippets", "code", {}, caller=made.owner)
    return made


def make(team: Team, name: str, code: str, **more: Any) -> None:
    create_tool(name, "snippets", "python", {"code": code, **more}, caller=team.owner)


def test_the_examples_of_the_documentation_run(team: Team) -> None:
    examples = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    for example in examples:
        create_tool(**example, caller=team.owner)
    counted = try_tool("word_counts", {"text": "to be or not to be", "least": 2}, caller=team.owner)
    assert counted.structured == {"to": 2, "be": 2}
    sizes = try_tool("table_sizes", {}, caller=team.owner)
    assert sizes.structured == {"public.ports": 2}
    assert len(examples) == 2


def test_its_calls_are_recorded_under_it(team: Team) -> None:
    from tenants.audit.records import decode
    from tenants.models import AuditRecord

    make(team, "look", "(await list_tables())['tables'][0]['name']", tools=["list_tables"])
    assert try_tool("look", {}, caller=team.owner).structured == "ports"
    with tenant_scope(team.tenant_id):
        bodies = [
            decode(bytes(row.body)) for row in AuditRecord.objects.filter(kind="tools/call").order_by("seq")
        ]
    assert [(each["tool"], each["outcome"], "parent" in each) for each in bodies] == [
        ("look", "intent", False),
        ("list_tables", "ok", True),
        ("look", "ok", False),
    ]


def test_a_tool_that_would_call_itself_is_refused(team: Team) -> None:
    make(team, "one", "1")
    make(team, "two", "await one()", tools=["one"])
    with pytest.raises(InvalidInput, match="two → two"):
        make(team, "two", "await two()", tools=["two"])


def test_a_result_is_checked_against_its_schema(team: Team) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    make(team, "good", "{'n': 1}", output_schema=schema)
    make(team, "bad", "{'n': 'one'}", output_schema=schema)
    assert try_tool("good", {}, caller=team.owner).structured == {"n": 1}
    result = try_tool("bad", {}, caller=team.owner)
    assert result.error is not None
    assert result.error.code == "result_invalid"


def test_such_a_source_is_healthy(team: Team) -> None:
    source = create_source("more", "code", {"max_seconds": 1}, caller=team.owner)
    assert check_source(source.id, caller=team.owner).state == "healthy"
