"""The rules for statements that write: one INSERT, UPDATE, DELETE or MERGE each, with the same lists as queries.

What may stand inside is what may stand in a query. Runs nothing and asks no server.
"""

from __future__ import annotations

from typing import Any, Final

from pglast import ast

from servers.execution.backends.postgres.parsing import SYSTEM_SCHEMAS, Walk, refuse

_WRITES: Final = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
_PARTS: Final = (
    ast.MergeWhenClause,
    ast.MultiAssignRef,
    ast.OnConflictClause,
    ast.InferClause,
    ast.IndexElem,
    ast.SetToDefault,
)


class WriteWalk(Walk):
    """Visits a statement that writes. Inside of it nothing else may write."""

    def begin(self, root: Any) -> Any:
        if not isinstance(root, _WRITES):
            refuse(
                "sql.statement",
                "A transaction takes INSERT, UPDATE, DELETE and MERGE only. Read with query_database.",
                0,
            )
        if root.returningClause is not None:
            refuse(
                "sql.returning",
                "RETURNING is not allowed here: the result has row counts. Read the rows with query_database.",
                None,
            )
        self._root = root
        return root

    def visit(self, node: Any) -> None:
        if node is self._root:
            return
        if isinstance(node, ast.IndexElem) and (node.opclass or node.opclassopts):
            refuse("sql.construct", "Leave the operator class out of ON CONFLICT.", self.place(node))
        if isinstance(node, ast.RangeVar):
            self.target(node)
        if not isinstance(node, _PARTS):
            super().visit(node)

    def target(self, node: Any) -> None:
        """Refuse PostgreSQL's own tables."""
        schema = node.schemaname or ("pg_catalog" if node.relname.startswith("pg_") else "")
        # Not even where the list of schemas has them: they may be read then.
        if schema in SYSTEM_SCHEMAS or schema.startswith("pg_"):
            self.refuse_schema(schema, node)
