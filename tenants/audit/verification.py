"""Walks a tenant's stored chain and finds where it breaks first. Repairs nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from tenants.audit.chain import Broken, Head
from tenants.audit.removed import read_removed
from tenants.audit.walking import Walked, newest_seq, read_head, walk
from tenants.scoping import tenant_scope


def verify_log(tenant_id: int) -> Head | Broken:
    """Check every record up to the head as it is now, and its search columns. Gives the head, or the first break.

    What a chain alone cannot show: a tail that was cut together with its head, or a log recomputed as a whole.
    ``tenants.audit.checking`` holds it against its checkpoints and tombstones, too.
    """
    walked = walk_whole(tenant_id)
    return walked.head if walked.broken is None else walked.broken


def walk_whole(
    tenant_id: int,
    *,
    wanted: Collection[int] = (),
    after_window: Callable[[int], None] = lambda seq: None,
) -> Walked:
    """As ``verify_log``, with the hashes at the numbers ``wanted``. ``after_window`` is as that of ``walk``.

    The walk begins after what tombstones say was removed; whether they are to be believed is another question. What
    is removed meanwhile is missing: ``check_log`` looks once more then.
    """
    head = read_head(tenant_id)
    with tenant_scope(tenant_id):
        start = read_removed()
    walked = walk(
        tenant_id, start=start, last=head.seq, columns=True, wanted=wanted, after_window=after_window
    )
    if walked.broken is not None and walked.broken.seq == start.seq + 1 and walked.broken.missing:
        words = f"{walked.broken.problem} No tombstone says that retention removed it."
        walked.broken = replace(walked.broken, problem=words)
    if walked.broken is None and walked.head.hash != head.hash:
        walked.broken = Broken(
            head.seq,
            f"the head does not fit record {head.seq}: it holds {head.hash.hex()}, "
            f"the record {walked.head.hash.hex()}.",
        )
    if walked.broken is None:
        newest = newest_seq(tenant_id)
        if newest > max(head.seq, read_head(tenant_id).seq):
            walked.broken = Broken(
                head.seq + 1, f"the log holds record {newest}, but its head is at {head.seq}."
            )
    return walked
