"""The examples of docs/sql-tools.md, run as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.factories import Team, make_database
from tests.rest import Rest

PAGE = (Path(__file__).parents[2] / "docs" / "sql-tools.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]

TABLES = """
CREATE SCHEMA shop;
CREATE TABLE airports (iata text, name text, country text, elevation_ft int);
INSERT INTO airports VALUES ('AMS', 'Schiphol', 'NL', -11), ('EIN', 'Eindhoven', 'NL', 74), ('GRQ', 'Eelde', 'NL', 17);
CREATE TABLE orders (id int, placed date, total numeric, customer text);
INSERT INTO orders VALUES (1, '2026-01-02', 12.50, 'Ada'), (2, '2026-01-03', 7, 'Emil');
CREATE TABLE stock (item text, amount int);
CREATE TABLE moves (item text, amount int);
CREATE TABLE reservations (until timestamptz);
INSERT INTO stock VALUES ('lamp', 5);
INSERT INTO reservations SELECT now() - interval '1 day' FROM generate_series(1, 4);
CREATE TABLE shop.customer (id int, iban text, born date);
INSERT INTO shop.customer VALUES (1, 'NL91ABNA0417164300', '1990-05-06');
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON shop.customer TO PUBLIC;
GRANT INSERT, UPDATE, DELETE ON stock, moves, reservations TO PUBLIC
"""


def example(*keys: str) -> dict[str, Any]:
    """The one example that has these keys."""
    [found] = [each for each in EXAMPLES if all(key in json.dumps(each) for key in keys)]
    return dict(found)


@pytest.fixture(scope="module")
def dsn(database: None) -> str:
    return make_database(TABLES)


def connect(team: Team, address: str, **settings: Any) -> str:
    body = {"name": "airports", "kind": "postgres", "settings": {**settings, "dsn": address}}
    made = Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body)
    assert made.status == 201, made.body
    return str(made.body["id"])


def call(team: Team, name: str, arguments: dict[str, Any]) -> Any:
    rest = Rest.admin(team)
    tools = {tool["name"]: tool["id"] for tool in rest.get(f"/tenants/{team.slug}/tools").body["results"]}
    path = f"/tenants/{team.slug}/tools/{tools[name]}/call"
    answer = rest.post(path, {"arguments": arguments, "server": "default"})
    assert answer.body["error"] is None, answer.body
    return answer.body["structured"]


def test_the_query(team: Team, dsn: str) -> None:
    connect(team, dsn)
    asked = example('"query_database"')
    assert call(team, asked["name"], asked["arguments"])["rows"] == [{"iata": "EIN"}, {"iata": "GRQ"}]


def test_the_tool_of_ones_own(team: Team, dsn: str) -> None:
    connect(team, dsn)
    body = {"name": "own", "source": "airports", "kind": "sql", "definition": example("Orders of a customer")}
    assert Rest.admin(team).post(f"/tenants/{team.slug}/tools", body).status == 201
    assert [row["id"] for row in call(team, "own", {"customer": "Ada"})["rows"]] == [1]


def test_the_transaction_and_its_result(team: Team, dsn: str) -> None:
    connect(team, dsn, allow_writes=True)
    asked, said = example('"execute_transaction"'), example('"results"', '"command"')
    result = call(team, asked["name"], asked["arguments"])
    assert {**result, "execution_time_ms": 0} == {**said, "execution_time_ms": 0}


def test_the_masks(team: Team, dsn: str) -> None:
    connect(team, dsn, **example('"masks"', '"partial"'))
    rows = call(team, "query_database", {"query": "SELECT * FROM shop.customer"})["rows"]
    assert rows == [{"id": 1, "iban": "***4300", "born": None}]


def test_the_plan(team: Team) -> None:
    # As many that all are looked at by ANALYZE, so the numbers are the same each time.
    source = connect(
        team,
        make_database(
            "CREATE TABLE airports (iata text, name text, country text, elevation_ft int);"
            "INSERT INTO airports SELECT 'ABC', 'Airport of ' || n, 'C' || n % 200, n "
            "FROM generate_series(1, 28000) AS n;"
            "ANALYZE airports"
        ),
    )
    [body] = re.findall(r"/explain \\\n  -d '(.*?)'\n", PAGE, re.DOTALL)
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/data-sources/{source}/explain", json.loads(body))
    assert answer.status == 200
    assert answer.body == example('"estimated_rows"')
