"""What a statement may do: SQLite asks here about each table, column and function while it prepares one. No I/O.

It is denied unless it is allowed. A masked column is read as NULL wherever it stands (``SQLITE_IGNORE``); where it is
masked in part, a view of the connection's own with an unguessable name may read it, and nothing else.

SQLite does not ask about the columns of ``NATURAL`` and ``USING``: ``statements`` refuses those where it matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import apsw

from servers.execution.backends.sqlite.functions import ALLOWED_FUNCTIONS, ALWAYS_THERE, TABLE_FUNCTIONS
from servers.execution.backends.sqlite.settings import SqliteSettings

_CHANGES: Final = {
    apsw.SQLITE_INSERT: "INSERT",
    apsw.SQLITE_UPDATE: "UPDATE",
    apsw.SQLITE_DELETE: "DELETE",
}
_FREE: Final = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE})


@dataclass(slots=True)
class Rules:
    """The rules for one statement. ``tables``: what it may name, ``present``: what there is, both in lower case.
    ``passes``: the connection's own views that read partly masked columns, by their name, each with its table.

    ``refusal``: the rule that was broken, and the reason in words. ``masked``: a table with masks was read.
    ``changed``: what the statement itself does.
    """

    settings: SqliteSettings
    tables: frozenset[str]
    present: frozenset[str]
    passes: Mapping[str, str] = field(default_factory=dict)
    writes: bool = False
    refusal: tuple[str, str] | None = None
    masked: bool = False
    changed: str = "SELECT"

    def __call__(
        self, action: int, first: str | None, second: str | None, database: str | None, within: str | None
    ) -> int:
        """SQLite's question, as ``sqlite3_set_authorizer`` has it; ``within`` is a view or trigger."""
        table = (first or "").lower()
        if action in _FREE:
            return apsw.SQLITE_OK
        if action == apsw.SQLITE_READ:
            return self._read(table, (second or "").lower(), database, within)
        if action == apsw.SQLITE_FUNCTION:
            if (second or "").lower() in ALLOWED_FUNCTIONS:
                return apsw.SQLITE_OK
            return self._refuse("sql.function", f"The function {second} is not allowed here.")
        if action == apsw.SQLITE_PRAGMA and table == "data_version" and second is None:
            return apsw.SQLITE_OK  # full-text tables ask it of themselves
        if action in _CHANGES and self.writes and database == "main":
            if self.changed == "SELECT":
                self.changed = _CHANGES[action]
            return self._change(table, within)
        return self._refuse(
            "sql.statement",
            "A transaction changes rows of tables, and nothing else."
            if self.writes
            else "Queries only read tables: nothing may be changed, attached or set.",
        )

    def _read(self, table: str, column: str, database: str | None, within: str | None) -> int:
        if database == "temp" and (table in self.passes or table in self.passes.values()):
            return apsw.SQLITE_OK  # views of the connection's own; what they read is asked about, too
        if table not in self.tables:
            if table in TABLE_FUNCTIONS or (not column and self._is_query(table)):
                return apsw.SQLITE_OK
            return self._refuse_table(table)
        masks = self.settings.masks.get(table)
        if masks is None:
            return apsw.SQLITE_OK
        how = masks.get(column)
        if self.writes:
            return apsw.SQLITE_OK if how is None else self._refuse_masked(table)
        self.masked = True
        if how is None or (how == "partial" and self.passes.get(within or "") == table):
            return apsw.SQLITE_OK
        return apsw.SQLITE_IGNORE

    def _is_query(self, name: str) -> bool:
        """Whether the name, of which no column is read, can only be one of ``WITH``."""
        return not (
            name in self.present
            or name in self.passes
            or name in ALWAYS_THERE
            or name.startswith(("sqlite_", "pragma_"))
        )

    def _change(self, table: str, within: str | None) -> int:
        if table.startswith("sqlite_") or (table not in self.tables and within is None):
            return self._refuse_table(table)
        if table in self.settings.masks:
            return self._refuse_masked(table)
        return apsw.SQLITE_OK

    def _refuse_table(self, table: str) -> int:
        if table.startswith(("sqlite_", "pragma_")):
            return self._refuse(
                "sql.schema", "SQLite's own tables are not read here. Use list_tables and describe_table."
            )
        return self._refuse(
            "sql.table",
            f"The table {table} is not among those that may be read here. list_tables shows them all.",
        )

    def _refuse_masked(self, table: str) -> int:
        return self._refuse(
            "sql.mask",
            f"{table} has masked columns: a transaction changes no such table, and reads no such column.",
        )

    def _refuse(self, rule: str, message: str) -> int:
        if self.refusal is None:
            self.refusal = (rule, message)
        return apsw.SQLITE_DENY
