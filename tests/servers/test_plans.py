"""The plan of a SQL tool that is being written: over REST, by its rules, and nothing runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.factories import Team, make_database
from tests.rest import Answer, Rest

TABLE = """
CREATE TABLE airport (iata text PRIMARY KEY, name text, country text, secret text);
INSERT INTO airport SELECT n::text, 'name ' || n, 'C' || n % 100, 'x' FROM generate_series(1, 5000) n;
CREATE INDEX ON airport (country);
CREATE FUNCTION boom() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN 1 / 0; END';
ANALYZE airport
"""
TEXT = {"type": "string"}


@pytest.fixture(scope="module")
def dsn(database: None) -> str:
    return make_database(TABLE)


def explain(team: Team, dsn: str, sql: str, parameters: Any = None, **settings: Any) -> Answer:
    rest = Rest.admin(team)
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn, **settings}}
    made = rest.post(f"/tenants/{team.slug}/data-sources", body).body
    definition = {"sql": sql, "parameters": parameters or {}}
    return rest.post(f"/tenants/{team.slug}/data-sources/{made['id']}/explain", {"definition": definition})


def test_a_plan_has_its_estimates_and_needs_no_values(team: Team, dsn: str) -> None:
    sql = "SELECT name FROM airport WHERE country = :c AND (:n::text IS NULL OR name = :n)"
    answer = explain(team, dsn, sql, {"c": TEXT, "n": {"type": "string", "required": False}})
    assert answer.status == 200
    assert "airport" in answer.body["plan"]
    assert "$1" in answer.body["plan"]
    assert 1 <= answer.body["estimated_rows"] <= 100
    assert answer.body["total_cost"] > 0


def test_types_that_cannot_be_inferred_are_the_declared_ones(team: Team, dsn: str) -> None:
    answer = explain(
        team, dsn, "SELECT :a AS a, jsonb_build_object('k', :b)", {"a": TEXT, "b": {"type": "integer"}}
    )
    assert (answer.status, answer.body["estimated_rows"]) == (200, 1)


def test_nothing_of_the_tool_is_run(team: Team, dsn: str) -> None:
    answer = explain(team, dsn, "SELECT boom() FROM airport", functions=["boom"])
    assert (answer.status, answer.body["estimated_rows"]) == (200, 5000)


def test_the_plan_of_a_masked_table_has_the_mask_in_it(team: Team, dsn: str) -> None:
    sql = "SELECT secret FROM airport WHERE secret = 'x'"
    answer = explain(team, dsn, sql, masks={"public.airport.secret": "hidden"})
    assert answer.body["estimated_rows"] <= 1


@pytest.mark.parametrize(
    ("sql", "status", "words"),
    [
        ("DELETE FROM airport", 400, "DELETE is not allowed"),
        ("SELECT 1; SELECT 2", 400, "more than one"),
        ("SELECT pg_sleep(9)", 400, "pg_sleep"),
        ("SELECT :undeclared", 400, "does not declare"),
        ("EXPLAIN SELECT 1", 400, "EXPLAIN already"),
        ("SELECT nothing FROM airport", 502, "does not exist"),
        ("SELECT * FROM nowhere", 502, "does not exist"),
    ],
)
def test_what_may_not_run_has_no_plan(team: Team, dsn: str, sql: str, status: int, words: str) -> None:
    answer = explain(team, dsn, sql)
    assert answer.status == status
    assert words in str(answer.body)


def test_a_position_is_in_the_tools_own_text(team: Team, dsn: str) -> None:
    sql = "SELECT nothing FROM airport WHERE iata = :i"
    answer = explain(team, dsn, sql, {"i": TEXT})
    assert f"at character {sql.index('nothing') + 1} of the query" in answer.body["detail"]


def test_a_viewer_gets_no_plan(team: Team, dsn: str) -> None:
    assert explain(team, dsn, "SELECT 1").status == 200
    source = Rest.admin(team).get(f"/tenants/{team.slug}/data-sources").body["results"][0]["id"]
    viewer = Rest(team.key("tools:read", "tools:execute"))
    path = f"/tenants/{team.slug}/data-sources/{source}/explain"
    assert viewer.post(path, {"definition": {"sql": "SELECT 1"}}).status == 403
