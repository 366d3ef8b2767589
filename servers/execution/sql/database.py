"""What the tools of databases need of one: how it is asked, and how its own things are called. Asks nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from servers.execution.sql.dialect import Dialect
from servers.execution.sql.results import Table

Names = tuple[str, ...] | None
"""The names of a query's parameters; ``None`` where they are numbered."""

Values = Mapping[str | int, Any]
"""A query's values: by name, or by place from 0 on."""


class Database(Protocol):
    """A source that is ready to be asked. Times in seconds. What it raises is ``SourceError`` or ``InvalidInput``."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def row_limit(self) -> int: ...

    @property
    def max_bytes(self) -> int: ...

    async def read(
        self, sql: str, names: Names, values: Values, *, path: str, rows: int, timeout: float
    ) -> Table:
        """Check a query, run it, and read at most so many rows. ``path``: where the caller gave the values."""
        ...

    def quote(self, names: Sequence[str]) -> str:
        """Names as a list of quoted identifiers."""
        ...

    async def read_tables(self, schema: str | None, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        """The tables and views that may be read, of one schema or all; and whether there are more."""
        ...

    async def read_schemas(self, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        """The schemas with the names of their tables; and whether there are more."""
        ...

    async def read_structure(self, name: str | None, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        """Tables with their columns and keys: the one of this name, or as many as fit; and whether there are more."""
        ...

    async def describe(self, name: str, schema: str | None, *, timeout: float) -> dict[str, Any] | None:
        """All of one table but its rows; ``None`` where there is none of this name that may be read."""
        ...

    async def measure(self, name: str, schema: str | None, *, timeout: float) -> dict[str, Any] | None:
        """One table's columns, indexes and sizes, with ``estimated_rows``; ``None`` as of ``describe``."""
        ...

    async def complete_names(self, beginning: str, *, most: int, timeout: float) -> Sequence[str]:
        """Names of tables, and names with their schema, that begin so."""
        ...
