"""The hash chain of a tenant's log. Pure arithmetic: it reads and writes no storage.

Each record's hash covers the one before, so a record that is changed, removed or moved breaks every hash after
it. The bytes that are hashed (integers big-endian):

    "marina.audit.v1\\0" (16) ‖ tenant (u64) ‖ seq (u64) ‖ at, µs since 1970 (i64) ‖ length of body (u64)
    ‖ body ‖ hash of the previous record (32; ``GENESIS`` before the first)

Every part has a fixed length or states it, so no two records share their bytes. A chain alone shows neither a
cut tail nor one that was recomputed from some record on: that takes a head kept elsewhere.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

DOMAIN: Final = b"marina.audit.v1\0"
"""Keeps these hashes apart from every other use of SHA-256."""

GENESIS: Final = bytes(32)
"""What stands in place of the hash before the first record."""

_head = struct.Struct(">16sQQqQ")


def link(prev: bytes, tenant_id: int, seq: int, at_us: int, body: bytes) -> bytes:
    """The hash (32 bytes) of record ``seq`` of a tenant, after the record whose hash is ``prev``."""
    return hashlib.sha256(_head.pack(DOMAIN, tenant_id, seq, at_us, len(body)) + body + prev).digest()


@dataclass(frozen=True, slots=True)
class Link:
    """A stored record, as far as the chain goes."""

    seq: int
    at_us: int
    body: bytes
    hash: bytes


class Head(NamedTuple):
    """The end of a chain: the newest record's number and hash. ``Head(0, GENESIS)`` for an empty one."""

    seq: int
    hash: bytes


EMPTY: Final = Head(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a chain breaks first, and how, as a sentence. ``missing``: the record is not there."""

    seq: int
    problem: str
    missing: bool = False


def verify(tenant_id: int, links: Iterable[Link], *, start: Head = EMPTY) -> Head | Broken:
    """Walk records in the order of their numbers from ``start``. Gives the end reached, or the first break."""
    seq, prev = start.seq, start.hash
    for record in links:
        seq += 1
        if record.seq > seq:
            missing = (
                f"record {seq} is" if record.seq == seq + 1 else f"records {seq} to {record.seq - 1} are"
            )
            words = f"{missing} missing: record {record.seq} follows record {seq - 1}."
            return Broken(seq, words, missing=True)
        if record.seq < seq:
            return Broken(record.seq, f"record {record.seq} comes after record {seq - 1}.")
        expected = link(prev, tenant_id, seq, record.at_us, record.body)
        if expected != record.hash:
            return Broken(
                seq,
                f"record {seq} was changed, or one before it was replaced: "
                f"its stored hash is {record.hash.hex()}, its contents give {expected.hex()}.",
            )
        prev = expected
    return Head(seq, prev)
