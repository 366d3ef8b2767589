"""The words of the tools that are PostgreSQL's own, and what of a source they say. Pure data."""

from __future__ import annotations

from typing import Final

from servers.execution.backends.postgres.settings import PostgresSettings
from servers.execution.sql.dialect import Dialect, Offer

DIALECT: Final = Dialect(
    title="PostgreSQL",
    types="PostgreSQL's",
    reads="SELECT, VALUES, TABLE, WITH and EXPLAIN",
    writes="INSERT, UPDATE, DELETE and MERGE",
    shorten="left()",
    values="Numeric values of more than 15 digits come as strings.",
    estimated="Of a large table it is PostgreSQL's estimate.",
)


def offer_of(settings: PostgresSettings) -> Offer:
    """What the tools of this source say of it."""
    return Offer(
        name=settings.database,
        scope=f" Schemas: {', '.join(settings.schemas)}." if settings.schemas else "",
        row_limit=settings.row_limit,
        max_bytes=settings.max_bytes,
        statement_timeout=settings.statement_timeout,
        allow_writes=settings.allow_writes,
    )
