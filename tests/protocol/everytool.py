"""Every tool that Marina's kinds of data source bring, by row of what they are for: calls that go well, and faults."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
from django.conf import settings

from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.factories import Team, make_database
from tests.farside import FarSide, reply
from tests.objectstorage import KEYS, make_bucket, storage_client


class Call(NamedTuple):
    """A call that goes well, and members of its structured result."""

    tool: str
    arguments: Mapping[str, Any]
    gives: Mapping[str, Any]


class Fault(NamedTuple):
    """A call that fails: its code, and words of what is told."""

    tool: str
    arguments: Mapping[str, Any]
    code: str
    words: str


@dataclass(frozen=True)
class FarSides:
    """What the sources of these tests talk to. In arguments ``{far}`` stands for the web server's origin."""

    web: FarSide
    storage: str

    def filled(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        filled: dict[str, Any] = orjson.loads(
            orjson.dumps(arguments).replace(b"{far}", self.web.origin.encode())
        )
        return filled


@dataclass(frozen=True)
class Kind:
    """A kind of source as a team has it, with every tool that it brings. ``rows``: the tools by what they are for."""

    name: str
    kind: str
    rows: Mapping[str, frozenset[str]]
    furnish: Callable[[Team, FarSides], None]
    calls: Sequence[Call]
    faults: Sequence[Fault]
    beside: frozenset[str] = frozenset()
    """Tools of another source, which those of this one call."""

    @property
    def tools(self) -> frozenset[str]:
        """All that it brings."""
        return frozenset().union(*self.rows.values())


DATABASE: Final = frozenset(
    {
        "list_tables",
        "describe_table",
        "get_schema",
        "query_database",
        "execute_query",
        "get_table_sample",
        "analyze_table",
        "execute_transaction",
    }
)
API: Final = frozenset(
    {"list_endpoints", "api_get", "api_post", "call_api", "batch_requests", "get_api_stats"}
)
FILES: Final = frozenset(
    {"list_directory", "read_file", "write_file", "create_directory", "search_files", "search_content"}
)
DATA: Final = frozenset(
    {
        "fetch_json",
        "parse_csv",
        "filter_data",
        "map_fields",
        "aggregate_data",
        "analyze_structure",
        "summarize_numeric",
    }
)
TOOLKIT: Final = DATA | {"calculate"}

# What databases answer, row S1

SHIPS: Final = """
CREATE TABLE ship (id int PRIMARY KEY, name text NOT NULL, owner text);
CREATE TABLE berth (ship int REFERENCES ship (id), place text);
CREATE TABLE log (entry text);
INSERT INTO ship VALUES (1, 'Ærø', 'Ada'), (2, 'Vega', 'Emil');
"""
GRANTS: Final = "GRANT INSERT, UPDATE, DELETE ON log TO PUBLIC"


def furnish_postgres(team: Team, far: FarSides | None = None) -> None:
    """A database of ships that takes writes and hides who owns a ship."""
    chosen = {
        "dsn": make_database(SHIPS + GRANTS),
        "allow_writes": True,
        "masks": {"public.ship.owner": "hidden"},
    }
    create_source("ships", "postgres", chosen, caller=team.owner)


def furnish_sqlite(team: Team, far: FarSides | None = None) -> None:
    """A file of the same ships."""
    folder = settings.ENV.files_roots[0] / str(team.tenant_id)
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / "ships.db")) as connection:
        connection.executescript(SHIPS)
    chosen = {"path": "ships.db", "allow_writes": True, "masks": {"ship.owner": "hidden"}}
    create_source("ships", "sqlite", chosen, caller=team.owner)


