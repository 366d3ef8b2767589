"""What a database holds: tables, views, columns, keys and indexes. Reads no rows of the tables themselves.

Queries of Marina's own, in an open session and without the rules: each looks only at what the settings allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import apsw

from core.errors import SourceError
from servers.execution.backends.sqlite.session import Named, Session

SCHEMA: Final = "main"
"""A file has one schema, by this name."""

MOST_TABLES: Final = 1_000
MOST_IN_SCHEMA: Final = 200
"""Tables that ``get_schema`` describes at once."""
SIZE_SECONDS: Final = 2.0
"""How long the pages of a table are counted for ``analyze_table``."""


def read_tables(session: Session, schema: str | None) -> tuple[list[dict[str, Any]], bool]:
    """The tables and views that may be read; and whether there are more."""
    if not _is_here(schema):
        return [], False
    estimates = _estimates(session)
    named = _sorted(session)
    return [_head(each, estimates) for each in named[:MOST_TABLES]], len(named) > MOST_TABLES


def read_schemas(session: Session) -> tuple[list[dict[str, Any]], bool]:
    """The one schema with the names of its tables."""
    named = _sorted(session)
    names = [each.name for each in named[:MOST_TABLES]]
    return [{"name": SCHEMA, "comment": None, "tables": names}], len(named) > MOST_TABLES


def complete_names(session: Session, beginning: str, *, most: int) -> list[str]:
    """Names of tables, and names with their schema, that begin so."""
    names = [each.name for each in _sorted(session)]
    both = sorted([*names, *(f"{SCHEMA}.{name}" for name in names)])
    return [name for name in both if name.lower().startswith(beginning.lower())][:most]


def describe(session: Session, name: str, schema: str | None) -> dict[str, Any] | None:
    """All of one table but its rows; ``None`` where there is none of this name that may be read."""
    found = _find(session, name, schema)
    if found is None:
        return None
    columns, primary_key = _columns(session, found, full=True)
    return {
        **_head(found, _estimates(session)),
        "columns": columns,
        "primary_key": primary_key,
        "indexes": _indexes(session, found),
        "foreign_keys": _foreign_keys(session, found),
    }


def measure(session: Session, name: str, schema: str | None) -> dict[str, Any] | None:
    """One table's columns, indexes and sizes; ``None`` where there is none of this name that may be read."""
    found = _find(session, name, schema)
    if found is None:
        return None
    indexes = _indexes(session, found)
    sizes = _sizes(session, [found.name, *(index["name"] for index in indexes)])
    known = [size for size in sizes.values() if size is not None]
    complete = found.kind == "table" and len(known) == len(sizes)
    return {
        **_head(found, _estimates(session)),
        "total_bytes": sum(known) if complete else None,
        "columns": _columns(session, found)[0],
        "indexes": [{**index, "bytes": sizes.get(index["name"])} for index in indexes],
    }


def read_structure(session: Session, name: str | None) -> tuple[list[dict[str, Any]], bool]:
    """Tables with their columns and keys: the one of this name, or as many as fit; and whether there are more."""
    if name is None:
        named = _sorted(session)
    else:
        found = _find(session, name, None)
        named = [] if found is None else [found]
    tables = []
    for each in named[:MOST_IN_SCHEMA]:
        session.stop.check()
        columns, primary_key = _columns(session, each)
        head = _head(each, {})
        del head["estimated_rows"]
        keys = {"primary_key": primary_key, "foreign_keys": _foreign_keys(session, each)}
        tables.append({**head, "columns": columns, **keys})
    return tables, len(named) > MOST_IN_SCHEMA


def _is_here(schema: str | None) -> bool:
    return schema is None or schema.lower() == SCHEMA


def _sorted(session: Session) -> list[Named]:
    return sorted(session.named.values(), key=lambda each: each.name)


def _find(session: Session, name: str, schema: str | None) -> Named | None:
    """The table named ``name``, or ``schema.name`` in one."""
    found = session.named.get(name.lower()) if _is_here(schema) else None
    if found is None and schema is None and name.lower().startswith(f"{SCHEMA}."):
        return session.named.get(name[len(SCHEMA) + 1 :].lower())
    return found


