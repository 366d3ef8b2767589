"""The words for what is particular to a kind of database, and what of a source its tools' words say. Pure data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words for what is particular to a kind of database.

    ``types`` are whose names of types the columns of a result bear. ``reads`` and ``writes`` name the statements that
    queries and transactions take, ``shorten`` what cuts long values in SQL. ``values`` is a sentence on those that JSON
    has no room for, ``estimated`` one on the rows of a table that was not counted. ``index_sizes_known``: whether each
    index always has a size.
    """

    title: str
    types: str
    reads: str
    writes: str
    shorten: str
    values: str
    estimated: str
    index_sizes_known: bool = True


@dataclass(frozen=True, slots=True)
class Offer:
    """What of one source its tools' words say. ``scope`` is a sentence on what may be read of it, or nothing."""

    name: str
    scope: str
    row_limit: int
    max_bytes: int
    statement_timeout: float
    allow_writes: bool
