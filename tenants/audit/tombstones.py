"""Tombstones: signed statements that the oldest records of a log were removed, and why. Pure: no storage.

A signed note, as checkpoints are (``tenants.audit.notes``), of ten lines:

    <host>/marina-log/<slug>            whose log
    <number of the last removed record>
    <base64 of that record's hash>
    tenant <id>
    tombstone <n>
    time <µs since 1970>
    previous <base64 of the SHA-256 of tombstone n - 1>   32 zero bytes in the first
    removed <number of the first removed record> <how many>
    before <base64 of the hash of the record before that> 32 zero bytes where it was record 1
    policy <days> days

Tombstones of a tenant are counted from 1, and each begins where the one before it ends: together they say what came
before the first record that is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tenants.audit.chain import EMPTY, Head
from tenants.audit.notes import (
    NOTHING_BEFORE,
    NotANote,
    lines_of,
    read_after,
    read_digest,
    read_number,
    written,
)

DAY_US: Final = 86_400_000_000

LEAST_DAYS: Final = 30
"""No policy removes what is younger (``MIN_DAYS`` of its model), so no tombstone may say that one did."""

_REMOVED: Final = re.compile(r"([0-9]+) ([0-9]+)")


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What a tombstone says: records ``first`` to ``last.seq`` were there for ``days`` and were removed.

    ``before`` is the hash of the record before ``first``."""

    origin: str
    last: Head
    tenant_id: int
    number: int
    at_us: int
    previous: bytes
    first: int
    before: bytes
    days: int

    @property
    def count(self) -> int:
        """How many records were removed with it."""
        return self.last.seq - self.first + 1

    @property
    def kept_until_us(self) -> int:
        """No record that is younger than this may have been removed."""
        return self.at_us - self.days * DAY_US

    def text(self) -> bytes:
        """The lines that are signed, with their line breaks."""
        lines = (
            self.origin,
            str(self.last.seq),
            written(self.last.hash),
            f"tenant {self.tenant_id}",
            f"tombstone {self.number}",
            f"time {self.at_us}",
            f"previous {written(self.previous)}",
            f"removed {self.first} {self.count}",
            f"before {written(self.before)}",
            f"policy {self.days} days",
        )
        return "".join(f"{line}\n" for line in lines).encode()


def is_tombstone(note: bytes) -> bool:
    """Whether a note says to be a tombstone; whether it is one, ``read_tombstone`` tells."""
    lines = note.split(b"\n", 5)
    return len(lines) > 5 and lines[4].startswith(b"tombstone ")


def read_tombstone(note: bytes) -> Tombstone:
    """What the note says; whether its signature holds is another question. Raises ``NotANote``."""
    text, lines = lines_of(note)
    if len(lines) != 10:
        raise NotANote("it does not have the ten lines of a tombstone")
    origin, last, root, tenant, number, time, previous, removed, before, policy = lines
    found = _REMOVED.fullmatch(read_after("removed ", removed))
    if found is None:
        raise NotANote("its eighth line does not say what was removed")
    tombstone = Tombstone(
        origin=origin,
        last=Head(read_number(last), read_digest(root)),
        tenant_id=read_number(read_after("tenant ", tenant)),
        number=read_number(read_after("tombstone ", number)),
        at_us=read_number(read_after("time ", time)),
        previous=read_digest(read_after("previous ", previous)),
        first=read_number(found[1]),
        before=read_digest(read_after("before ", before)),
        days=read_number(read_after("policy ", policy).removesuffix(" days")),
    )
    # One text a meaning: what would be written of it is what stands there.
    if tombstone.text() != text or not tombstone.number or not tombstone.first or tombstone.count < 1:
        raise NotANote("it is not written as a tombstone is")
    return tombstone


def fault_between(before: Tombstone | None, digest: bytes, tombstone: Tombstone) -> str:
    """What is wrong with a tombstone after the one ``before`` it, whose note has ``digest``; empty where it follows.

    Its time is the installation's word; that it is not yet to come is for whoever has a clock.
    """
    number = 1 if before is None else before.number + 1
    end = EMPTY if before is None else before.last
    if tombstone.number != number:
        return f"Tombstone {number} is missing: tombstone {tombstone.number} follows."
    if tombstone.previous != (NOTHING_BEFORE if before is None else digest):
        return f"Tombstone {number} does not follow tombstone {number - 1}: one was replaced."
    if tombstone.first != end.seq + 1 or tombstone.before != end.hash:
        return f"Tombstone {number} does not begin where tombstone {number - 1} ends: one was replaced."
    if before is not None and tombstone.at_us <= before.at_us:
        return f"Tombstone {number} is no younger than tombstone {number - 1}: its time was made up."
    if tombstone.days < LEAST_DAYS:
        return (
            f"Tombstone {number} says that records were removed after {tombstone.days} days: no policy is shorter than "
            f"{LEAST_DAYS}."
        )
    return ""
