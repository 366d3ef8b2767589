"""Holds a log's tombstones against each other, against checkpoints, and against those that were published.

Says in words what does not fit. Removes and repairs nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tenants.audit.chain import EMPTY, Head
from tenants.audit.notes import NotANote, digest_of, signer_of
from tenants.audit.records import now_us, to_datetime, to_microseconds
from tenants.audit.tombstones import Tombstone, fault_between, read_tombstone
from tenants.models import AuditTombstone
from tenants.scoping import tenant_scope

GRACE_US: Final = 300_000_000
"""So far a clock may be behind the one that a tombstone was signed by."""


@dataclass(slots=True)
class Graves:
    """The tombstones of a log, in their order, and what is wrong with them."""

    stones: list[Tombstone] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def last(self) -> Head:
        """The last record that they say was removed."""
        return self.stones[-1].last if self.stones else EMPTY

    @property
    def days(self) -> int:
        """For so many days at least each removed record was kept, as they say."""
        return min((stone.days for stone in self.stones), default=0)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.stones)

    def hold(self, head: Head, at_us: int, name: str, *, first: bool) -> None:
        """Hold them against a statement that at that time the log's newest record was ``head``.

        ``first``: a checkpoint's, since no other one signed that record before. A still may come any time later.
        """
        if self.problems:
            return
        # The one that names a record which was not there yet, or had come just then.
        later = bisect_right(self.stones, head.seq, key=_end)
        named = self.stones[bisect_left(self.stones, head.seq, key=_end) if first else later : later + 1]
        for stone in (each for each in named if at_us > each.kept_until_us):
            self.problems.append(
                f"Tombstone {stone.number} is too wide: it says that records {stone.first} to {stone.last.seq} were "
                f"removed after {stone.days} days, but {name}, which is younger, counted no more than {head.seq}."
            )
        before = self.stones[later - 1] if later else None
        if before is not None and before.last.seq == head.seq and before.last.hash != head.hash:
            self.problems.append(
                f"Tombstone {before.number} names another hash of record {head.seq} than {name} signed."
            )


def read_graves(tenant_id: int, public_keys: Sequence[bytes], published: Iterable[bytes]) -> Graves:
    """The stored tombstones of a log, up to the first that does not fit, held against those that were ``published``."""
    graves = Graves()
    digests: dict[int, bytes] = {}
    with tenant_scope(tenant_id):
        rows = list(AuditTombstone.objects.order_by("number"))
    for row in rows:
        note = bytes(row.note)
        problem, stone = _read(note, tenant_id, public_keys)
        if stone is None:
            graves.problems.append(f"Tombstone {row.number} {problem}.")
            break
        before = graves.stones[-1] if graves.stones else None
        problem = fault_between(before, digests.get(row.number - 1, b""), stone)
        if not problem and stone.at_us > now_us() + GRACE_US:
            when = f"{to_datetime(stone.at_us):%Y-%m-%d %H:%M:%S} UTC"
            problem = f"Tombstone {row.number} is of {when}, which is still to come."
        if not problem and (
            row.number,
            row.first,
            row.last,
            bytes(row.last_hash),
            row.days,
            to_microseconds(row.at),
        ) != (
            stone.number,
            stone.first,
            stone.last.seq,
            stone.last.hash,
            stone.days,
            stone.at_us,
        ):
            problem = f"Tombstone {row.number} is as it was signed, but its columns were changed beside it."
        if problem:
            graves.problems.append(problem)
            break
        digests[stone.number] = digest_of(note)
        graves.stones.append(stone)
    for note in published:
        problem, stone = _read(note, tenant_id, public_keys)
        if stone is None:
            graves.problems.append(f"A published tombstone {problem}.")
        elif digests.get(stone.number) != digest_of(note):
            when = f"{to_datetime(stone.at_us):%Y-%m-%d %H:%M:%S} UTC"
            graves.problems.append(
                f"The published tombstone {stone.number} of {when} is not stored, or another one is: they were changed."
            )
    return graves


def _end(stone: Tombstone) -> int:
    return stone.last.seq


def _read(note: bytes, tenant_id: int, public_keys: Sequence[bytes]) -> tuple[str, Tombstone | None]:
    """What a note says, or why it is not to be believed, as the end of a sentence."""
    try:
        stone = read_tombstone(note)
    except NotANote as fault:
        return f"was changed: {fault}", None
    if signer_of(note, public_keys) is None:
        return "was forged or changed: none of this installation's keys signed it", None
    if stone.tenant_id != tenant_id:
        return f"is of the log of tenant {stone.tenant_id}", None
    return "", stone
