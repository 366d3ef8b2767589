"""Ways to write, to leave the database or to see what is kept back that have worked elsewhere; none may work here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from tests.corpora.sqlite_queries import LEAKS, REFUSED, WRITES_REFUSED
from tests.servers.execution.sqlite.conftest import Quay, Run

pytestmark = pytest.mark.anyio

Refused = Callable[..., Awaitable[SourceError]]


def test_the_corpora_have_more_than_fifty_cases() -> None:
    assert len(REFUSED) >= 50
    assert len({*WRITES_REFUSED, *LEAKS}) >= 50


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


@pytest.mark.parametrize("query", WRITES_REFUSED)
async def test_no_transaction_does_more_than_change_rows(query: str, run: Run, quay: Quay) -> None:
    before = quay.checksum()
    with pytest.raises(SourceError) as caught:
        await run("execute_transaction", queries=[query], settings={"allow_writes": True})
    if WRITES_REFUSED[query] is not None:
        assert caught.value.data["rule"] == WRITES_REFUSED[query]
    assert quay.checksum() == before


LISTED = {"tables": ["item", "cheap", "words"]}


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