def _database_calls(schema: str) -> list[Call]:
    by_name = {"query": "SELECT name FROM ship WHERE id = :i", "params": {"i": 1}}
    by_place = {"query": "SELECT owner FROM ship WHERE id = $1", "params": [1]}
    return [
        Call("query_database", by_name, {"rows": [{"name": "Ærø"}], "row_count": 1, "truncated": False}),
        Call("execute_query", by_place, {"rows": [{"owner": None}]}),
        Call("list_tables", {"schema": "nowhere"}, {"tables": []}),
        Call("describe_table", {"table_name": "ship"}, {"primary_key": ["id"]}),
        Call("get_schema", {"table_name": f"{schema}.berth"}, {"truncated": False}),
        Call("get_table_sample", {"table": "ship", "sample_size": 2}, {"row_count": 2}),
        Call("analyze_table", {"table": "ship", "schema": schema}, {"row_count": 2}),
        Call("execute_transaction", {"queries": ["INSERT INTO log VALUES ('seen')"]}, {"row_count": 1}),
    ]


def _database_faults(catalog: str, *more: Fault) -> list[Fault]:
    return [
        Fault("query_database", {"query": "DELETE FROM ship"}, "query_refused", "SELECT"),
        Fault("query_database", {"query": "SELECT 1; SELECT 2"}, "query_refused", "one"),
        Fault("execute_query", {"query": "SELECT nothing FROM ship"}, "query_invalid", "nothing"),
        Fault("list_tables", {"schema": ""}, "arguments_invalid", "schema"),
        Fault("describe_table", {"table_name": catalog}, "invalid_input", "no such table"),
        Fault("get_schema", {"table_name": "nowhere"}, "invalid_input", "no such table"),
        Fault("get_table_sample", {"table": "ship", "sample_size": 101}, "arguments_invalid", "100"),
        Fault("analyze_table", {"table": "nowhere"}, "invalid_input", "no such table"),
        Fault("execute_transaction", {"queries": ["SELECT 1"]}, "query_refused", "query_database"),
        *more,
    ]


# What HTTP APIs answer, rows S2 and S5

TIDE: Final = {
    "method": "GET",
    "path": "/tides/{station}",
    "parameters": {"station": {"type": "string"}},
    "answer": {
        "schema": {"type": "object", "required": ["metres"], "properties": {"metres": {"type": "number"}}}
    },
}
TIDES: Final = {
    "openapi": "3.1.0",
    "info": {"title": "Tides", "version": "1"},
    "paths": {
        "/tides/{station}": {
            "get": {
                "operationId": "tide_at",
                "parameters": [
                    {"name": "station", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "responses": {"200": {"description": "The tide"}},
            }
        },
        "/notes": {
            "post": {
                "operationId": "add_note",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"type": "object", "required": ["text"]}},
                    },
                },
                "responses": {"201": {"description": "Taken"}},
            }
        },
    },
}


def serve_tides(web: FarSide) -> None:
    """What the sources of the rows S2, S4 and S5 ask for."""
    web.serve("/v1/tides/dover", reply(b'{"metres": 1.5}', kind="application/json"))
    web.serve("/v1/notes", reply(b'{"id": 9}', status=201, kind="application/json"))
    web.serve("/v1/broken", reply(b'{"detail": "out of order"}', status=503, kind="application/json"))
    web.serve("/towns", reply(b'[{"town": "Delft"}]', kind="application/json"))


def furnish_http(team: Team, far: FarSides) -> None:
    """An API by hand, and a tool that the team made of it."""
    chosen = {"base_url": f"{far.web.origin}/v1", "auth": "bearer", "token": "secret", "allow_writes": True}
    create_source("sea", "http", chosen, caller=team.owner)
    create_tool("tide", "sea", "http", TIDE, caller=team.owner)


def furnish_openapi(team: Team, far: FarSides) -> None:
    """The same API, by a document."""
    chosen = {"openapi": TIDES, "base_url": f"{far.web.origin}/v1", "allow_writes": True}
    create_source("sea", "http", chosen, caller=team.owner)


