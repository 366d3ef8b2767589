"""Finds the tables that a statement names, and where they stand in its text; asks no server and judges nothing.

A name without a schema may also be that of a ``WITH`` query. Which of the two it is depends on where it stands, as
PostgreSQL has it: a ``WITH`` query is seen by what follows it, by the whole of its statement, and by itself only where
the clause is ``RECURSIVE``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pglast import ast

from servers.execution.backends.postgres.syntax import parse_statements, scan_tokens

_STAR: Final = "ASCII_42"
_COMMENTS: Final = frozenset({"C_COMMENT", "SQL_COMMENT"})
_Names = frozenset[str]


@dataclass(frozen=True, slots=True)
class TableUse:
    """A table by the name that the text has for it, from ``start`` to before ``end`` (characters).

    ``aliased``: it has another name in the statement. ``plain``: a sub-query may stand in its place.
    """

    schema: str | None
    name: str
    start: int
    end: int
    aliased: bool
    plain: bool


def locate_tables(sql: str) -> tuple[TableUse, ...]:
    """Each place of the text that names a table or view, in order. The text is one that was parsed and checked."""
    tokens = [token for token in scan_tokens(sql) if token.name not in _COMMENTS]
    starts = [token.start for token in tokens]
    found = []
    for node, sampled in find_tables([statement.stmt for statement in parse_statements(sql)]):
        first = bisect_right(starts, node.location) - 1
        last = first + (2 if node.schemaname else 0)
        before = tokens[first - 1].name if first else ""
        after = tokens[last + 1].name if last + 1 < len(tokens) else ""
        named = [token.name for token in tokens[first : last + 1]]
        odd = starts[first] != node.location or "UIDENT" in named
        found.append(
            TableUse(
                schema=node.schemaname,
                name=node.relname,
                start=node.location,
                end=tokens[last].end + 1,
                aliased=node.alias is not None,
                plain=bool(node.inh) and not (sampled or odd or before == "TABLE" or after == _STAR),
            )
        )
    return tuple(sorted(found, key=lambda use: use.start))


def find_tables(root: Any) -> Iterator[tuple[Any, bool]]:
    """The nodes of a tree that name a table, each with whether it stands in ``TABLESAMPLE``. Without recursion."""
    waiting: list[tuple[Any, _Names, bool]] = [(root, frozenset(), False)]
    while waiting:
        node, seen, sampled = waiting.pop()
        if isinstance(node, tuple | list):
            waiting.extend((child, seen, False) for child in node)
        elif isinstance(node, ast.RangeVar):
            if node.schemaname is not None or node.relname not in seen:
                yield node, sampled
        elif isinstance(node, ast.Node):
            waiting.extend(_below(node, seen))


def _below(node: Any, seen: _Names) -> Iterator[tuple[Any, _Names, bool]]:
    clause = getattr(node, "withClause", None)
    if clause is not None:
        names = [query.ctename for query in clause.ctes]
        if clause.recursive:
            seen = seen.union(names)
        for query in clause.ctes:
            yield query, seen, False
            seen = seen.union([query.ctename])
    changes = isinstance(node, ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt | ast.MergeStmt)
    for attribute in node:
        child = getattr(node, attribute)
        if attribute == "withClause" or not isinstance(child, tuple | ast.Node):
            continue
        # What a statement writes to is always a table.
        target = changes and attribute == "relation"
        yield child, frozenset() if target else seen, isinstance(node, ast.RangeTableSample)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text and what takes its place: from ``start`` to before ``end``."""

    start: int
    end: int
    text: str


def replace_parts(sql: str, parts: Sequence[Part]) -> str:
    """The text with the parts replaced. They are in order and do not overlap."""
    written: list[str] = []
    position = 0
    for part in parts:
        written += (sql[position : part.start], part.text)
        position = part.end
    return "".join((*written, sql[position:]))


def offset_before(parts: Sequence[Part], offset: int) -> int:
    """The 0-based offset in the text before of one in the text that ``replace_parts`` made; of a part, its start."""
    grown = 0
    for part in parts:
        start = part.start + grown
        if offset < start:
            break
        if offset < start + len(part.text):
            return part.start
        grown += len(part.text) - (part.end - part.start)
    return offset - grown
