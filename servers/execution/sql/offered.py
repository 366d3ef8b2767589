"""The tools and resources that every database brings along: names, words and schemas. Runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from servers.execution.contract import Offered, OfferedResource, Operation
from servers.execution.sql.dialect import Dialect, Offer
from servers.execution.sql.results import result_schema

MOST_SAMPLED: Final = 100
SAMPLED: Final = 10
"""Rows of a sample, where the caller does not say how many."""

READ_ONLY_HINTS: Final[Mapping[str, Any]] = {
    "readOnlyHint": True,
    "destructiveHint": False,
    "idempotentHint": True,
    "openWorldHint": False,
}
WRITE_HINTS: Final[Mapping[str, Any]] = {
    "readOnlyHint": False,
    "destructiveHint": True,
    "idempotentHint": False,
    "openWorldHint": False,
}
MOST_WRITES: Final = 50
"""Statements of one transaction."""
MOST_WRITTEN_BYTES: Final = 65_536
"""Of all of its statements together, without the values of parameters. Each is parsed: see ``reading``."""
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

_TEXT: Final[Mapping[str, Any]] = {"type": "string"}
_MAYBE_TEXT: Final[Mapping[str, Any]] = {"type": ["string", "null"]}
_TABLE_NAME: Final[Mapping[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 127,
    "description": "The table's name, or schema.name.",
}
_SCHEMA_NAME: Final[Mapping[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 63}
_TABLE_PROPERTIES: Final[Mapping[str, Any]] = {
    "schema": _TEXT,
    "name": _TEXT,
    "kind": _TEXT,
    "estimated_rows": {"type": ["integer", "null"]},
    "comment": _MAYBE_TEXT,
}
_NAMES: Final[Mapping[str, Any]] = {"type": "array", "items": _TEXT}


def offer_tools(dialect: Dialect, offer: Offer) -> list[Offered]:
    """The tools, with the limits of this source in their words."""
    return [
        _offer_query(dialect, offer, "query_database", "Query the database"),
        _offer_query(dialect, offer, "execute_query", "Query the database (other name)"),
        _offer_list_tables(),
        _offer_describe_table(),
        _offer_get_schema(),
        _offer_get_table_sample(dialect),
        _offer_analyze_table(dialect),
        *([_offer_execute_transaction(dialect)] if offer.allow_writes else ()),
    ]


def offer_resources() -> list[OfferedResource]:
    """The schemas, and a template for each table."""
    return [
        OfferedResource(
            uri="db://schemas",
            named_uri="db://{source}/schemas",
            name="schemas",
            title="Schemas",
            description="The schemas of the database that can be queried, with the names of their tables.",
            mime_type="application/json",
            operation=Operation("db_schemas", {}),
        ),
        OfferedResource(
            uri="db://tables/{table}",
            named_uri="db://{source}/tables/{table}",
            name="table",
            title="Table",
            description="The columns, keys and indexes of one table or view. The table is its name, or schema.name.",
            mime_type="application/json",
            operation=Operation("db_table", {}),
            template=True,
        ),
    ]


def object_schema(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """JSON Schema of an object with these properties and no others."""
    schema = {"$schema": _DRAFT, "type": "object", "additionalProperties": False, "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def params_schema(description: str) -> dict[str, Any]:
    """JSON Schema of the values for a query's placeholders."""
    return {
        "description": description,
        "anyOf": [{"type": "object", "maxProperties": 100}, {"type": "array", "maxItems": 100}],
    }


def _offer_query(dialect: Dialect, offer: Offer, name: str, title: str) -> Offered:
    return Offered(
        name=name,
        title=title,
        description=(
            f"Run one read-only SQL query ({dialect.title}) on the database {offer.name}.{offer.scope} "
            f"{dialect.reads} only. Look up names with list_tables and describe_table "
            f"first. At most {offer.row_limit} rows and {offer.max_bytes} bytes come back, and "
            f"{offer.statement_timeout:g} s are given: aggregate and filter in SQL. {dialect.values}"
        ),
        input_schema=object_schema(
            {
                "query": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 65_536,
                    "description": "One SQL query. Put values into params, as :name or $1.",
                },
                "params": params_schema("Values: an object for :name placeholders, or an array for $1, $2 …"),
                "limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": offer.row_limit,
                    "default": offer.row_limit,
                    "description": "Most rows to return.",
                },
            },
            ["query"],
        ),
        output_schema=result_schema(dialect),
        annotations=READ_ONLY_HINTS,
        operation=Operation("query_database", {}),
    )


def _offer_list_tables() -> Offered:
    return Offered(
        name="list_tables",
        title="List tables",
        description="List the tables and views that can be queried, with their kind, estimated number of "
        "rows and comment.",
        input_schema=object_schema({"schema": {**_SCHEMA_NAME, "description": "Only this schema."}}),
        output_schema=object_schema(
            {
                "tables": _list_of(_TABLE_PROPERTIES, list(_TABLE_PROPERTIES)),
                "truncated": {"type": "boolean"},
            },
            ["tables", "truncated"],
        ),
        annotations=READ_ONLY_HINTS,
        operation=Operation("list_tables", {}),
    )