API_CALLS: Final = [
    Call("list_endpoints", {}, {"api": "sea", "writes_allowed": True}),
    Call("api_get", {"endpoint": "tides", "path": "dover"}, {"status": 200, "body": {"metres": 1.5}}),
    Call("api_post", {"endpoint": "notes", "body": {"text": "low"}}, {"status": 201}),
    Call(
        "call_api",
        {"api": "sea", "endpoint": "notes", "method": "PUT", "data": [1]},
        {"body": {"id": 9}},
    ),
    Call(
        "batch_requests",
        {"requests": [{"endpoint": "tides/dover"}, {"endpoint": "broken"}]},
        {"succeeded": 1, "failed": 1},
    ),
    Call("get_api_stats", {}, {"api": "sea"}),
    Call("tide", {"station": "dover"}, {"metres": 1.5}),
]
API_FAULTS: Final = [
    Fault("list_endpoints", {"all": True}, "arguments_invalid", "all"),
    Fault("api_get", {"endpoint": "../admin"}, "invalid_input", "lead out of its place"),
    Fault("api_post", {"endpoint": "notes", "body": 1, "params": []}, "arguments_invalid", "params"),
    Fault("call_api", {"api": "lake", "endpoint": "notes"}, "invalid_input", "sea"),
    Fault("batch_requests", {"requests": []}, "arguments_invalid", "requests"),
    Fault("get_api_stats", {"since": "ever"}, "arguments_invalid", "since"),
    Fault("tide", {"station": "../notes"}, "invalid_input", "lead out of its place"),
    Fault("tide", {"station": "nowhere"}, "tool_failed", "404"),
]
OPENAPI_CALLS: Final = [
    Call("tide_at", {"station": "dover"}, {"metres": 1.5}),
    Call("add_note", {"body": {"text": "low"}}, {"id": 9}),
]
OPENAPI_FAULTS: Final = [
    Fault("tide_at", {"station": "../notes"}, "invalid_input", "lead out of its place"),
    Fault("tide_at", {"station": "nowhere"}, "tool_failed", "404"),
    Fault("add_note", {"body": {}}, "arguments_invalid", "text"),
]

# What files answer, row S3

HARBOUR: Final = "# Guide\n\nAsk the harbour master.\n"


def furnish_files(team: Team, far: FarSides) -> None:
    """A folder that may be written."""
    folder = settings.ENV.files_roots[0] / str(team.tenant_id)
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "guide.md").write_text(HARBOUR)
    create_source("shelf", "files", {"root": ".", "allow_writes": True}, caller=team.owner)


def furnish_bucket(team: Team, far: FarSides) -> None:
    """A bucket that may be written."""
    bucket = make_bucket(storage_client(far.storage))
    chosen = {"bucket": bucket, "endpoint": far.storage, "prefix": "team", "allow_writes": True, **KEYS}
    create_source("shelf", "files", chosen, caller=team.owner)


FILES_CALLS: Final = [
    Call("list_directory", {"path": "docs", "pattern": "*.md"}, {"count": 1, "truncated": False}),
    Call("read_file", {"path": "docs/guide.md"}, {"content": HARBOUR, "size": 33, "encoding": "utf-8"}),
    Call("search_files", {"pattern": "*.md", "directory": "docs"}, {"count": 1}),
    Call(
        "search_content",
        {"content_pattern": "harbour", "file_pattern": "*.md"},
        {"matches": [{"path": "docs/guide.md", "line": 3, "text": "Ask the harbour master."}]},
    ),
    Call("write_file", {"path": "out/2026/new.txt", "content": "new\n", "create_dirs": True}, {"size": 4}),
    Call("create_directory", {"path": "made/here"}, {"path": "made/here"}),
]
FILES_FAULTS: Final = [
    Fault("list_directory", {"path": "../.."}, "invalid_input", "path"),
    Fault("read_file", {"path": "nothing.txt"}, "source_missing", "no file nothing.txt"),
    Fault("read_file", {"path": "docs/../../secret.txt"}, "invalid_input", "path"),
    Fault("read_file", {"path": "docs/guide.md", "offset": 100}, "invalid_input", "ends at byte 33"),
    Fault("read_file", {"path": "docs/guide.md", "max_size": 5}, "result_too_large", "33"),
    Fault(
        "search_files", {"pattern": "*", "directory": "/etc"}, "invalid_input", "without a slash before it"
    ),
    Fault("search_content", {"content_pattern": "("}, "invalid_input", "cannot be read"),
    Fault("write_file", {"path": "run.sh", "content": "x"}, "source_denied", "blocked"),
    Fault("write_file", {"path": "../up.txt", "content": "x"}, "invalid_input", "path"),
    Fault("create_directory", {"path": "a\\b"}, "invalid_input", "path"),
]
FOLDER_FAULTS: Final = [
    Fault("list_directory", {"path": "nowhere"}, "source_missing", "There is no folder"),
    Fault("search_files", {"pattern": "*", "directory": "nowhere"}, "source_missing", "There is no folder"),
    Fault("write_file", {"path": "a/b/c", "content": "x"}, "source_missing", "There is no folder"),
    Fault("create_directory", {"path": "docs/guide.md"}, "source_denied", "not opened"),
]

