"""What of a tenant's log was removed, as its tombstones say. Needs a tenant in scope; removes nothing."""

from __future__ import annotations

from collections.abc import Iterable

from tenants.audit.chain import EMPTY, Head
from tenants.models import AuditTombstone


def read_removed() -> Head:
    """The last record that was removed: the log that is there begins after it. ``EMPTY`` where all of it is there.

    As soon as a tombstone stands, what it names counts as removed, also while it still lies there.
    """
    row = AuditTombstone.objects.order_by("-number").values_list("last", "last_hash").first()
    return EMPTY if row is None else Head(row[0], bytes(row[1]))


def hashes_at_ends(numbers: Iterable[int]) -> dict[int, bytes]:
    """The hashes of those of the records that a tombstone names as its last."""
    rows = AuditTombstone.objects.filter(last__in=list(numbers)).values_list("last", "last_hash")
    return {seq: bytes(own) for seq, own in rows}


def tombstone_of(seq: int) -> AuditTombstone | None:
    """The tombstone that says that a record was removed."""
    return AuditTombstone.objects.filter(last__gte=seq).order_by("last").first()
