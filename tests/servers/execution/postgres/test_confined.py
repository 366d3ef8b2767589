"""Lists of tables and masks of columns: what they keep out holds whatever a query computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.backends.postgres import confine
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine

pytestmark = pytest.mark.anyio

LISTED = {"tables": ["shop.item", "back_office.salary"]}
HIDDEN = {"masks": {"shop.card.number": "hidden", "shop.card.holder": "partial"}}

CARDS = """
CREATE TABLE shop.card (id int PRIMARY KEY, number text NOT NULL, holder text, kind shop.colour, "Odd Name" int);
INSERT INTO shop.card VALUES (1, '4012888888881881', 'Ada Lovelace', 'red', 5), (2, '5105105105105100', 'Bo', NULL, 6);
CREATE TABLE shop.part (id int, number text) PARTITION BY RANGE (id);
CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES FROM (0) TO (10);
INSERT INTO shop.part VALUES (1, 'secret-1');
CREATE VIEW shop.card_all AS SELECT * FROM shop.card;
CREATE VIEW shop.card_id AS SELECT id FROM shop.card;
CREATE VIEW shop.card_row AS SELECT c AS whole FROM shop.card c;
CREATE VIEW shop.card_sorted AS SELECT id FROM shop.card ORDER BY number;
CREATE VIEW shop.card_again AS SELECT id FROM shop.card_all;
CREATE MATERIALIZED VIEW shop.card_kept AS SELECT number AS n FROM shop.card;
CREATE VIEW shop.card_named AS SELECT id, number AS digits FROM shop.card;
"""
SECRETS = ("4012888888881881", "5105105105105100", "40128888", "Lovelace", "secret-1", "1881")


@pytest.fixture(autouse=True, scope="module")
def cards(scratch: Any) -> Iterator[None]:
    scratch.run(CARDS)
    tables = "card, part, part_1, card_all, card_id, card_row, card_sorted, card_again, card_kept, card_named"
    scratch.run(f'GRANT SELECT ON shop.{tables.replace(", ", ", shop.")} TO "{scratch.user}"')
    yield
    scratch.run("DROP TABLE shop.card, shop.part CASCADE")


class TestTables:
    @pytest.mark.parametrize(
        "text",
        [
            "SELECT * FROM shop.item",
            "SELECT * FROM shop.item i JOIN back_office.salary s ON true",
            "WITH sale AS (SELECT 1 AS one) SELECT * FROM sale, shop.item",
            "WITH RECURSIVE sale AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM sale WHERE n < 3) SELECT * FROM sale",
            "WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b WHERE EXISTS (SELECT * FROM a)",
            "SELECT 1",
            "EXPLAIN SELECT * FROM shop.item",
        ],
    )
    async def test_listed_tables_and_with_queries_are_read(self, query: Any, text: str) -> None:
        await query(text, settings=LISTED)

    @pytest.mark.parametrize(
        "text",
        [
            "SELECT * FROM shop.sale",
            "TABLE shop.sale",
            "SELECT * FROM shop.item, shop.sale",
            "SELECT (SELECT max(amount) FROM shop.sale)",
            "SELECT 1 WHERE EXISTS (SELECT * FROM ONLY shop.sale)",
            "WITH sale AS (SELECT 1) SELECT * FROM shop.sale",
            "WITH x AS (SELECT * FROM shop.sale) SELECT 1",
            'SELECT * FROM "shop"."sale"',
            'SELECT * FROM U&"sh\\006fp".U&"\\0073ale"',
            "SELECT * FROM shop.sale TABLESAMPLE SYSTEM (100)",
            "SELECT * FROM shop.red",
            "SELECT last_value FROM shop.numbers",
            "SELECT * FROM shop.nothing",
            "EXPLAIN SELECT * FROM shop.sale",
            "SELECT * FROM shop.item UNION SELECT *, NULL, NULL, NULL, NULL FROM shop.sale",
            "SELECT * FROM shop.item i, LATERAL (SELECT * FROM shop.sale s WHERE s.item = i.id) x",
        ],
    )
    async def test_other_tables_are_refused_as_those_are_that_are_not_there(
        self, refused: Any, text: str
    ) -> None:
        error = await refused(text, settings=LISTED)
        assert (error.code, error.data["rule"]) == ("query_refused", "sql.table")
        assert error.data["position"] > 1

    @pytest.mark.parametrize(
        "text",
        [
            # The name of a WITH query where that is not seen is the table's.
            "SELECT * FROM (WITH sale AS (SELECT 1) SELECT * FROM sale) a, sale",
            "WITH sale AS (SELECT * FROM sale) SELECT * FROM sale",
            "WITH a AS (SELECT * FROM sale), sale AS (SELECT 1) SELECT * FROM a",
            "SELECT (WITH sale AS (SELECT 1 AS n) SELECT n FROM sale) FROM sale",
            "(WITH sale AS (SELECT 1, 2) SELECT * FROM sale) UNION SELECT * FROM sale",
        ],
    )
    async def test_name_of_a_with_query_hides_no_table(self, refused: Any, text: str) -> None:
        settings = {"schemas": ["shop"], "tables": ["shop.item"]}
        assert (await refused(text, settings=settings)).data["rule"] == "sql.table"

    async def test_more_names_of_tables_than_are_looked_up_are_refused(self, refused: Any) -> None:
        # Those that were not looked up would be read as if there were no list.
        text = "SELECT 1 FROM shop.item" + ", shop.item" * 5_000 + ", shop.sale"
        error = await refused(text, settings=LISTED)
        assert (error.code, error.data["rule"]) == ("query_refused", "sql.table")
        assert "more than 500 times" in error.message

    async def test_unqualified_name_is_the_table_that_the_server_finds(
        self, query: Any, refused: Any
    ) -> None:
        settings = {"schemas": ["back_office", "shop"], "tables": ["shop.item"]}
        assert (await query("SELECT * FROM item", settings=settings)).rows == 2
        assert (await refused("SELECT * FROM salary", settings=settings)).data["rule"] == "sql.table"

    async def test_position_is_in_the_callers_own_text(self, refused: Any) -> None:
        text = "SELECT 'é', :a::int, :b::int FROM shop.item, shop.sale"
        error = await refused(text, settings=LISTED, params={"a": 1, "b": 2})
        assert error.data["position"] == text.index("shop.sale") + 1

    async def test_own_tools_keep_to_the_list(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        source = make_source(**LISTED)
        with pytest.raises(SourceError) as caught:
            await engine.execute(source, Operation("sql", {"sql": "SELECT * FROM shop.sale"}), {}, timeout=10)
        assert caught.value.data["rule"] == "sql.table"

    async def test_other_tables_are_not_listed_and_not_described(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        source = make_source(**LISTED)
        listed = await engine.execute(source, Operation("list_tables", {}), {}, timeout=10)
        assert [table["name"] for table in listed.structured["tables"]] == ["salary", "item"]
        for kind, key in (("describe_table", "table_name"), ("get_table_sample", "table")):
            with pytest.raises(InvalidInput):
                await engine.execute(source, Operation(kind, {}), {key: "shop.sale"}, timeout=10)


class TestMasks:
    async def test_columns_come_masked(self, query: Any) -> None:
        outcome = await query("SELECT * FROM shop.card ORDER BY id", settings=HIDDEN)
        assert outcome.structured["rows"] == [
            {"id": 1, "number": None, "holder": "***ace", "kind": "red", "Odd Name": 5},
            {"id": 2, "number": None, "holder": "***", "kind": None, "Odd Name": 6},
        ]
        assert [column["type"] for column in outcome.structured["columns"]][:3] == ["integer", "text", "text"]
        assert "masked" in outcome.structured["note"]

    @pytest.mark.parametrize(
        "text",
        [
            "SELECT number FROM shop.card",
            "SELECT c.number FROM shop.card c",
            "SELECT card.number FROM shop.card",
            "SELECT number || '' AS x FROM shop.card",
            "SELECT upper(number), md5(number), length(number) FROM shop.card",
            "SELECT left(number, 8) FROM shop.card",
            "SELECT row_to_json(c) FROM shop.card c",
            "SELECT to_jsonb(card) FROM shop.card",
            "SELECT c FROM shop.card c",
            "SELECT ROW(c.*) FROM shop.card c",
            "SELECT (c).number FROM shop.card c",
            "SELECT c::text FROM shop.card c",
            "SELECT string_agg(number, ','), max(number), array_agg(number) FROM shop.card",
            "SELECT json_agg(c) FROM shop.card c",
            "SELECT x FROM shop.card AS c (a, x)",
            "SELECT x FROM (SELECT number AS x FROM shop.card) s",
            "WITH s AS (SELECT number AS x FROM shop.card) SELECT x FROM s",
            "WITH card AS (SELECT * FROM shop.card) SELECT number FROM card",
            "SELECT number FROM shop.card UNION SELECT 'x'",
            "SELECT number FROM shop.card UNION ALL SELECT holder FROM shop.card",
            "SELECT (SELECT number FROM shop.card LIMIT 1)",
            "SELECT ARRAY(SELECT number FROM shop.card)",
            "SELECT CASE WHEN number LIKE '4%' THEN '4012888888881881x'::text END IS NOT NULL FROM shop.card",
            "SELECT x.number FROM shop.item i, LATERAL (SELECT number FROM shop.card c WHERE c.id = i.id) x",
            "SELECT number::text::bytea FROM shop.card",
            "SELECT concat(number, holder) FROM shop.card",
            "SELECT unnest(string_to_array(number, NULL)) FROM shop.card",
            "SELECT lag(number) OVER (ORDER BY id) FROM shop.card",
            "SELECT * FROM shop.card c JOIN shop.card d USING (number)",
            "SELECT * FROM shop.card NATURAL JOIN (SELECT '4012888888881881' AS number) x",
            "SELECT min(number) FROM shop.card GROUP BY number HAVING max(number) > '0'",
            'SELECT "number" FROM "shop"."card"',
            "SELECT number FROM shop /* . */ . card",
            "SELECT number FROM shop.part",
            "SELECT number FROM shop.part_1",
            "SELECT digits FROM shop.card_named",
            "EXPLAIN VERBOSE SELECT * FROM shop.card WHERE number = '1'",
        ],
    )
    async def test_no_expression_shows_a_masked_value(self, query: Any, text: str) -> None:
        masks = {**HIDDEN["masks"], "shop.part.number": "hidden", "shop.card_named.digits": "hidden"}
        outcome = await query(text, settings={"masks": masks})
        shown = str(outcome.structured["rows"])
        assert not any(secret in shown for secret in SECRETS)

    async def test_conditions_tell_nothing_about_a_masked_value(self, query: Any) -> None:
        for condition in (
            "number = '4012888888881881'",
            "number LIKE '4%'",
            "number IS NOT NULL",
            "holder LIKE 'Ada%'",
            "EXISTS (SELECT 1 FROM shop.card d WHERE d.number < c.number)",
        ):
            outcome = await query(f"SELECT id FROM shop.card c WHERE {condition}", settings=HIDDEN)
            assert outcome.rows == 0, condition
        ordered = await query("SELECT id FROM shop.card ORDER BY number DESC, id", settings=HIDDEN)
        assert [row["id"] for row in ordered.structured["rows"]] == [1, 2]

    async def test_message_of_a_failed_cast_shows_no_masked_value(self, query: Any) -> None:
        assert (await query("SELECT number::int FROM shop.card", settings=HIDDEN)).rows == 2
        with pytest.raises(SourceError) as caught:
            await query("SELECT holder::int FROM shop.card", settings=HIDDEN)
        assert "Lovelace" not in caught.value.message

    @pytest.mark.parametrize(
        "text",
        [
            "TABLE shop.card",
            "SELECT * FROM ONLY shop.card",
            "SELECT * FROM shop.card *",
            "SELECT * FROM shop.card TABLESAMPLE SYSTEM (100)",
            'SELECT * FROM shop.U&"c\\0061rd"',
            "SELECT * FROM U&\"sh!006fp\" UESCAPE '!'.card",
            "SELECT * FROM shop.card_all",
            "SELECT * FROM shop.card_row",
            "SELECT * FROM shop.card_sorted",
            "SELECT * FROM shop.card_again",
            "SELECT * FROM shop.card_kept",
        ],
    )
    async def test_what_cannot_be_masked_is_refused(self, refused: Any, text: str) -> None:
        error = await refused(text, settings=HIDDEN)
        assert (error.code, error.data["rule"]) == ("query_refused", "sql.mask")

    async def test_view_that_reads_other_columns_is_read(self, query: Any) -> None:
        assert (await query("SELECT * FROM shop.card_id", settings=HIDDEN)).rows == 2

    async def test_qualified_column_of_a_masked_table_is_a_clear_error(self, refused: Any) -> None:
        error = await refused("SELECT shop.card.id FROM shop.card", settings=HIDDEN)
        assert error.code == "query_invalid"

    async def test_positions_of_faults_are_in_the_callers_own_text(self, refused: Any) -> None:
        text = "SELECT c.id FROM shop.card c JOIN shop.card d ON d.nothing = c.id WHERE c.id = :one"
        error = await refused(text, settings=HIDDEN, params={"one": 1})
        assert error.data["position"] == text.index("d.nothing") + 1

    async def test_parameters_and_tools_work_on_masked_tables(
        self, query: Any, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        found = await query(
            "SELECT id, number FROM shop.card WHERE id = :id", settings=HIDDEN, params={"id": 1}
        )
        assert found.structured["rows"] == [{"id": 1, "number": None}]
        source = make_source(**HIDDEN)
        definition = {
            "sql": "SELECT number FROM shop.card WHERE id = :id",
            "parameters": {"id": {"type": "integer"}},
        }
        own = await engine.execute(source, Operation("sql", definition), {"id": 1}, timeout=10)
        assert own.structured["rows"] == [{"number": None}]
        sample = await engine.execute(
            source, Operation("get_table_sample", {}), {"table": "shop.card"}, timeout=10
        )
        assert {row["number"] for row in sample.structured["rows"]} == {None}
        described = await engine.execute(
            source, Operation("describe_table", {}), {"table_name": "shop.card"}, timeout=10
        )
        masked = {column["name"]: column.get("masked") for column in described.structured["columns"]}
        assert masked == {"id": None, "number": "hidden", "holder": "partial", "kind": None, "Odd Name": None}

    async def test_hidden_column_without_privilege_is_null_and_the_others_are_read(
        self, query: Any, scratch: Any
    ) -> None:
        scratch.run("CREATE TABLE shop.narrow (id int, secret text); INSERT INTO shop.narrow VALUES (1, 'x')")
        scratch.run(f'GRANT SELECT (id) ON shop.narrow TO "{scratch.user}"')
        try:
            outcome = await query(
                "SELECT * FROM shop.narrow", settings={"masks": {"shop.narrow.secret": "hidden"}}
            )
        finally:
            scratch.run("DROP TABLE shop.narrow")
        assert outcome.structured["rows"] == [{"id": 1, "secret": None}]

    async def test_mask_of_no_column_stops_all_reading(
        self, refused: Any, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        settings = {"masks": {"shop.card.nmber": "hidden"}}
        error = await refused("SELECT id FROM shop.item", settings=settings)
        assert (error.code, error.data["rule"]) == ("query_refused", "sql.mask")
        health = await engine.check(make_source(**settings))
        assert (health.state, health.code) == ("degraded", "mask_missing")
        assert "shop.card.nmber" in health.reason

    @pytest.mark.usefixtures("read_anywhere")
    async def test_masks_hold_in_a_query_that_is_long_with_them(self, query: Any) -> None:
        text = "UNION ALL ".join(["SELECT id, number FROM shop.card WHERE id = 1 "] * 20)
        assert (await query(text, settings=HIDDEN)).structured["rows"] == [{"id": 1, "number": None}] * 20

    async def test_a_query_that_is_too_long_with_its_masks_is_refused(
        self, refused: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(confine, "MOST_CHARACTERS", 5_000)
        text = "UNION ALL ".join(["SELECT id FROM shop.card "] * 20)
        error = await refused(text, settings=HIDDEN)
        assert (error.code, error.data["rule"]) == ("query_refused", "sql.mask")
        assert "too long with its masks" in error.message
        assert error.data["position"] > 1
