"""Walks a tenant's stored chain and finds where it breaks first. Repairs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db.models import Max

from tenants.audit.chain import EMPTY, Broken, Head, Link, verify
from tenants.audit.records import columns_of, decode, to_microseconds
from tenants.models import AuditHead, AuditRecord
from tenants.scoping import tenant_scope

_WINDOW: Final = 10_000
_FETCH: Final = 200


class _ColumnDiffers(Exception):
    """A search column does not say what the record's body says."""

    def __init__(self, seq: int, name: str) -> None:
        super().__init__(seq, name)
        self.broken = Broken(
            seq, f"record {seq} is as it was written, but its search column {name!r} was changed beside it."
        )


def verify_log(tenant_id: int) -> Head | Broken:
    """Check every record up to the head as it is now, and its search columns. Gives the head, or the first break.

    What a chain cannot show: a tail that was cut together with its head, or a log recomputed as a whole.
    """
    head = _read_head(tenant_id)
    reached = EMPTY
    while reached.seq < head.seq:
        try:
            with tenant_scope(tenant_id):
                result = verify(tenant_id, _links(reached.seq, head.seq), start=reached)
        except _ColumnDiffers as differs:
            return differs.broken
        if isinstance(result, Broken):
            return result
        if result.seq == reached.seq:
            return Broken(
                reached.seq + 1, f"record {reached.seq + 1} is missing: the log should go on to {head.seq}."
            )
        reached = result
    if reached.hash != head.hash:
        return Broken(
            head.seq,
            f"the head does not fit record {head.seq}: it holds {head.hash.hex()}, the record {reached.hash.hex()}.",
        )
    with tenant_scope(tenant_id):
        newest = AuditRecord.objects.aggregate(newest=Max("seq"))["newest"] or 0
    if newest > max(head.seq, _read_head(tenant_id).seq):
        return Broken(head.seq + 1, f"the log holds record {newest}, but its head is at {head.seq}.")
    return head


def _read_head(tenant_id: int) -> Head:
    with tenant_scope(tenant_id):
        row = AuditHead.objects.filter(tenant_id=tenant_id).first()
    return EMPTY if row is None else Head(row.seq, bytes(row.hash))


def _links(after: int, last: int) -> Iterator[Link]:
    rows = AuditRecord.objects.filter(seq__gt=after, seq__lte=min(after + _WINDOW, last)).order_by("seq")
    for row in rows.iterator(chunk_size=_FETCH):
        body = bytes(row.body)
        # The chain is checked first: the comparison waits until the body is known to be the recorded one.
        yield Link(row.seq, to_microseconds(row.at), body, bytes(row.hash))
        for name, value in columns_of(decode(body)).items():
            if getattr(row, name) != value:
                raise _ColumnDiffers(row.seq, name)
