"""A batch of records takes its place in its tenants' chains, and is packed for PostgreSQL. Pure: it sends nothing."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.pq.abc import PGresult

from tenants.audit.chain import Head, link
from tenants.audit.statements import Command, append, move, move_append, read_integer
from tenants.audit.waiting import Waiting


def chain_batch(batch: Sequence[Waiting], before: dict[int, Head]) -> dict[int, Head]:
    """Give each record its place and hash, and the heads after them."""
    seqs = {tenant_id: head.seq for tenant_id, head in before.items()}
    hashes = {tenant_id: head.hash for tenant_id, head in before.items()}
    for waiting in batch:
        tenant_id = waiting.tenant_id
        waiting.seq = seqs[tenant_id] = seqs[tenant_id] + 1
        waiting.hash = hashes[tenant_id] = link(
            hashes[tenant_id], tenant_id, waiting.seq, waiting.at_us, waiting.body
        )
    return {tenant_id: Head(seq, hashes[tenant_id]) for tenant_id, seq in seqs.items()}


def pack_batch(batch: Sequence[Waiting]) -> Command:
    """The command that stores a batch whose records have their places."""
    return append(
        [waiting.cells for waiting in batch],
        (waiting.seq for waiting in batch),
        (waiting.hash for waiting in batch),
    )


def store_batch(
    batch: Sequence[Waiting], before: dict[int, Head], after: dict[int, Head]
) -> Sequence[Command]:
    """Commands that move the heads, if they are as ``before``, and store a batch whose records have their places."""
    if len(batch) == 1:
        (alone,) = batch
        tenant_id = alone.tenant_id
        return (move_append(alone.cells, before[tenant_id], after[tenant_id]),)
    return move(before, after), pack_batch(batch)


def read_heads(rows: PGresult) -> dict[int, Head]:
    """The heads that ``lock`` gave."""
    return {
        read_integer(rows.get_value(row, 0) or b""): Head(
            read_integer(rows.get_value(row, 1) or b""), rows.get_value(row, 2) or b""
        )
        for row in range(rows.ntuples)
    }
