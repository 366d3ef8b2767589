"""Asks PostgreSQL how it would run a SQL tool, without running it.

The statement is prepared under a name and explained with a generic plan: no parameter needs a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import orjson
import psycopg

from core.errors import InvalidInput, SourceError
from servers.execution.backends.postgres.confine import confine
from servers.execution.backends.postgres.errors import UNTYPED_PARAMETER, translate_query_error
from servers.execution.backends.postgres.pipeline import Limits, Reply, run_read_only
from servers.execution.backends.postgres.pools import Connection, Pool
from servers.execution.backends.postgres.queries import Bound, attempts_of, check_attributes
from servers.execution.backends.postgres.sqltool import bind_tool
from servers.execution.backends.postgres.values import builtin_type_name, quote_names
from servers.execution.contract import Outcome

EXPLAIN: Final = "explain"
"""The kind of the operation. No tool has it: it is for those who write tools."""

_LINES: Final = 2_000
_ESTIMATES: Final = re.compile(r"\(cost=[0-9.]+\.\.([0-9.]+) rows=([0-9]+) width=[0-9]+\)")


async def explain_sql_tool(pool: Pool, definition: Mapping[str, Any], *, timeout: float) -> Outcome:
    """The plan of a definition that ``compile_sql_tool`` accepted. Raises ``SourceError`` or ``InvalidInput``."""
    bound = await bind_tool(pool, definition, dict.fromkeys(definition.get("parameters") or {}))
    if bound.statement.explain:
        message = "This is an EXPLAIN already: create the tool, and try it."
        raise InvalidInput(message, errors=[{"path": "sql", "message": message}])
    limits = Limits(
        rows=_LINES,
        wire_bytes=pool.settings.max_bytes,
        timeout_ms=int(1_000 * min(pool.settings.statement_timeout, timeout)),
    )
    try:
        async with pool.lease(timeout=timeout, fresh=True) as held:
            check_attributes(pool, bound.statement)
            statement = await confine(held.connection, bound.statement, pool)
            reply, prefix = await _explain(held.connection, bound, statement.sql, pool, limits)
        reply.checked()
    except psycopg.Error as fault:
        raise translate_query_error(
            fault, locate=lambda at: statement.locate(at - prefix), timeout_ms=limits.timeout_ms
        ) from None
    lines = [
        (chunk.get_value(row, 0) or b"").decode(errors="replace")
        for chunk in reply.chunks
        for row in range(chunk.ntuples)
    ]
    found = _ESTIMATES.search(lines[0]) if lines else None
    if found is None:
        raise SourceError("PostgreSQL gave no plan for this statement.")
    structured = {"plan": "\n".join(lines), "estimated_rows": int(found[2]), "total_cost": float(found[1])}
    text = orjson.dumps(structured)
    return Outcome(structured, text.decode(), size=len(text))


async def _explain(
    connection: Connection, bound: Bound, sql: str, pool: Pool, limits: Limits
) -> tuple[Reply, int]:
    """What came back, and how many characters stood before the statement."""
    for types in attempts_of(bound):
        name = f"marina_plan_{uuid4().hex}"
        listed = ", ".join((builtin_type_name(oid) or "unknown") if oid else "unknown" for oid in types)
        head = f"PREPARE {name}{f' ({listed})' if listed else ''} AS "
        values = f" ({', '.join(['NULL'] * len(types))})" if types else ""
        reply = await run_read_only(
            connection,
            f"EXPLAIN EXECUTE {name}{values}",
            before=["SET LOCAL plan_cache_mode = force_generic_plan", head + sql],
            search_path=quote_names(pool.settings.schemas),
            limits=limits,
            cursor=False,
        )
        if reply.complete:
            # A statement that was prepared outlives its transaction.
            await run_read_only(connection, "DEALLOCATE ALL", limits=limits, cursor=False)
        if reply.fault is None or reply.fault.sqlstate not in UNTYPED_PARAMETER:
            break
    return reply, len(head)
