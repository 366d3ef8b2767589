"""The PostgreSQL kind of data source: hands each operation to its module; holds the pools and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.outbound import AllowAddress
from servers.execution.addresses import allow_public
from servers.execution.backends.postgres.asked import AskedPool
from servers.execution.backends.postgres.health import check_source
from servers.execution.backends.postgres.plans import EXPLAIN, explain_sql_tool
from servers.execution.backends.postgres.pools import IDLE_SECONDS, Pool, Pools
from servers.execution.backends.postgres.settings import (
    SETTINGS_SCHEMA,
    clean_settings,
    describe_settings,
    read_settings,
)
from servers.execution.backends.postgres.sqltool import compile_sql_tool, run_sql_tool
from servers.execution.backends.postgres.transactions import execute_transaction
from servers.execution.backends.postgres.words import DIALECT, offer_of
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
from servers.execution.sql.offered import offer_resources, offer_tools
from servers.execution.sql.operations import OPERATIONS, TABLE_RESOURCE, complete_table


class PostgresBackend(Backend):
    """See ``contract.Backend``. One object a process, used from one event loop."""

    kind: str = "postgres"
    title: str = "PostgreSQL"
    summary: str = "Tables of a database: listed, described and queried, and tools of your own SQL."
    settings_schema: Mapping[str, Any] = SETTINGS_SCHEMA
    secret_settings: frozenset[str] = frozenset({"dsn"})
    tool_kinds: Mapping[str, ToolKind] = {"sql": ToolKind("SQL", {"sql": "SELECT 1 AS one"})}

    def __init__(
        self,
        *,
        allow_address: AllowAddress = allow_public,
        idle_seconds: float = IDLE_SECONDS,
        note_slow: NoteSlow | None = None,
    ) -> None:
        self._allow = allow_address
        self.pools = Pools(allow=allow_address, idle_seconds=idle_seconds, note_slow=note_slow)

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return clean_settings(settings)

    def describe_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return describe_settings(settings)

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering(
            tools=offer_tools(DIALECT, offer_of(read_settings(settings))), resources=offer_resources()
        )

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        if kind != "sql":
            raise self.no_such_tool_kind(kind)
        return compile_sql_tool(definition)

    def sharing(self, operation: Operation) -> Sharing:
        # Each query runs as the source's one role, whoever calls.
        return Sharing(by_caller=False)

    async def check(self, source: Source) -> Health:
        return await check_source(source, allow=self._allow)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        pool: Pool = self.pools.get(source)
        if operation.kind == "sql":
            return await run_sql_tool(pool, operation.definition, arguments, timeout=timeout)
        if operation.kind == EXPLAIN:
            return await explain_sql_tool(pool, operation.definition, timeout=timeout)
        if operation.kind == "execute_transaction":
            return await execute_transaction(pool, arguments, timeout=timeout)
        run = OPERATIONS.get(operation.kind)
        if run is None:
            raise self.no_such_operation(operation)
        return await run(AskedPool(pool), arguments, timeout=timeout)

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
        return await complete_table(AskedPool(self.pools.get(source)), value, timeout=timeout)

    async def close(self) -> None:
        await self.pools.close()
