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

pytestmark = pytest.mark.anyio

REFUSED = {
    "SELECT * INTO shop.copy FROM shop.item": "sql.into",
    "CREATE TABLE shop.copy AS SELECT 1": "sql.statement",
    "DO $$ BEGIN PERFORM pg_sleep(1); END $$": "sql.statement",
    "SELECT set_config('default_transaction_read_only', 'off', false)": "sql.function",
    "SET default_transaction_read_only = off; DELETE FROM shop.item": "sql.single",
    "SET default_transaction_read_only = off": "sql.statement",
    "SHOW server_version": "sql.statement",
    "BEGIN": "sql.statement",
    "ROLLBACK; DELETE FROM shop.item": "sql.single",
    "COMMIT": "sql.statement",
    "COPY shop.item TO STDOUT": "sql.statement",
    "COPY (SELECT 1) TO PROGRAM 'touch x'": "sql.statement",
    "CALL shop.anything()": "sql.statement",
    "PREPARE x AS DELETE FROM shop.item": "sql.statement",
    "EXECUTE x": "sql.statement",
    "DECLARE c CURSOR FOR SELECT 1": "sql.statement",
    "LISTEN x": "sql.statement",
    "NOTIFY x": "sql.statement",
    "LOCK TABLE shop.item": "sql.statement",
    "VACUUM": "sql.statement",
    "SELECT * FROM shop.item FOR UPDATE": "sql.locking",
    "SELECT * FROM (SELECT * FROM shop.item FOR SHARE) x": "sql.locking",
    "WITH gone AS (DELETE FROM shop.item RETURNING *) SELECT * FROM gone": "sql.statement",
    "WITH a AS (WITH b AS (UPDATE shop.item SET id = 1 RETURNING 1) SELECT 1) SELECT 1": "sql.statement",
    "EXPLAIN ANALYZE DELETE FROM shop.item": "sql.explain",
    "EXPLAIN (ANALYZE) SELECT pg_sleep(1)": "sql.explain",
    "EXPLAIN (ANALYZE false) SELECT 1": "sql.explain",
    "EXPLAIN DELETE FROM shop.item": "sql.statement",
    "EXPLAIN SELECT pg_sleep(1)": "sql.function",
    "SELECT pg_sleep(1)": "sql.function",
    "SELECT PG_SLEEP(1)": "sql.function",
    'SELECT "pg_sleep"(1)': "sql.function",
    "SELECT pg_catalog.pg_sleep(1)": "sql.function",
    'SELECT "pg_catalog" . "pg_sleep" (1)': "sql.function",
    "SELECT pg_/**/sleep(1)": None,
    "SELECT /* x */ pg_sleep /* /* y */ */ (1)": "sql.function",
    "SELECT pg_sleep -- (\n (1)": "sql.function",
    'SELECT U&"\\0070g_sleep"(1)': "sql.function",
    "SELECT U&\"!0070g_sleep\" UESCAPE '!' (1)": "sql.function",
    "SELECT * FROM pg_sleep(1)": "sql.function",
    "SELECT * FROM shop.item, LATERAL pg_sleep(id)": "sql.function",
    "SELECT * FROM ROWS FROM (pg_sleep(1), generate_series(1, 2)) x": "sql.function",
    "SELECT 1 ORDER BY pg_sleep(1)": "sql.function",
    "SELECT 1 LIMIT (SELECT length(pg_read_file('/etc/passwd')))": "sql.function",
    "VALUES (pg_read_file('/etc/passwd'))": "sql.function",
    "SELECT sum(pg_backend_pid()) OVER (ORDER BY pg_sleep(1)) FROM shop.item": "sql.function",
    "SELECT count(*) FILTER (WHERE pg_sleep(1) IS NULL)": "sql.function",
    "SELECT CASE WHEN true THEN pg_sleep(1) END": "sql.function",
    "SELECT ARRAY(SELECT pg_ls_dir('.'))": "sql.function",
    "SELECT json_object('a': pg_read_file('x'))": "sql.function",
    "SELECT (pg_stat_file('x')).size": "sql.function",
    "SELECT * FROM shop.item TABLESAMPLE pg_sleep(1)": "sql.construct",
    "SELECT lo_import('/etc/passwd')": "sql.function",
    "SELECT dblink('x', 'y')": "sql.function",
    "SELECT query_to_xml('DELETE FROM shop.item', true, true, '')": "sql.function",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT 1')": "sql.function",
    "SELECT * FROM ts_stat('SELECT 1')": "sql.function",
    "SELECT nextval('shop.numbers')": "sql.function",
    "SELECT currval('shop.numbers')": "sql.function",
    "SELECT setval('shop.numbers', 9)": "sql.function",
    "SELECT pg_advisory_lock(1)": "sql.function",
    "SELECT pg_notify('a', 'b')": "sql.function",
    "SELECT pg_terminate_backend(1)": "sql.function",
    "SELECT pg_reload_conf()": "sql.function",
    "SELECT current_setting('is_superuser')": "sql.function",
    "SELECT shop.tax(1)": "sql.function",
    "SELECT a.b.c.lower('x')": "sql.function",
    "SELECT 1 OPERATOR(shop.+) 2": "sql.operator",
    "SELECT * FROM shop.item ORDER BY id USING OPERATOR(shop.<)": "sql.operator",
    "SELECT 1 OPERATOR(shop.=) ANY (SELECT 1)": "sql.operator",
    "SELECT xmlelement(name x)": "sql.construct",
    "SELECT * FROM pg_authid": "sql.schema",
    "SELECT * FROM pg_catalog.pg_stat_activity": "sql.schema",
    "TABLE pg_settings": "sql.schema",
    "SELECT * FROM information_schema.tables": "sql.schema",
    "SELECT * FROM pg_toast.pg_toast_1": "sql.schema",
    "SELECT * FROM other_database.shop.item": "sql.schema",
    "SELECT " + "+".join(["1"] * 1_000): "sql.nesting",
    "SELECT '" + "x" * 70_000 + "'": "sql.length",
    "SELECT '\x00'": "sql.text",
    "SELECT '\ud800'": "sql.text",
    # PostgreSQL takes x.f for f(x), of scalars too: no parser can tell it from a column.
    "SELECT (0.5::float8).pg_sleep": "sql.function",
    "SELECT g.pg_ls_dir FROM upper('.') g": "sql.function",
    "SELECT (g).pg_ls_dir FROM upper('.') g": "sql.function",
    "SELECT g.pg_sleep FROM generate_series(0.1, 0.2, 0.1) g": "sql.function",
    "SELECT ('/etc/passwd'::text).pg_read_file": "sql.function",
    "SELECT g.\"pg_ls_dir\" FROM upper('.') g": "sql.function",
    "SELECT i.label FROM shop.item i": "sql.function",
    "SELECT (i).label FROM shop.item i": "sql.function",
    "SELECT shop.item.label FROM shop.item": "sql.function",
    "SELECT i.record_out FROM shop.item i": "sql.function",
    "SELECT (SELECT i).label FROM shop.item i": "sql.function",
    # Types that show names of the catalog, however they are written.
    "SELECT 10::regrole": "sql.construct",
    "SELECT CAST(1259 AS regclass)": "sql.construct",
    "SELECT 'shop.item'::regclass": "sql.construct",
    "SELECT 2200::pg_catalog.regnamespace": "sql.construct",
    'SELECT 1598::"regproc"': "sql.construct",
    "SELECT 1598::REGPROCEDURE": "sql.construct",
    "SELECT 16::regoper, 1": "sql.construct",
    "SELECT 16::regoperator": "sql.construct",
    "SELECT 23::regtype": "sql.construct",
    "SELECT 100::regcollation": "sql.construct",
    "SELECT 3748::regconfig": "sql.construct",
    "SELECT 3765::regdictionary": "sql.construct",
    "SELECT '{10}'::regrole[]": "sql.construct",
    "SELECT '{10}'::_regrole": "sql.construct",
    "SELECT ARRAY[10]::pg_catalog._regrole": "sql.construct",
    "SELECT regrole '10'": "sql.construct",
    "SELECT pg_catalog.regrole '10'": "sql.construct",
    "SELECT regrole(10)": "sql.construct",
    "SELECT pg_catalog.regclass(1259)": "sql.construct",
    "SELECT (10).regrole": "sql.construct",
    "SELECT (10).regrole::text": "sql.construct",
    "SELECT x.regrole FROM upper('pg_monitor') x": "sql.construct",
    "SELECT x._regrole FROM upper('{10}') x": "sql.construct",
    "SELECT * FROM json_to_recordset('[]') AS t (a regrole)": "sql.construct",
    "SELECT * FROM json_table('[10]', '$[*]' COLUMNS (a regrole PATH '$')) t": "sql.construct",
    "SELECT json_value('10', '$' RETURNING regrole)": "sql.construct",
    "SELECT to_regrole('postgres')": "sql.function",
    "SELECT format_type(1259, NULL)": "sql.function",
    "SELECT obj_description(1259, 'pg_class')": "sql.function",
    "SELECT array_append(ARRAY[pg_typeof(1)], 83)": "sql.construct",
    "SELECT CASE WHEN true THEN 83 ELSE pg_typeof(1) END::text": "sql.construct",
    "SELECT array_append(ARRAY[x.pg_typeof], 83) FROM upper('a') x": "sql.construct",
    "SELECT array_append(ARRAY[get_current_ts_config()], 3748)": "sql.function",
}


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


CHECKSUM = """
SELECT (SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM shop.item i),
  (SELECT md5(string_agg(s::text, ',' ORDER BY item)) FROM shop.sale s),
  (SELECT md5(string_agg(relname::text || relkind::text, ',' ORDER BY oid)) FROM pg_class WHERE relnamespace > 16000),
  (SELECT md5(string_agg(rolname::text || rolsuper::text, ',' ORDER BY rolname)) FROM pg_roles),
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