# What the toolkit answers, rows S4 and S6

ROWS: Final = [{"k": "a", "x": 1}, {"k": "b", "x": "2.5"}]


def furnish_toolkit(team: Team, far: FarSides) -> None:
    """The toolkit as it is."""
    create_source("toolkit", "toolkit", {}, caller=team.owner)


TOOLKIT_CALLS: Final = [
    Call("calculate", {"expression": "0.1 + 0.2"}, {"result": 0.3, "exact": True}),
    Call("fetch_json", {"url": "{far}/towns"}, {"data": [{"town": "Delft"}]}),
    Call("parse_csv", {"content": "a\n1\n"}, {"columns": ["a"], "rows": [{"a": "1"}], "row_count": 1}),
    Call(
        "filter_data",
        {"data": ROWS, "field": "x", "operator": "gt", "value": 2},
        {"rows": [{"k": "b", "x": "2.5"}], "row_count": 1, "total_rows": 2},
    ),
    Call(
        "map_fields",
        {"data": ROWS, "field_mapping": {"k": "key"}},
        {"rows": [{"key": "a"}, {"key": "b"}], "row_count": 2},
    ),
    Call(
        "aggregate_data",
        {"data": ROWS, "group_by": [], "aggregations": {"x": "sum"}},
        {"rows": [{"x_sum": 3.5}], "row_count": 1, "total_rows": 2},
    ),
    Call("analyze_structure", {"data": {"a": [1]}}, {"type": "object"}),
    Call("summarize_numeric", {"data": ROWS, "fields": ["x"]}, {"total_rows": 2}),
]
TOOLKIT_FAULTS: Final = [
    Fault("calculate", {"expression": "1 / 0"}, "expression_invalid", "Column 3: division by zero"),
    Fault("calculate", {"expression": "__import__('os')"}, "expression_invalid", "Column 1"),
    Fault(
        "fetch_json",
        {"url": "http://169.254.169.254/latest/meta-data"},
        "source_denied",
        "an address that Marina does not connect to",
    ),
    Fault("parse_csv", {"content": 'a\n"1'}, "arguments_invalid", "Line 2"),
    Fault(
        "filter_data", {"data": ROWS, "field": "x", "operator": "like", "value": 2}, "arguments_invalid", "gt"
    ),
    Fault("map_fields", {"data": ROWS, "field_mapping": {}}, "arguments_invalid", "field_mapping"),
    Fault(
        "aggregate_data",
        {"data": ROWS, "group_by": [], "aggregations": {"k": "sum"}},
        "arguments_invalid",
        "Row 1, field k",
    ),
    Fault("analyze_structure", {}, "arguments_invalid", "data"),
    Fault("summarize_numeric", {"data": ROWS, "fields": ["k"]}, "arguments_invalid", "Row 1, field k"),
]

# What a team's code and pipelines answer, rows S6 and C1


def furnish_code(team: Team, far: FarSides) -> None:
    """A tool in Python that calls another of the team's."""
    furnish_toolkit(team, far)
    create_source("snippets", "code", {}, caller=team.owner)
    code = "said = await calculate(expression=f'1 / {by}')\n{'half': said['result']}"
    definition = {"code": code, "tools": ["calculate"], "parameters": {"by": {"type": "integer"}}}
    create_tool("part_of_one", "snippets", "python", definition, caller=team.owner)


