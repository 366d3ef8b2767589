"""What a query gives: its rows in JSON terms, their schema, and how they are cut to what a caller may get. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from core.errors import SourceError
from servers.execution.contract import Outcome
from servers.execution.sql.dialect import Dialect


def result_schema(dialect: Dialect) -> dict[str, Any]:
    """JSON Schema 2020-12 of what ``shape_outcome`` gives."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["columns", "rows", "row_count", "truncated", "execution_time_ms"],
        "additionalProperties": False,
        "properties": {
            "columns": {
                "type": "array",
                "description": f"The columns in order, with {dialect.types} types.",
                "items": {
                    "type": "object",
                    "required": ["name", "type"],
                    "additionalProperties": False,
                    "properties": {"name": {"type": "string"}, "type": {"type": "string"}},
                },
            },
            "rows": {
                "type": "array",
                "description": "One object a row, keyed by column name.",
                "items": {"type": "object"},
            },
            "row_count": {"type": "integer", "minimum": 0, "description": "Rows in this result."},
            "truncated": {"type": "boolean", "description": "Whether there are more rows than these."},
            "note": {"type": "string", "description": "Why the result is truncated, or masked."},
            "execution_time_ms": {"type": "number", "minimum": 0},
        },
    }


@dataclass(slots=True)
class Table:
    """Rows in JSON terms. ``names`` are unique; ``stopped`` says that bytes, not rows, ended the reading, ``masked``
    that a table with masked columns was read."""

    names: list[str]
    types: list[str]
    rows: list[dict[str, Any]]
    stopped: bool
    milliseconds: float
    masked: bool = False


def name_columns(names: Sequence[str]) -> list[str]:
    """Names fit for keys of one object: a repeated name gets ``_2``, ``_3`` …, in the order of columns."""
    if len(set(names)) == len(names):
        return list(names)
    taken = set(names)
    seen: set[str] = set()
    keys = []
    for name in names:
        key, number = name, 2
        while key in seen or (key != name and key in taken):
            key, number = f"{name}_{number}", number + 1
        seen.add(key)
        keys.append(key)
    return keys


def shape_outcome(table: Table, *, limit: int, max_bytes: int, dialect: Dialect) -> Outcome:
    """The result of a query as the caller gets it: at most ``limit`` rows and ``max_bytes`` bytes of JSON."""
    note = None
    rows = table.rows
    if len(rows) > limit:
        rows = rows[:limit]
        note = f"Only the first {limit} rows are shown. Narrow the query, aggregate, or page with OFFSET."
    structured: dict[str, Any] = {
        "columns": [
            {"name": name, "type": type_} for name, type_ in zip(table.names, table.types, strict=True)
        ],
        "rows": rows,
        "row_count": len(rows),
        "truncated": note is not None or table.stopped,
        "execution_time_ms": table.milliseconds,
    }
    masked = (
        "Some columns are masked: they come as null, or as *** with a few characters." if table.masked else ""
    )
    if note is not None or masked:
        structured["note"] = " ".join(filter(None, (note, masked)))
    text = orjson.dumps(structured)
    if len(text) > max_bytes or table.stopped:
        kept = fit_rows(rows, max_bytes - _envelope_size(structured))
        if not kept and rows:
            refuse_size(max_bytes, dialect)
        structured.update(
            rows=kept,
            row_count=len(kept),
            truncated=True,
            note=f"Only the first {len(kept)} rows are shown: a result holds at most {max_bytes} bytes. "
            f"Select fewer columns, or shorten long values with {dialect.shorten}. {masked}".rstrip(),
        )
        text = orjson.dumps(structured)
    return Outcome(
        structured=structured,
        text=text.decode(),
        rows=structured["row_count"],
        size=len(text),
        truncated=structured["truncated"],
    )


def outcome_of(structured: dict[str, Any], *, rows: int, truncated: bool = False) -> Outcome:
    """A tool's result that is no query's, and the same as text."""
    text = orjson.dumps(structured)
    return Outcome(structured, text.decode(), rows=rows, size=len(text), truncated=truncated)


def _envelope_size(structured: Mapping[str, Any]) -> int:
    return len(orjson.dumps({**structured, "rows": [], "note": "x" * 300}))


def fit_rows(rows: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """As many of the first rows as have ``size`` bytes of JSON at most."""
    for index, row in enumerate(rows):
        size -= len(orjson.dumps(row)) + 1
        if size < 0:
            return rows[:index]
    return rows


def refuse_size(max_bytes: int, dialect: Dialect) -> NoReturn:
    """Raise ``SourceError``: not even one row fits."""
    raise SourceError(
        f"A single row is larger than {max_bytes} bytes, the limit of a whole result. "
        f"Select fewer columns, or shorten long values with {dialect.shorten}.",
        code="result_too_large",
        data={"max_bytes": max_bytes},
    )
