"""Slow statements: kept without values, bounded, for their own team alone, and in nobody's way."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from core.loop import run_async
from servers.execution.backends.postgres.syntax import without_values
from servers.execution.contract import SlowStatement, Source
from servers.execution.sql.slow import timed
from servers.services.runtime import get_runtime
from servers.services.slow_statements import MOST_KEPT
from tests.factories import Team, make_database, make_team
from tests.rest import Rest

SLOW = (
    "SELECT count(*) AS n FROM generate_series(1, 900000) g WHERE g::text <> :word AND g <> 4711 -- private"
)


def connect(team: Team, **settings: Any) -> str:
    dsn = make_database("CREATE TABLE t (a int)")
    body = {"name": "db", "kind": "postgres", "settings": {"dsn": dsn, **settings}}
    return str(Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body).body["id"])


def call(team: Team, arguments: dict[str, Any]) -> Any:
    rest = Rest.admin(team)
    tools = {tool["name"]: tool["id"] for tool in rest.get(f"/tenants/{team.slug}/tools").body["results"]}
    path = f"/tenants/{team.slug}/tools/{tools['query_database']}/call"
    return rest.post(path, {"arguments": arguments, "server": "default"}).body


def kept(team: Team, source: str) -> list[dict[str, Any]]:
    run_async(get_runtime().slow_statements.settle())
    answer = Rest.admin(team).get(f"/tenants/{team.slug}/data-sources/{source}/slow-statements")
    assert answer.status == 200
    found: list[dict[str, Any]] = answer.body["results"]
    return found


def test_a_slow_query_is_kept_without_its_values(team: Team) -> None:
    source = connect(team, slow_query_seconds=0.05)
    call(team, {"query": SLOW, "params": {"word": "secret-word"}})
    call(team, {"query": "SELECT 1"})
    slow = [each for each in kept(team, source) if "generate_series" in each["statement"]]
    assert [(each["outcome"], each["seconds"] >= 0.05) for each in slow] == [("ok", True)]
    assert slow[0]["statement"] == (
        "SELECT count(*) AS n FROM generate_series(?, ?) g WHERE g::text <> $1 AND g <> ?"
    )


def test_a_query_that_ran_out_of_time_is_kept_with_its_code(team: Team) -> None:
    source = connect(team, statement_timeout=5)
    call(team, {"query": "SELECT count(*) FROM generate_series(1, 10000000000)"})
    assert [each["outcome"] for each in kept(team, source)] == ["source_timeout"]


def test_the_newest_few_are_kept_for_their_team_alone(team: Team) -> None:
    source = connect(team)
    notes = get_runtime().slow_statements
    row = Source(UUID(source), team.tenant_id, "db", "postgres", 1, {})

    async def note(count: int) -> None:
        for number in range(count):
            notes.note(row, SlowStatement(f"SELECT {number}", 2.0, "ok"))
            await notes.settle()

    run_async(note(MOST_KEPT + 5))
    found = kept(team, source)
    assert len(found) == MOST_KEPT
    assert found[0]["statement"] == f"SELECT {MOST_KEPT + 4}"
    other = make_team()
    answer = Rest.admin(other).get(f"/tenants/{other.slug}/data-sources/{source}/slow-statements")
    assert answer.status == 404
    assert run_async(notes.read(other.tenant_id, UUID(source))) == []
    assert run_async(notes.read(team.tenant_id, uuid4())) == []


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT  'a', E'b\\'c', $$d$$, 1, 2.5, B'1', $1", "SELECT ?, ?, ?, ?, ?, ?, $1"),
        ('SELECT "Col" /* secret */ FROM t -- secret', 'SELECT "Col" FROM t'),
        ("SELECT 'é' || name FROM \"tæble\"", 'SELECT ? || name FROM "tæble"'),
        ("SELECT 'unfinished secret", "SELECT ?"),
        ("SELECT 1 /* unfinished secret", "SELECT ? ?"),
        ("'unfinished secret", "?"),
    ],
)
def test_values_and_comments_are_not_shown(sql: str, shown: str) -> None:
    assert without_values(sql) == shown


def test_of_a_long_statement_the_beginning_is_told() -> None:
    told: list[SlowStatement] = []
    looked_at: list[int] = []

    def look(sql: str) -> str:
        looked_at.append(len(sql))
        return without_values(sql)

    long = "SELECT 'secret'" + ", 'secret'" * 6_000
    with timed([long] * 50, threshold=0, note=told.append, without_values=look):
        pass
    assert told[0].statement.startswith("SELECT ?, ?, ?")
    assert len(told[0].statement) == 2_000
    assert "secret" not in told[0].statement
    assert sum(looked_at) < len(long)
