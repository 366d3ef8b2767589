"""What a transaction of statements that write takes and gives, whichever the database. Runs none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from core.errors import SourceError
from servers.execution.contract import Outcome
from servers.execution.sql.arguments import read_params, refuse_argument
from servers.execution.sql.database import Names, Values
from servers.execution.sql.offered import MOST_WRITES, MOST_WRITTEN_BYTES
from servers.execution.sql.reading import IN_THREAD
from servers.execution.sql.results import outcome_of

T = TypeVar("T")

MOST_PAUSE_SECONDS: Final = 0.02
"""Between the reading of two statements. What is longer was read in a thread, or waited for it."""


def check_writable(allow_writes: bool) -> None:
    """Raise ``SourceError`` where the source only reads."""
    if not allow_writes:
        raise SourceError(
            "This data source only reads. An admin may allow writes in its settings (allow_writes).",
            code="query_refused",
            data={"rule": "sql.read_only"},
        )


class Query(NamedTuple):
    """A statement as it was given."""

    sql: str
    names: Names
    values: Values
    path: str
    """Of the values, in the arguments."""
    together: int
    """Characters of all of the call's statements."""


Read = Callable[[Query], Awaitable[T]]


async def read_queries(arguments: Mapping[str, Any], read: Read[T]) -> list[T]:
    """Each of the ``queries`` as ``read`` has it.

    Raises ``InvalidInput``, and ``SourceError`` with the number of the query that it is about.
    """
    queries = arguments.get("queries")
    if not isinstance(queries, list | tuple) or not 0 < len(queries) <= MOST_WRITES:
        refuse_argument("queries", f"Give a list of 1 to {MOST_WRITES} statements.")
    together = _bound_together(queries)
    found: list[T] = []
    taken = 0.0
    for number, query in enumerate(queries):
        if found and together <= IN_THREAD:
            # Another team's call comes to the loop several times: it has half. A program leaves it all.
            await asyncio.sleep(min(taken, MOST_PAUSE_SECONDS))
        begun = monotonic()
        found.append(await _read(query, number, together, read))
        taken = monotonic() - begun
    return found


def _bound_together(queries: Sequence[Any]) -> int:
    """The characters of all texts. Raises ``SourceError``."""
    given = (query.get("query") if isinstance(query, Mapping) else query for query in queries)
    texts = [text for text in given if isinstance(text, str)]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if size > MOST_WRITTEN_BYTES:
        raise SourceError(
            f"The statements have {size} bytes together, of at most {MOST_WRITTEN_BYTES}. Give long values as params, "
            "which do not count, or make several calls.",
            code="query_refused",
            data={"rule": "sql.length"},
        )
    return sum(map(len, texts))


async def _read(query: Any, number: int, together: int, read: Read[T]) -> T:
    path = f"queries.{number}"
    given = query if isinstance(query, Mapping) else {"query": query}
    sql = given.get("query")
    if not isinstance(sql, str) or not sql or given.keys() - {"query", "params"}:
        refuse_argument(path, "Give a statement as a text, or an object with query and params.")
    names, values = read_params(given.get("params"), f"{path}.params")
    try:
        return await read(Query(sql, names, values, f"{path}.params", together))
    except SourceError as fault:
        refuse_query(fault, number)


def refuse_query(fault: SourceError, number: int) -> NoReturn:
    """Raise the fault with the number, from 0, of the query that it is about."""
    raise SourceError(
        f"Query {number + 1}: {fault.message}",
        code=fault.code,
        data={**fault.data, "query": number + 1},
        retryable=fault.retryable,
    ) from None


def shape_written(done: Sequence[tuple[str, int]], *, started: float) -> Outcome:
    """The result: of each statement its command and number of rows. ``started`` is of the monotonic clock."""
    count = sum(rows for _, rows in done)
    structured = {
        "results": [
            {"query": number, "command": command, "row_count": rows}
            for number, (command, rows) in enumerate(done, 1)
        ],
        "row_count": count,
        "execution_time_ms": round((monotonic() - started) * 1_000, 3),
    }
    return outcome_of(structured, rows=count)