def _head(named: Named, estimates: dict[str, int]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": named.name,
        "kind": named.kind,
        "estimated_rows": estimates.get(named.name.lower()),
        "comment": None,
    }


def _estimates(session: Session) -> dict[str, int]:
    """The rows of tables, where ANALYZE has counted them."""
    try:
        rows = session.rows("SELECT lower(tbl), stat FROM main.sqlite_stat1")
    except apsw.SQLError:
        return {}
    estimates = {}
    for table, stat in rows:
        first = str(stat).partition(" ")[0]
        if first.isascii() and first.isdigit() and len(first) < 16:
            estimates[str(table)] = int(first)
    return estimates


def _columns(session: Session, named: Named, *, full: bool = False) -> tuple[list[dict[str, Any]], list[str]]:
    """The columns in order, and the names of those that are the primary key."""
    rows = session.rows(
        "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo(?, 'main') "
        "WHERE hidden <> 1 ORDER BY cid",
        [named.name],
    )
    masks = session.settings.masks.get(named.name.lower(), {})
    columns = []
    for name, type_, not_null, default, _ in rows:
        column: dict[str, Any] = {"name": name, "type": type_ or "", "nullable": not not_null}
        if full:
            column |= {"default": None if default is None else str(default), "comment": None}
        if name.lower() in masks:
            column["masked"] = masks[name.lower()]
        columns.append(column)
    keys = sorted((place, name) for name, *_, place in rows if place)
    return columns, [name for _, name in keys]


def _indexes(session: Session, named: Named) -> list[dict[str, Any]]:
    rows = session.rows(
        "SELECT l.name, l.\"unique\", s.sql FROM pragma_index_list(?, 'main') l "
        "LEFT JOIN main.sqlite_schema s ON s.type = 'index' AND s.name = l.name ORDER BY l.name",
        [named.name],
    )
    indexes = []
    for name, unique, sql in rows:
        definition = sql
        if definition is None:
            columns = session.rows("SELECT name FROM pragma_index_info(?, 'main') ORDER BY seqno", [name])
            definition = f"UNIQUE ({_listed([column for (column,) in columns])})"
        indexes.append({"name": name, "unique": bool(unique), "definition": definition})
    return indexes


def _foreign_keys(session: Session, named: Named) -> list[dict[str, Any]]:
    rows = session.rows(
        'SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?, \'main\') '
        "ORDER BY id, seq",
        [named.name],
    )
    keys: dict[int, list[tuple[Any, ...]]] = {}
    for number, *key in rows:
        keys.setdefault(number, []).append(tuple(key))
    found = []
    for number, parts in keys.items():
        parent, on_update, on_delete = parts[0][0], parts[0][3], parts[0][4]
        definition = f"FOREIGN KEY ({_listed([part[1] for part in parts])}) REFERENCES {parent}"
        # Without names they are the columns of the other's primary key.
        if all(part[2] is not None for part in parts):
            definition += f" ({_listed([part[2] for part in parts])})"
        definition += "".join(
            f" ON {event} {what}"
            for event, what in (("UPDATE", on_update), ("DELETE", on_delete))
            if what != "NO ACTION"
        )
        found.append({"name": f"foreign_key_{number + 1}", "definition": definition})
    return found


def _sizes(session: Session, names: Sequence[str]) -> dict[str, int | None]:
    """The bytes of a table's and its indexes' pages, as far as they are counted in time."""
    whole, session.until = session.until, min(session.until, monotonic() + SIZE_SECONDS)
    sizes: dict[str, int | None] = dict.fromkeys(names)
    try:
        for name in names:
            rows = session.rows("SELECT pgsize FROM dbstat WHERE name = ? AND aggregate = TRUE", [name])
            sizes[name] = rows[0][0] if rows else None
    except SourceError:
        pass  # the rest is not known
    finally:
        session.until = whole
    return sizes


def _listed(names: Sequence[str | None]) -> str:
    """Names as people read them; an expression in an index has none."""
    return ", ".join("(expression)" if name is None else name for name in names)
