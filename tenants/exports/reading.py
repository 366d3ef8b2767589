"""Reads the records of an export out of the log, in windows that are short transactions each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple

from tenants.audit.chain import GENESIS, Head
from tenants.audit.payloads import without_payload
from tenants.audit.query import Period, matching_records
from tenants.audit.removed import hashes_at_ends
from tenants.exports.claiming import Claim
from tenants.models import AuditRecord

FETCH_RECORDS: Final = 200
"""Rows in memory at a time: a body may have 64 KiB."""


class Row(NamedTuple):
    """A record as it is exported. ``prev`` is the hash of the record before it in the log, exported or not.

    Where it is not ``whole``, ``body`` is what is left of the one that was hashed (``tenants.audit.payloads``).
    """

    seq: int
    at: datetime
    prev: bytes
    hash: bytes
    body: bytes
    whole: bool = True


def read_rows(claim: Claim, window: range, before: Head) -> Iterator[list[Row]]:
    """The wanted records of a window in the order of their numbers, some at a time. Needs the tenant in scope.

    ``before`` is the record that was read last. What is given is the same whenever it is read: records are never
    changed, and an outcome that came after the end of the export does not count.
    """
    rows = (
        matching_records(
            claim.filters,
            Period() if claim.whole else claim.period,
            as_of=claim.head.seq,
            payloads=claim.payloads,
        )
        .filter(seq__gte=window.start, seq__lt=window.stop)
        .order_by("seq")
        .values_list("seq", "at", "hash", "body")
        .iterator(chunk_size=FETCH_RECORDS)
    )
    while chunk := [(seq, at, bytes(own), bytes(body)) for seq, at, own, body in islice(rows, FETCH_RECORDS)]:
        known = _hashes_before([seq for seq, *_ in chunk], before)
        given = []
        for seq, at, own, body in chunk:
            prev = before.hash if before.seq == seq - 1 else known.get(seq - 1, GENESIS)
            left = None if claim.payloads else without_payload(body)
            given.append(Row(seq, at, prev, own, body if left is None else left, left is None))
            before = Head(seq, own)
        yield given


def _hashes_before(numbers: list[int], before: Head) -> dict[int, bytes]:
    """The hashes of the records before those, of which each is not itself before the next."""
    missing = [
        seq - 1
        for seq, last in zip(numbers, [before.seq, *numbers], strict=False)
        if last != seq - 1 and seq > 1
    ]
    if not missing:
        return {}
    found = AuditRecord.objects.filter(seq__in=missing).values_list("seq", "hash")
    return {**hashes_at_ends(missing), **{seq: bytes(own) for seq, own in found.iterator()}}
