"""Ways to write, to leave the database or to see what is kept back that have worked elsewhere; none may work here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from tests.servers.execution.sqlite.conftest import Quay, Run

pytestmark = pytest.mark.anyio

Refused = Callable[..., Awaitable[SourceError]]

REFUSED = {
    "INSERT INTO item (name) VALUES ('x')": "sql.statement",
    "REPLACE INTO item (id) VALUES (1)": "sql.statement",
    "UPDATE item SET name = 'x'": "sql.statement",
    "DELETE FROM item": "sql.statement",
    "/* SELECT */ DELETE FROM item": "sql.statement",
    "-- SELECT\nDELETE FROM item": "sql.statement",
    "DROP TABLE item": "sql.statement",
    "CREATE TABLE copy AS SELECT * FROM item": "sql.statement",
    "CREATE TEMP TABLE copy (a)": "sql.statement",
    "CREATE TEMP VIEW item AS SELECT 1": "sql.statement",
    "CREATE INDEX i ON item (price)": "sql.statement",
    "CREATE TRIGGER t AFTER INSERT ON item BEGIN SELECT 1; END": "sql.single",
    "CREATE VIRTUAL TABLE x USING fts5(a)": "sql.statement",
    "CREATE VIRTUAL TABLE x USING dbstat": "sql.statement",
    "ALTER TABLE item ADD COLUMN more": "sql.statement",
    "ALTER TABLE item RENAME TO gone": "sql.statement",
    "ATTACH '/etc/passwd' AS x": "sql.statement",
    "ATTACH DATABASE ':memory:' AS x": "sql.statement",
    "ATTACH 'file:other.db?mode=rwc' AS x": "sql.statement",
    "ATTACH '../8/theirs.db' AS x": "sql.statement",
    "DETACH main": "sql.statement",
    "VACUUM": "sql.statement",
    "VACUUM INTO '/tmp/copy.db'": "sql.statement",
    "REINDEX": "sql.statement",
    "ANALYZE": "sql.statement",
    "BEGIN": "sql.statement",
    "BEGIN EXCLUSIVE": "sql.statement",
    "COMMIT": "sql.statement",
    "ROLLBACK": "sql.statement",
    "SAVEPOINT x": "sql.statement",
    "RELEASE x": "sql.statement",
    "PRAGMA query_only = 0": "sql.statement",
    "PRAGMA query_only(OFF)": "sql.statement",
    "PRAGMA writable_schema = 1": "sql.statement",
    "PRAGMA trusted_schema = 1": "sql.statement",
    "PRAGMA journal_mode = DELETE": "sql.statement",
    "PRAGMA temp_store_directory = '/etc'": "sql.statement",
    "PRAGMA data_store_directory = '/etc'": "sql.statement",
    "PRAGMA mmap_size = 1000000000": "sql.statement",
    "PRAGMA hard_heap_limit = 0": "sql.statement",
    "PRAGMA user_version = 9": "sql.statement",
    "PRAGMA wal_checkpoint(TRUNCATE)": "sql.statement",
    "PRAGMA integrity_check": "sql.statement",
    "PRAGMA database_list": "sql.statement",
    "PRAGMA main.table_info(item)": "sql.statement",
    "EXPLAIN DELETE FROM item": "sql.statement",
    "EXPLAIN PRAGMA query_only = 0": "sql.statement",
    "EXPLAIN QUERY PLAN DELETE FROM item": "sql.statement",
    "EXPLAIN ATTACH 'x' AS y": "sql.statement",
    "EXPLAIN EXPLAIN SELECT 1": "sql.statement",
    "WITH a AS (SELECT 1) DELETE FROM item": "sql.statement",
    "WITH a AS (SELECT 1) INSERT INTO item (id) SELECT * FROM a": "sql.statement",
    "WITH a AS (SELECT 1) UPDATE item SET name = 'x'": "sql.statement",
    "WITH a AS (SELECT 1) REPLACE INTO item (id) SELECT * FROM a": "sql.statement",
    "EXPLAIN WITH a AS (SELECT 1) DELETE FROM item": "sql.statement",
    "WITH a AS (DELETE FROM item RETURNING *) SELECT * FROM a": None,
    "SELECT * FROM (DELETE FROM item RETURNING *)": None,
    "SELECT 1; DELETE FROM item": "sql.single",
    "SELECT 1; -- \nDELETE FROM item": "sql.single",
    "SELECT 1;;; DELETE FROM item": "sql.single",
    "SELECT ';'; DELETE FROM item": "sql.single",
    'SELECT 1 AS ";"; DELETE FROM item': "sql.single",
    "SELECT 1 AS [;]; DELETE FROM item": "sql.single",
    "SELECT 1 AS `;`; DELETE FROM item": "sql.single",
    "SELECT '' ';' ; DELETE FROM item": "sql.single",
    "SELECT 1 /* ; */ ; DELETE FROM item": "sql.single",
    "SELECT 1 /* '*/; DELETE FROM item --'": "sql.single",
    "SELECT 1 -- '\n; DELETE FROM item --'": "sql.single",
    "SELECT 'a''; DELETE FROM item": None,
    "SELECT x'; DELETE FROM item": None,
    "SELECT 1 /* ; DELETE FROM item": "ok",
    "SELECT load_extension('x')": "sql.function",
    "SELECT LOAD_EXTENSION('x', 'y')": "sql.function",
    "SELECT \"load_extension\"('x')": "sql.function",
    "SELECT [load_extension]('x')": "sql.function",
    "SELECT `load_extension`('x')": "sql.function",
    "SELECT load_extension/**/('x')": "sql.function",
    "SELECT (SELECT load_extension('x'))": "sql.function",
    "SELECT 1 FROM item WHERE load_extension('x')": "sql.function",
    "SELECT 1 ORDER BY load_extension('x')": "sql.function",
    "SELECT 1 LIMIT load_extension('x')": "sql.function",
    "SELECT count(*) FILTER (WHERE load_extension('x')) FROM item": "sql.function",
    "SELECT sum(1) OVER (ORDER BY load_extension('x')) FROM item": "sql.function",
    "VALUES (load_extension('x'))": "sql.function",
    "WITH a AS (SELECT load_extension('x')) SELECT * FROM a": "sql.function",
    "SELECT CASE WHEN 1 THEN 2 ELSE load_extension('x') END": "sql.function",
    "SELECT fts3_tokenizer('simple')": "sql.function",
    "SELECT fts3_tokenizer('simple', x'00')": "sql.function",
    "SELECT readfile('/etc/passwd')": None,
    "SELECT writefile('/tmp/x', 'y')": None,
    "SELECT edit('x')": None,
    "SELECT eval('DELETE FROM item')": None,
    "SELECT sqlite_version()": "sql.function",
    "SELECT sqlite_source_id()": "sql.function",
    "SELECT sqlite_compileoption_get(1)": "sql.function",
    "SELECT sqlite_log(1, 'x')": "sql.function",
    "SELECT optimize(page) FROM page": "sql.function",
    "SELECT rtreecheck('x')": "sql.function",
    "SELECT fts5(1)": "sql.function",
    "SELECT carray(1, 2)": None,
    "SELECT * FROM sqlite_schema": "sql.schema",
    "SELECT * FROM sqlite_master": "sql.schema",
    "SELECT * FROM main.sqlite_master": "sql.schema",
    'SELECT * FROM "sqlite_master"': "sql.schema",
    "SELECT count(*) FROM sqlite_master": "sql.schema",
    "SELECT sql FROM (SELECT sql FROM sqlite_schema)": "sql.schema",
    "SELECT * FROM sqlite_temp_master": "sql.schema",
    "SELECT * FROM temp.sqlite_schema": "sql.schema",
    "SELECT * FROM sqlite_stat1": "sql.schema",
    "SELECT * FROM sqlite_stat4": None,
    "SELECT EXISTS (SELECT 1 FROM sqlite_schema)": "sql.schema",
    "SELECT * FROM pragma_table_info('item')": "sql.schema",
    "SELECT * FROM pragma_database_list": "sql.schema",
    "SELECT * FROM pragma_query_only(0)": None,
    "SELECT * FROM pragma_function_list": "sql.schema",
    "SELECT count(*) FROM pragma_module_list": None,
    "SELECT * FROM dbstat": "sql.table",
    "SELECT count(*) FROM dbstat": "sql.table",
    "SELECT * FROM fts3tokenize('simple')": None,
    "SELECT * FROM sqlite_dbpage": None,
    "SELECT * FROM sqlite_stmt": None,
    "SELECT * FROM other.item": None,
    "SELECT * FROM '/etc/passwd'": None,
    "SELECT $1, :name": "sql.parameters",
    "": None,
    ";": "sql.statement",
    "-- nothing": "sql.statement",
    "SELECT '\x00'": "sql.text",
    "SELECT '\ud800'": "sql.text",
    f"SELECT {'1,' * 40_000}1": "sql.length",
    f"SELECT {'(' * 3_000}1{')' * 3_000}": None,
    f"SELECT {' UNION SELECT '.join(['1'] * 200)}": None,
    f"SELECT {'-' * 500}1": None,
    f"SELECT {'+'.join(['1'] * 5_000)}": None,
}


@pytest.mark.parametrize("query", REFUSED)
async def test_no_statement_gets_around_the_rules(query: str, run: Run, quay: Quay) -> None:
    before, rule = quay.checksum(), REFUSED[query]
    if rule == "ok":
        await run("query_database", query=query)
    else:
        with pytest.raises((SourceError, InvalidInput)) as caught:
            await run("query_database", query=query, params=[] if ":name" not in query else [1])
        if rule is not None:
            assert isinstance(caught.value, SourceError)
            assert (caught.value.code, caught.value.data["rule"]) == ("query_refused", rule)
    assert quay.checksum() == before


WRITES_REFUSED = {
    "SELECT 1": "sql.statement",
    "EXPLAIN DELETE FROM item": "sql.statement",
    "WITH a AS (SELECT 1) SELECT * FROM a": None,
    "PRAGMA foreign_keys = 0": "sql.statement",
    "DROP TABLE item": "sql.statement",
    "CREATE TABLE x (a)": "sql.statement",
    "ATTACH 'x.db' AS x": "sql.statement",
    "VACUUM": "sql.statement",
    "COMMIT": "sql.statement",
    "END": "sql.statement",
    "ROLLBACK": "sql.statement",
    "DELETE FROM noted; COMMIT": "sql.single",
    "DELETE FROM noted; DELETE FROM item": "sql.single",
    "DELETE FROM item RETURNING *": "sql.returning",
    "INSERT INTO sqlite_schema VALUES (1, 2, 3, 4, 5)": "sql.schema",
    "UPDATE sqlite_schema SET sql = 'x'": None,
    "DELETE FROM sqlite_stat1": "sql.schema",
    "UPDATE sqlite_sequence SET seq = 1": None,
    "INSERT INTO page_data VALUES (1, 2)": None,
    "DELETE FROM page_config": None,
    "INSERT INTO item (name) VALUES (load_extension('x'))": "sql.function",
    "INSERT INTO item (name) SELECT sql FROM sqlite_schema": "sql.schema",
    "UPDATE item SET name = (SELECT file FROM pragma_database_list)": None,
    "INSERT INTO temp.sqlite_schema VALUES (1)": None,
    "INSERT INTO words VALUES (1)": None,
    "INSERT INTO pragma_query_only VALUES (1)": None,
}


@pytest.mark.parametrize("query", WRITES_REFUSED)
async def test_no_transaction_does_more_than_change_rows(query: str, run: Run, quay: Quay) -> None:
    before = quay.checksum()
    with pytest.raises(SourceError) as caught:
        await run("execute_transaction", queries=[query], settings={"allow_writes": True})
    if WRITES_REFUSED[query] is not None:
        assert caught.value.data["rule"] == WRITES_REFUSED[query]
    assert quay.checksum() == before


LISTED = {"tables": ["item", "cheap", "words"]}
LEAKS = [
    "SELECT * FROM secret",
    "SELECT 1 FROM secret",
    "SELECT count(*) FROM secret",
    "SELECT * FROM main.secret",
    'SELECT * FROM "SECRET"',
    "SELECT EXISTS (SELECT 1 FROM secret)",
    "SELECT (SELECT word FROM secret)",
    "SELECT 1 FROM item, secret",
    "SELECT 1 FROM item WHERE id IN (SELECT id FROM secret)",
    "SELECT (1, 'lamp', 'hidden word') IN secret",
    "SELECT 1 FROM item NATURAL JOIN secret",
    "SELECT 1 FROM item JOIN secret USING (name)",
    "SELECT 1 FROM item NATURAL LEFT OUTER JOIN secret",
    "SELECT 1 FROM item NATURAL JOIN sqlite_schema",
    "SELECT 1 FROM item natural/**/join secret",
    "WITH words AS (SELECT word FROM secret) SELECT * FROM words",
    "WITH item AS (SELECT word FROM secret) SELECT * FROM item",
    "WITH cheap AS (SELECT * FROM main.secret) SELECT * FROM cheap",
    "SELECT * FROM (SELECT * FROM secret) item",
    "SELECT * FROM words",
    "SELECT * FROM page",
    "SELECT * FROM page_data",
    "SELECT * FROM item UNION SELECT * FROM secret",
    "SELECT * FROM item ORDER BY (SELECT word FROM secret)",
    "SELECT * FROM json_each((SELECT word FROM secret))",
    "SELECT max(a) FROM (SELECT word AS a FROM secret)",
    "EXPLAIN QUERY PLAN SELECT * FROM secret",
]


@pytest.mark.parametrize("query", LEAKS)
async def test_what_is_not_on_the_list_of_tables_is_not_read(query: str, refused: Refused) -> None:
    fault = await refused(query, settings=LISTED)
    assert fault.code == "query_refused", fault.message
    assert fault.data["rule"] in ("sql.table", "sql.construct", "sql.schema")
    assert "hidden" not in fault.message


async def test_a_list_of_tables_holds_without_the_tokens_too(
    monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr("servers.execution.backends.sqlite.statements._JOINS", frozenset())
    fault = await refused("SELECT 1 FROM item NATURAL JOIN secret", settings=LISTED)
    assert fault.data["rule"] == "sql.table"


MASKED = {"masks": {"item.iban": "partial", "item.name": "hidden"}}
PROBES = [
    "SELECT id FROM item WHERE iban LIKE 'NL%'",
    "SELECT id FROM main.item WHERE iban > ''",
    "SELECT id FROM item WHERE name = 'lamp'",
    "SELECT a.id FROM item a JOIN (SELECT 'lamp' AS n) b ON a.name = b.n",
    "SELECT id FROM main.item WHERE iban IN ('NL91ABNA0417164300')",
    "SELECT id FROM item WHERE instr(iban, 'ABNA')",
    "SELECT id FROM item GROUP BY id HAVING max(iban) LIKE 'NL91%'",
    "WITH item AS (SELECT id, iban FROM main.item) SELECT id FROM item WHERE iban LIKE 'NL%'",
    "SELECT i.id FROM item i WHERE EXISTS (SELECT 1 FROM main.item m WHERE m.iban LIKE 'NL%')",
]
SHOWN = {
    "SELECT name, iban FROM item ORDER BY id": [
        {"name": None, "iban": "***4300"},
        {"name": None, "iban": None},
    ],
    "SELECT name, iban FROM main.item WHERE id = 1": [{"name": None, "iban": None}],
    "SELECT iban FROM cheap": [{"iban": None}],
    "SELECT json_group_array(iban) AS a FROM main.item": [{"a": "[null,null]"}],
    "SELECT max(iban) AS a FROM item": [{"a": "***4300"}],
    "SELECT count(name) AS n FROM item": [{"n": 0}],
    "SELECT group_concat(name || iban) AS a FROM item": [{"a": None}],
    "SELECT upper(iban) AS a FROM item WHERE id = 1": [{"a": "***4300"}],
    "SELECT hex(iban) AS a FROM main.item WHERE id = 1": [{"a": ""}],
    "SELECT typeof(name) AS a FROM main.item WHERE id = 1": [{"a": "null"}],
}


@pytest.mark.parametrize("query", PROBES)
async def test_masked_columns_answer_no_question(query: str, run: Run) -> None:
    outcome = await run("query_database", query=query, settings=MASKED)
    assert outcome.structured["rows"] == []


@pytest.mark.parametrize("query", SHOWN)
async def test_masked_columns_are_shown_as_the_mask_says(query: str, run: Run) -> None:
    outcome = await run("query_database", query=query, settings=MASKED)
    assert outcome.structured["rows"] == SHOWN[query]
    assert "masked" in outcome.structured["note"]


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE item SET iban = 'x' WHERE iban LIKE 'NL%'",
        "DELETE FROM item WHERE name = 'lamp'",
        "INSERT INTO noted (entry) SELECT iban FROM item",
        "INSERT INTO noted (entry) SELECT iban FROM cheap",
        "INSERT INTO item (id) VALUES (9)",
        "INSERT OR IGNORE INTO item (name) VALUES ('lamp')",
        "DELETE FROM sale WHERE item IN (SELECT id FROM item WHERE iban > '')",
    ],
)
async def test_a_transaction_changes_no_masked_table_and_reads_no_masked_column(
    query: str, run: Run, quay: Quay
) -> None:
    before = quay.checksum()
    with pytest.raises(SourceError) as caught:
        await run("execute_transaction", queries=[query], settings={**MASKED, "allow_writes": True})
    assert caught.value.data["rule"] == "sql.mask"
    assert quay.checksum() == before


async def test_a_mask_that_names_no_column_stops_everything(refused: Refused, engine: Engine) -> None:
    fault = await refused("SELECT id FROM item", settings={"masks": {"item.gone": "hidden"}})
    assert fault.data["rule"] == "sql.mask"


async def test_a_tool_of_ones_own_has_the_same_rules(
    engine: Engine, make_source: Callable[..., Source]
) -> None:
    source = make_source(**LISTED)
    definition: dict[str, Any] = {"sql": "SELECT word FROM secret"}
    with pytest.raises(SourceError) as caught:
        await engine.execute(source, Operation("sql", definition), {}, timeout=10)
    assert caught.value.data["rule"] == "sql.table"
    with pytest.raises(SourceError):
        await engine.execute(source, Operation("explain", definition), {}, timeout=10)