def _offer_describe_table() -> Offered:
    column = {
        **_column(),
        "default": _MAYBE_TEXT,
        "comment": _MAYBE_TEXT,
        "values": _NAMES,
    }
    lists = {
        "columns": _open_list_of(column, ["name", "type", "nullable", "default", "comment"]),
        "primary_key": _NAMES,
        "indexes": _open_list_of(_definition("unique"), list(_definition("unique"))),
        "foreign_keys": _open_list_of(_definition(), list(_definition())),
    }
    return Offered(
        name="describe_table",
        title="Describe a table",
        description="The columns of a table or view (types, nullability, defaults, comments, values of enums), "
        "its primary key, indexes and foreign keys.",
        input_schema=object_schema({"table_name": _TABLE_NAME, "schema": _SCHEMA_NAME}, ["table_name"]),
        output_schema=object_schema({**_TABLE_PROPERTIES, **lists}, [*_TABLE_PROPERTIES, *lists]),
        annotations=READ_ONLY_HINTS,
        operation=Operation("describe_table", {}),
    )


def _offer_get_schema() -> Offered:
    table = {
        **{name: rule for name, rule in _TABLE_PROPERTIES.items() if name != "estimated_rows"},
        "columns": _open_list_of(_column(), ["name", "type", "nullable"]),
        "primary_key": _NAMES,
        "foreign_keys": _open_list_of(_definition(), list(_definition())),
    }
    return Offered(
        name="get_schema",
        title="Get the schema",
        description="The tables and views that can be queried with their columns, primary keys and foreign keys: all "
        "of them, or with table_name one. Enough to write a query with joins.",
        input_schema=object_schema({"table_name": _TABLE_NAME}),
        output_schema=object_schema(
            {"tables": _list_of(table, list(table)), "truncated": {"type": "boolean"}},
            ["tables", "truncated"],
        ),
        annotations=READ_ONLY_HINTS,
        operation=Operation("get_schema", {}),
    )


def _offer_get_table_sample(dialect: Dialect) -> Offered:
    size = {"type": "integer", "minimum": 1, "maximum": MOST_SAMPLED, "default": SAMPLED}
    return Offered(
        name="get_table_sample",
        title="Sample a table",
        description="Some rows of a table or view, in no particular order, to see what its values look like.",
        input_schema=object_schema(
            {
                "table": _TABLE_NAME,
                "schema": _SCHEMA_NAME,
                "sample_size": {**size, "description": "How many rows."},
            },
            ["table"],
        ),
        output_schema=result_schema(dialect),
        annotations=READ_ONLY_HINTS,
        operation=Operation("get_table_sample", {}),
    )


def _offer_analyze_table(dialect: Dialect) -> Offered:
    size = "integer" if dialect.index_sizes_known else ["integer", "null"]
    index = {**_definition("unique"), "bytes": {"type": size}}
    measured = {
        "row_count": {"type": ["integer", "null"], "description": "Rows; null where nobody knows."},
        "row_count_exact": {
            "type": "boolean",
            "description": f"Whether they were counted. {dialect.estimated}",
        },
        "total_bytes": {
            "type": ["integer", "null"],
            "description": "Bytes on disk, with indexes; null of views.",
        },
        "columns": _open_list_of(_column(), ["name", "type", "nullable"]),
        "indexes": _open_list_of(index, list(index)),
    }
    properties = {
        **{name: rule for name, rule in _TABLE_PROPERTIES.items() if name != "estimated_rows"},
        **measured,
    }
    return Offered(
        name="analyze_table",
        title="Analyse a table",
        description="How many rows a table or view has, its size on disk, its columns, and its indexes with their "
        "sizes.",
        input_schema=object_schema({"table": _TABLE_NAME, "schema": _SCHEMA_NAME}, ["table"]),
        output_schema=object_schema(properties, list(properties)),
        annotations=READ_ONLY_HINTS,
        operation=Operation("analyze_table", {}),
    )


def _offer_execute_transaction(dialect: Dialect) -> Offered:
    text = {"type": "string", "minLength": 1, "maxLength": 65_536}
    with_values = {
        "type": "object",
        "required": ["query"],
        "additionalProperties": False,
        "properties": {"query": text, "params": params_schema("As of query_database.")},
    }
    result = {
        "query": {"type": "integer", "description": "Which of the queries, from 1."},
        "command": _TEXT,
        "row_count": {"type": "integer", "description": "Rows that it changed."},
    }
    properties = {
        "results": _list_of(result, list(result)),
        "row_count": {"type": "integer", "description": "Rows that all of them changed."},
        "execution_time_ms": {"type": "number", "minimum": 0},
    }
    return Offered(
        name="execute_transaction",
        title="Change data",
        description=f"Run {dialect.writes} statements ({dialect.title}) in one transaction: all of them, or "
        "none. The result has the number of rows that each changed; RETURNING is not taken. Look at what is there "
        "with query_database first.",
        input_schema=object_schema(
            {
                "queries": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MOST_WRITES,
                    "description": "Statements in their order: a text, or an object with query and params.",
                    "items": {"anyOf": [text, with_values]},
                }
            },
            ["queries"],
        ),
        output_schema=object_schema(properties, list(properties)),
        annotations=WRITE_HINTS,
        operation=Operation("execute_transaction", {}),
    )


def _column() -> dict[str, Any]:
    return {"name": _TEXT, "type": _TEXT, "nullable": {"type": "boolean"}}


def _definition(*flags: str) -> dict[str, Any]:
    return {"name": _TEXT, "definition": _TEXT, **{flag: {"type": "boolean"} for flag in flags}}


def _list_of(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    items = {**_items(properties, required), "additionalProperties": False}
    return {"type": "array", "items": items}


def _open_list_of(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """A list of objects that may have more than these: what is added later does not make a new version."""
    return {"type": "array", "items": _items(properties, required)}


def _items(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": dict(properties)}
