"""Walks the stored records of a tenant fast: raw rows, no model instances. Decides nothing about what is signed.

A record takes some microseconds, so a million takes seconds. What the walk finds wrong it has ``chain.verify`` put
into words. Memory is bounded: some hundred records at a time, whatever is in them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

import orjson
from django.db import connection
from django.db.models import Max

from tenants.audit.chain import EMPTY, Broken, Head, Link, link, verify
from tenants.audit.records import columns_of, decode
from tenants.models import AuditHead, AuditRecord
from tenants.scoping import tenant_scope

WINDOW_RECORDS: Final = 10_000
"""How much of the log one transaction looks at: no snapshot stays open all along the walk."""

FETCH_RECORDS: Final = 500
"""Rows in memory at a time: a body may have 64 KiB."""

_EPOCH_2000_US: Final = 946_684_800_000_000
"""PostgreSQL sends a time as microseconds since 2000-01-01 UTC."""

# The bounds are numbers of ours. A time comes as PostgreSQL's bytes: making a datetime of it costs more than the hash.
_LINKS: Final = "seq, timestamptz_send(at), body, hash"
_COLUMNS: Final = ("actor", "duration_us", "kind", "outcome", "request_id", "server", "tool")
_SELECT: Final = (
    "SELECT {columns} FROM tenants_auditrecord "
    "WHERE tenant_id = {tenant} AND seq > {after} AND seq <= {last} ORDER BY seq"
)
_said = itemgetter(*_COLUMNS)

_Row = Sequence[Any]


@dataclass(slots=True)
class Walked:
    """How far the chain holds, the first break if there is one, and the hashes at the numbers that were asked for."""

    head: Head
    broken: Broken | None = None
    hashes: dict[int, bytes] = field(default_factory=dict)


def read_head(tenant_id: int) -> Head:
    """The head of a tenant's chain as it is stored now."""
    with tenant_scope(tenant_id):
        row = AuditHead.objects.filter(tenant_id=tenant_id).first()
    return EMPTY if row is None else Head(row.seq, bytes(row.hash))


def newest_seq(tenant_id: int) -> int:
    """The number of the newest record that there is, whatever the head says."""
    with tenant_scope(tenant_id):
        return AuditRecord.objects.aggregate(newest=Max("seq"))["newest"] or 0


def walk(
    tenant_id: int,
    *,
    start: Head,
    last: int,
    columns: bool = False,
    wanted: Collection[int] = (),
    after_window: Callable[[int], None] = lambda seq: None,
) -> Walked:
    """Check the records after ``start`` up to ``last``; with ``columns``, their search columns too.

    ``wanted`` are numbers of records whose hashes to give, as far as the walk comes. ``after_window`` is told how far
    it is, outside any transaction; what it raises ends the walk.
    """
    marks = frozenset(wanted)
    walked = Walked(start)
    if start.seq in marks:
        walked.hashes[start.seq] = start.hash
    while walked.head.seq < last:
        before = walked.head
        with tenant_scope(tenant_id):
            for rows in _read(tenant_id, before.seq, min(before.seq + WINDOW_RECORDS, last), columns=columns):
                walked.head, walked.broken = _check(tenant_id, rows, walked.head, columns=columns)
                reached = walked.head.seq
                walked.hashes.update(
                    (row[0], row[3]) for row in rows if row[0] in marks and row[0] <= reached
                )
                if walked.broken is not None:
                    return walked
        if walked.head.seq == before.seq:
            words = f"record {before.seq + 1} is missing: the log should go on to {last}."
            walked.broken = Broken(before.seq + 1, words, missing=True)
            return walked
        after_window(walked.head.seq)
    return walked


def _read(tenant_id: int, after: int, last: int, *, columns: bool) -> Iterator[list[_Row]]:
    names = f"{_LINKS}, {', '.join(_COLUMNS)}, credential_id::text, intent_seq" if columns else _LINKS
    statement = _SELECT.format(columns=names, tenant=int(tenant_id), after=int(after), last=int(last))
    # By a cursor of the server's: the answer is never in memory as a whole. Django's own would wrap each row.
    with (
        connection.wrap_database_errors,
        connection.connection.cursor(name="marina_walk", binary=True) as cursor,
    ):
        cursor.execute(statement)
        while rows := cursor.fetchmany(FETCH_RECORDS):
            yield rows


def _check(tenant_id: int, rows: list[_Row], start: Head, *, columns: bool) -> tuple[Head, Broken | None]:
    """Where the rows after ``start`` lead, or that and the first that does not fit."""
    seq, prev = start
    read = int.from_bytes
    for row in rows:
        seq += 1
        body = row[2]
        try:
            digest = link(prev, tenant_id, seq, read(row[1], "big", signed=True) + _EPOCH_2000_US, body)
        except struct.error:
            return Head(seq - 1, prev), Broken(
                seq, f"record {row[0]} was changed: its time is none that a record can have."
            )
        if row[0] != seq or row[3] != digest:
            return Head(seq - 1, prev), _in_words(tenant_id, rows, start)
        # The chain is checked first: the body is known to be the recorded one.
        if columns and not _columns_fit(row, body):
            broken = _differing_column(row, body)
            if broken is not None:
                return Head(seq - 1, prev), broken
        prev = digest
    return Head(seq, prev), None


def _columns_fit(row: _Row, body: bytes) -> bool:
    """Whether the columns say, letter by letter, what the body does. False: they may still, cut as columns are."""
    try:
        said = orjson.loads(body)
        return bool(
            _said(said) == row[4:11] and said["credential_id"] == row[11] and said.get("intent") == row[12]
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False


def _differing_column(row: _Row, body: bytes) -> Broken | None:
    stored = dict(zip((*_COLUMNS, "credential_id", "intent_seq"), row[4:], strict=True))
    try:
        said = columns_of(decode(body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Broken(
            row[0], f"record {row[0]} was replaced, and its hash computed anew: what it holds is no record."
        )
    for name, value in said.items():
        found = stored[name]
        if found != (str(value) if name == "credential_id" and value is not None else value):
            return Broken(
                row[0],
                f"record {row[0]} is as it was written, but its search column {name!r} was changed beside it.",
            )
    return None


def _in_words(tenant_id: int, rows: list[_Row], start: Head) -> Broken:
    links = (
        Link(row[0], int.from_bytes(row[1], "big", signed=True) + _EPOCH_2000_US, row[2], row[3])
        for row in rows
    )
    found = verify(tenant_id, links, start=start)
    return found if isinstance(found, Broken) else Broken(start.seq + 1, "its records do not fit each other.")
