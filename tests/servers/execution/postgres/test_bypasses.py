"""Ways around the rules that have worked elsewhere; none may work here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest

from core.errors import SourceError
from servers.execution.backends.postgres.pipeline import CURSOR_PREFIX, Limits, run_read_only
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from tests.corpora.postgres_queries import REFUSED

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:60])
async def test_bypass_is_refused(refused: Any, text: str) -> None:
    error = await refused(text)
    if REFUSED[text] is None:
        assert error.code in ("query_refused", "query_invalid")
    else:
        assert (error.code, error.data.get("rule")) == ("query_refused", REFUSED[text])


ACCEPTED = (
    "SELECT 'a;b', $$;$$, '-- x' -- ; c\n;",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n",
    "SELECT row_to_json(i) FROM shop.item i",
    'SELECT i.name, (i).price, i.* FROM shop.item AS i ORDER BY i.name COLLATE "C" DESC NULLS LAST',
    "VALUES (1, 'a'), (2, 'b')",
    "TABLE shop.item",
    "(SELECT 1) UNION (SELECT 2) INTERSECT SELECT 1",
    "SELECT extract(year FROM made), made AT TIME ZONE 'UTC', substring(name FROM 1 FOR 2) FROM shop.item",
    "SELECT name LIKE 'l%' ESCAPE '!', name SIMILAR TO 'x', trim(BOTH 'x' FROM name) FROM shop.item",
    "SELECT pg_typeof(id)::text, CAST(pg_typeof(name) AS text), CURRENT_USER, CURRENT_DATE FROM shop.item",
    "SELECT to_tsvector('german', name), name AS regrole, id::int8 AS region FROM shop.item",
    "SELECT colour, count(*) FILTER (WHERE id > 1), rank() OVER w FROM shop.item GROUP BY CUBE (colour) WINDOW w AS ()",
    "SELECT * FROM json_to_recordset('[{\"a\": 1}]') AS t (a int, b text)",
    "SELECT * FROM json_table('[1]', '$[*]' COLUMNS (a int PATH '$')) t",
    "SELECT * FROM shop.item TABLESAMPLE BERNOULLI (100)",
    "SELECT DISTINCT ON (colour) colour, (ARRAY[1, 2])[1], ROW(1, 2), coalesce(price, 0) FROM shop.item",
    "EXPLAIN (COSTS off) SELECT * FROM shop.item",
    "SELECT item.name FROM shop.item item JOIN shop.sale sale ON sale.item = item.id",
    "SELECT",
    "SELECT 1 -- end",
    "SELECT 1 /* end */ ; /* of */ -- all",
    "SELECT i, i AS i FROM shop.item i",
)


@pytest.mark.parametrize("text", ACCEPTED, ids=lambda text: text[:60])
async def test_ordinary_query_runs(query: Any, text: str) -> None:
    await query(text)


async def test_function_that_an_admin_allows_runs(query: Any) -> None:
    settings = {"schemas": ["shop"], "functions": ["tax", "shop.label"]}
    outcome = await query(
        "SELECT shop.tax(price), shop.label(i), i.label FROM shop.item i", settings=settings
    )
    assert outcome.structured["rows"][0]["label"] == "lamp!"


class TestSchemas:
    SETTINGS = {"schemas": ["shop"]}

    async def test_tables_of_listed_schemas_need_no_qualification(self, query: Any) -> None:
        assert (await query("SELECT * FROM item", settings=self.SETTINGS)).rows == 2

    async def test_table_of_another_schema_is_refused(self, refused: Any) -> None:
        error = await refused("SELECT * FROM back_office.salary", settings=self.SETTINGS)
        assert error.data["rule"] == "sql.schema"
        assert "Allowed: shop" in error.message

    async def test_unqualified_table_of_another_schema_is_not_found(self, refused: Any) -> None:
        assert (await refused("SELECT * FROM salary", settings=self.SETTINGS)).data["sqlstate"] == "42P01"

    async def test_catalog_can_be_listed(self, query: Any) -> None:
        assert (await query("SELECT 1 FROM pg_class LIMIT 1", settings={"schemas": ["pg_catalog"]})).rows == 1

    async def test_schema_name_is_quoted_into_the_search_path(self, refused: Any) -> None:
        settings = {"schemas": ['x"; DELETE FROM shop.item; --']}
        assert (await refused("SELECT * FROM item", settings=settings)).data["sqlstate"] == "42P01"


@pytest.fixture
async def as_reader(scratch: Any) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    connection = await psycopg.AsyncConnection.connect(scratch.dsn, autocommit=True)
    yield connection
    await connection.close()


@pytest.fixture
async def as_superuser(scratch: Any) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    connection = await psycopg.AsyncConnection.connect(scratch.admin_dsn, autocommit=True)
    yield connection
    await connection.close()


class TestWithoutTheParser:
    """The first layer alone: what ``run_read_only`` gets here, no parser has seen."""

    LIMITS = Limits(rows=10, wire_bytes=1_000_000, timeout_ms=5_000)

    async def state(self, connection: psycopg.AsyncConnection[Any], text: str, *, cursor: bool) -> str | None:
        reply = await run_read_only(connection, text, limits=self.LIMITS, cursor=cursor)
        return reply.fault.sqlstate if reply.fault else None

    @pytest.mark.parametrize(
        ("text", "state"),
        [
            ("INSERT INTO shop.item VALUES (3)", "25006"),
            ("UPDATE shop.item SET name = 'x'", "25006"),
            ("DELETE FROM shop.item", "25006"),
            ("TRUNCATE shop.item", "25006"),
            ("SELECT * INTO shop.copy FROM shop.item", "25006"),
            ("CREATE TABLE shop.x ()", "25006"),
            ("SELECT nextval('shop.numbers')", "25006"),
            ("SELECT set_config('transaction_read_only', 'off', true)", "25001"),
            ("SELECT 1; DELETE FROM shop.item", "42601"),
            ("COMMIT; DELETE FROM shop.item", "42601"),
            ("WITH gone AS (DELETE FROM shop.item RETURNING *) SELECT * FROM gone", "25006"),
        ],
    )
    async def test_read_only_transaction_holds_even_for_a_superuser(
        self, as_superuser: psycopg.AsyncConnection[Any], scratch: Any, text: str, state: str
    ) -> None:
        assert await self.state(as_superuser, text, cursor=False) == state
        assert await self.state(as_superuser, text, cursor=True) is not None
        assert scratch.run("SELECT count(*) FROM shop.item") == [(2,)]

    async def test_privileges_hold_where_the_transaction_does_not(
        self, as_reader: psycopg.AsyncConnection[Any]
    ) -> None:
        for text in (
            "INSERT INTO shop.item VALUES (3)",
            "SELECT pg_read_file('/etc/passwd')",
            "TABLE shop.private",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await as_reader.execute(text)

    async def test_session_settings_do_not_outlive_the_query(
        self, as_superuser: psycopg.AsyncConnection[Any]
    ) -> None:
        off = "SELECT set_config('statement_timeout', '0', false), set_config('search_path', 'x', false)"
        assert await self.state(as_superuser, off, cursor=True) is None
        shown = await (await as_superuser.execute("SHOW search_path")).fetchone()
        assert shown != ("x",)

    async def test_ended_transaction_leaves_nothing_writable_behind(
        self, as_superuser: psycopg.AsyncConnection[Any], scratch: Any
    ) -> None:
        assert await self.state(as_superuser, "COMMIT", cursor=False) is None
        assert await self.state(as_superuser, "DELETE FROM shop.item", cursor=False) == "25006"
        assert scratch.run("SELECT count(*) FROM shop.item") == [(2,)]

    async def test_cursor_takes_nothing_but_a_query(self, as_superuser: psycopg.AsyncConnection[Any]) -> None:
        assert CURSOR_PREFIX.startswith("DECLARE ")
        for text in (
            "SET x.y = 1",
            "SHOW server_version",
            "DO $$ BEGIN END $$",
            "EXPLAIN SELECT 1",
            "VACUUM",
        ):
            assert await self.state(as_superuser, text, cursor=True) == "42601"


# The cluster is that of other tests, too: roles that they make and drop meanwhile are none of this one's.
CHECKSUM = """
SELECT (SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM shop.item i),
  (SELECT md5(string_agg(s::text, ',' ORDER BY item)) FROM shop.sale s),
  (SELECT md5(string_agg(relname::text || relkind::text, ',' ORDER BY oid)) FROM pg_class WHERE relnamespace > 16000),
  (SELECT md5(string_agg(rolname::text || rolsuper::text, ',' ORDER BY rolname)) FROM pg_roles
    WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolname !~ '_'),
  (SELECT last_value FROM shop.numbers)
"""


async def test_all_of_it_changes_nothing_even_where_the_role_may_do_anything(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    before = scratch.run(CHECKSUM)
    assert len(REFUSED) >= 100
    for settings in ({}, {"allow_writes": True}):
        source = make_source(dsn=scratch.admin_dsn, **settings)
        for text in REFUSED:
            with pytest.raises(SourceError) as caught:
                await engine.execute(source, Operation("query_database", {}), {"query": text}, timeout=10)
            assert caught.value.code in ("query_refused", "query_invalid"), text
            definition = {"sql": text}
            with pytest.raises(SourceError):
                await engine.execute(source, Operation("sql", definition), {}, timeout=10)
    assert scratch.run(CHECKSUM) == before
