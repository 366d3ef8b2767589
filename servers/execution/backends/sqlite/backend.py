"""The SQLite kind of data source: hands each operation to its module; holds the threads and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from core.errors import MarinaError
from servers.execution.backends.sqlite.asked import AskedFile
from servers.execution.backends.sqlite.health import check_file
from servers.execution.backends.sqlite.settings import (
    SETTINGS_SCHEMA,
    clean_settings,
    folder_of,
    offer_of,
    read_settings,
)
from servers.execution.backends.sqlite.statements import used_names
from servers.execution.backends.sqlite.words import DIALECT
from servers.execution.contract import (
    Backend,
    Completion,
    Context,
    Health,
    NoteSlow,
    Offered,
    Offering,
    Operation,
    Outcome,
    Sharing,
    Source,
    ToolKind,
)
from servers.execution.folders import beneath
from servers.execution.folders.threads import Threads
from servers.execution.parameters import SCALARS, Shapes
from servers.execution.sql.offered import offer_resources, offer_tools
from servers.execution.sql.operations import OPERATIONS, TABLE_RESOURCE, complete_table
from servers.execution.sql.reading import Reading
from servers.execution.sql.sqltool import compile_sql_tool

_THREADS: Final = 8
_SHAPES: Final = Shapes(types=(*SCALARS, "array"), items=("string", "integer"), item="string")


class SqliteBackend(Backend):
    """See ``contract.Backend``. One object a process, used from one event loop.

    ``roots`` are the folders of this machine that the operator allows.
    """

    kind: str = "sqlite"
    title: str = "SQLite"
    summary: str = "A database file: its tables listed, described and queried, and tools of your own SQL."
    settings_schema: Mapping[str, Any] = SETTINGS_SCHEMA
    tool_kinds: Mapping[str, ToolKind] = {"sql": ToolKind("SQL", {"sql": "SELECT 1 AS one"})}

    def __init__(
        self,
        *,
        roots: Sequence[Path] = (),
        supported: bool | None = None,
        note_slow: NoteSlow | None = None,
    ) -> None:
        self._roots = tuple(roots)
        self._supported = beneath.is_supported() if supported is None else supported
        self._note_slow = note_slow
        self._threads = Threads("marina-sqlite", threads=_THREADS)
        self._reading = Reading()

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return clean_settings(settings, self._roots, supported=self._supported)

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        tools = offer_tools(DIALECT, offer_of(read_settings(settings)))
        return Offering(tools=tools, resources=offer_resources())

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        if kind != "sql":
            raise self.no_such_tool_kind(kind)
        return compile_sql_tool(definition, dialect=DIALECT, shapes=_SHAPES, used_names=used_names)

    def sharing(self, operation: Operation) -> Sharing:
        # The file is the same whoever calls.
        return Sharing(by_caller=False)

    async def check(self, source: Source) -> Health:
        try:
            asked = self._ask(source)
        except MarinaError as fault:
            return Health("unhealthy", fault.message, fault.code)
        return await check_file(asked)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        asked = self._ask(source)
        if operation.kind == "sql":
            return await asked.run_tool(operation.definition, arguments, timeout=timeout)
        if operation.kind == "explain":
            return await asked.explain_tool(operation.definition, timeout=timeout)
        if operation.kind == "execute_transaction":
            return await asked.execute_transaction(arguments, timeout=timeout)
        run = OPERATIONS.get(operation.kind)
        if run is None:
            raise self.no_such_operation(operation)
        return await run(asked, arguments, timeout=timeout)

    async def complete(
        self,
        source: Source,
        operation: Operation,
        argument: str,
        value: str,
        given: Mapping[str, str],
        *,
        timeout: float,
        context: Context,
    ) -> Completion:
        if operation.kind != TABLE_RESOURCE:
            return Completion(())
        return await complete_table(self._ask(source), value, timeout=timeout)

    async def close(self) -> None:
        self._threads.close()

    def _ask(self, source: Source) -> AskedFile:
        settings = read_settings(source.settings)
        place = folder_of(settings, self._roots, source.tenant_id, supported=self._supported)
        note = self._note_slow
        return AskedFile(
            settings,
            place,
            source.tenant_id,
            self._threads,
            self._reading,
            (lambda statement: None) if note is None else (lambda statement: note(source, statement)),
        )
