"""A PostgreSQL source as the tools that all databases have in common ask it (``servers.execution.sql``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from servers.execution.backends.postgres import catalog
from servers.execution.backends.postgres.parsing import read_statement
from servers.execution.backends.postgres.pools import Pool
from servers.execution.backends.postgres.queries import bind_values, fetch_table, policy_of
from servers.execution.backends.postgres.values import quote_names
from servers.execution.backends.postgres.words import DIALECT
from servers.execution.sql.arguments import refuse_spare
from servers.execution.sql.database import Names, Values
from servers.execution.sql.dialect import Dialect
from servers.execution.sql.results import Table


@dataclass(frozen=True, slots=True)
class AskedPool:
    """See ``servers.execution.sql.database.Database``. One object a call."""

    pool: Pool

    @property
    def dialect(self) -> Dialect:
        return DIALECT

    @property
    def row_limit(self) -> int:
        return self.pool.settings.row_limit

    @property
    def max_bytes(self) -> int:
        return self.pool.settings.max_bytes

    async def read(
        self, sql: str, names: Names, values: Values, *, path: str, rows: int, timeout: float
    ) -> Table:
        pool = self.pool
        work = partial(read_statement, sql, policy_of(pool), names=names)
        statement = await pool.keep_statement(sql, names, work)
        refuse_spare(values, {slot.key for slot in statement.slots}, path)
        bound = bind_values(statement, values, path=path)
        return await fetch_table(pool, bound, rows=rows, timeout=timeout)

    def quote(self, names: Sequence[str]) -> str:
        return quote_names(names)

    async def read_tables(self, schema: str | None, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        return await catalog.read_tables(self.pool, schema, timeout=timeout)

    async def read_schemas(self, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        return await catalog.read_schemas(self.pool, timeout=timeout)

    async def read_structure(self, name: str | None, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        return await catalog.read_structure(self.pool, name, timeout=timeout)

    async def describe(self, name: str, schema: str | None, *, timeout: float) -> dict[str, Any] | None:
        return await catalog.describe(self.pool, name, schema, timeout=timeout)

    async def measure(self, name: str, schema: str | None, *, timeout: float) -> dict[str, Any] | None:
        return await catalog.measure(self.pool, name, schema, timeout=timeout)

    async def complete_names(self, beginning: str, *, most: int, timeout: float) -> Sequence[str]:
        return await catalog.complete_table_names(self.pool, beginning, most=most, timeout=timeout)
