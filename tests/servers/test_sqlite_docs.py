"""The examples of docs/sqlite.md, run as they stand there; a source by REST, and none of another team's files."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from core.loop import run_async
from servers.services.runtime import get_runtime
from tests.factories import Team, make_team
from tests.rest import Rest

PAGE = (Path(__file__).parents[2] / "docs" / "sqlite.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]

TABLES = """
CREATE TABLE stock (item TEXT, amount INTEGER);
CREATE TABLE moves (item TEXT, amount INTEGER);
CREATE TABLE customer (id INTEGER, iban TEXT, born TEXT);
CREATE TABLE kept_back (word TEXT);
INSERT INTO stock VALUES ('lamp', 5), ('vase', 4), ('cup', 1);
INSERT INTO customer VALUES (1, 'NL91ABNA0417164300', '1990-05-06');
"""


def example(*keys: str) -> dict[str, Any]:
    """The one example that has these keys."""
    [found] = [each for each in EXAMPLES if all(key in json.dumps(each) for key in keys)]
    return dict(found)


@pytest.fixture
def team() -> Team:
    made = make_team()
    folder: Path = settings.ENV.files_roots[0] / str(made.tenant_id) / "data"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.executescript(TABLES)
    return made


def connect(team: Team, **more: Any) -> str:
    body = example('"kind"')
    made = Rest.admin(team).post(
        f"/tenants/{team.slug}/data-sources", {**body, "settings": {**body["settings"], **more}}
    )
    assert made.status == 201, made.body
    return str(made.body["id"])


def call(team: Team, name: str, arguments: dict[str, Any]) -> Any:
    rest = Rest.admin(team)
    tools = {tool["name"]: tool["id"] for tool in rest.get(f"/tenants/{team.slug}/tools").body["results"]}
    path = f"/tenants/{team.slug}/tools/{tools[name]}/call"
    return rest.post(path, {"arguments": arguments, "server": "default"}).body


def test_the_query(team: Team) -> None:
    source = connect(team)
    assert (
        Rest.admin(team).post(f"/tenants/{team.slug}/data-sources/{source}/test", {}).body["state"]
        == "healthy"
    )
    asked = example('"query_database"')
    assert call(team, asked["name"], asked["arguments"])["structured"]["rows"] == [
        {"item": "lamp"},
        {"item": "vase"},
    ]
    refused = call(team, "query_database", {"query": "SELECT * FROM kept_back"})
    assert refused["error"]["code"] == "query_refused"


def test_the_transaction_and_its_result(team: Team) -> None:
    connect(team, allow_writes=True)
    asked, said = example('"execute_transaction"'), example('"results"', '"command"')
    result = call(team, asked["name"], asked["arguments"])["structured"]
    assert {**result, "execution_time_ms": 0} == {**said, "execution_time_ms": 0}


def test_the_masks(team: Team) -> None:
    connect(team, **example('"masks"', '"partial"'))
    rows = call(team, "query_database", {"query": "SELECT * FROM customer"})["structured"]["rows"]
    assert rows == [{"id": 1, "iban": "***4300", "born": None}]


def test_a_tool_of_ones_own_and_its_plan(team: Team) -> None:
    source = connect(team)
    rest = Rest.admin(team)
    definition = {"sql": "SELECT amount FROM stock WHERE item = :i", "parameters": {"i": {"type": "string"}}}
    body = {"name": "amount_of", "source": "shop", "kind": "sql", "definition": definition}
    assert rest.post(f"/tenants/{team.slug}/tools", body).status == 201
    assert call(team, "amount_of", {"i": "vase"})["structured"]["rows"] == [{"amount": 4}]
    plan = rest.post(f"/tenants/{team.slug}/data-sources/{source}/explain", {"definition": definition})
    assert plan.status == 200
    assert plan.body == {"plan": "SCAN stock", "estimated_rows": None, "total_cost": None}


def test_a_slow_query_is_kept(team: Team) -> None:
    source = connect(team, slow_query_seconds=0.05)
    query = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 900000) SELECT count(*) FROM n"
    )
    call(team, "query_database", {"query": query})

    run_async(get_runtime().slow_statements.settle())
    kept = Rest.admin(team).get(f"/tenants/{team.slug}/data-sources/{source}/slow-statements").body["results"]
    assert "LIMIT ?" in kept[0]["statement"]


def test_another_teams_file_is_out_of_reach(team: Team) -> None:
    other = make_team()
    outside = Rest.admin(other).post(
        f"/tenants/{other.slug}/data-sources",
        {"name": "up", "kind": "sqlite", "settings": {"path": f"../{team.tenant_id}/data/shop.db"}},
    )
    assert outside.status == 400
    whole = f"{settings.ENV.files_roots[0]}/{team.tenant_id}/data/shop.db"
    body = {"name": "whole", "kind": "sqlite", "settings": {"path": whole}}
    made = Rest.admin(other).post(f"/tenants/{other.slug}/data-sources", body)
    checked = Rest.admin(other).post(f"/tenants/{other.slug}/data-sources/{made.body['id']}/test", {})
    assert (checked.body["state"], checked.body["code"]) == ("unhealthy", "source_denied")