def furnish_flows(team: Team, far: FarSides) -> None:
    """A pipeline over the toolkit, and the tools that take one of the client's."""
    furnish_toolkit(team, far)
    create_source("flows", "flows", {}, caller=team.owner)
    definition = {
        "parameters": {"by": {"type": "integer"}},
        "steps": [{"tool": "calculate", "args": {"expression": "1 / ${by}"}, "output": "said"}],
        "result": "${said.result}",
    }
    create_tool("part_of_one", "flows", "pipeline", definition, caller=team.owner)


STEPS: Final = [{"tool": "calculate", "args": {"expression": "$sum"}, "output": "said"}]

CODE_CALLS: Final = [Call("part_of_one", {"by": 2}, {"half": 0.5})]
CODE_FAULTS: Final = [
    Fault("part_of_one", {"by": "two"}, "arguments_invalid", "by"),
    Fault("part_of_one", {"by": 0}, "code_failed", "division by zero"),
]
FLOW_CALLS: Final = [
    Call("part_of_one", {"by": 2}, {"result": 0.5}),
    Call(
        "create_pipeline",
        {"steps": STEPS, "initial_data": {"sum": "1 + 1"}},
        {"pipeline": {"steps": STEPS}, "tools": ["calculate"], "read_only": True},
    ),
    Call(
        "execute_pipeline",
        {"pipeline": {"steps": STEPS}, "initial_data": {"sum": "1 + 1"}},
        {"result": {"result": 2, "exact": True}},
    ),
]
FLOW_FAULTS: Final = [
    Fault("part_of_one", {"by": 0}, "tool_failed", "division by zero"),
    Fault("create_pipeline", {"steps": [{"tool": "calculat"}]}, "pipeline_invalid", "steps[0].tool"),
    Fault("execute_pipeline", {"pipeline": "nothing"}, "tool_unknown", "nothing"),
]

KINDS: Final[Sequence[Kind]] = [
    Kind(
        "postgres",
        "postgres",
        {"S1": DATABASE},
        furnish_postgres,
        _database_calls("public"),
        _database_faults(
            "pg_authid",
            Fault("execute_transaction", {"queries": ["DELETE FROM berth"]}, "source_denied", "berth"),
        ),
    ),
    Kind(
        "sqlite",
        "sqlite",
        {"S1": DATABASE},
        furnish_sqlite,
        _database_calls("main"),
        _database_faults(
            "sqlite_schema",
            Fault(
                "execute_transaction",
                {"queries": ["INSERT INTO berth VALUES (9, 'x')"]},
                "query_invalid",
                "FOREIGN KEY",
            ),
        ),
    ),
    Kind("http", "http", {"S2": API, "own": frozenset({"tide"})}, furnish_http, API_CALLS, API_FAULTS),
    Kind(
        "openapi",
        "http",
        {"S5": frozenset({"tide_at", "add_note"})},
        furnish_openapi,
        OPENAPI_CALLS,
        OPENAPI_FAULTS,
    ),
    Kind("files", "files", {"S3": FILES}, furnish_files, FILES_CALLS, [*FILES_FAULTS, *FOLDER_FAULTS]),
    Kind("bucket", "files", {"S3": FILES}, furnish_bucket, FILES_CALLS, FILES_FAULTS),
    Kind(
        "toolkit",
        "toolkit",
        {"S4": DATA, "S6": frozenset({"calculate"})},
        furnish_toolkit,
        TOOLKIT_CALLS,
        TOOLKIT_FAULTS,
    ),
    Kind("code", "code", {"S6": frozenset({"part_of_one"})}, furnish_code, CODE_CALLS, CODE_FAULTS, TOOLKIT),
    Kind(
        "flows",
        "flows",
        {"C1": frozenset({"create_pipeline", "execute_pipeline"}), "own": frozenset({"part_of_one"})},
        furnish_flows,
        FLOW_CALLS,
        FLOW_FAULTS,
        TOOLKIT,
    ),
]
