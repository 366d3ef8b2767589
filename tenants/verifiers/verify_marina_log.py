#!/usr/bin/env python3
"""Checks an export of a Marina team's log offline, and holds it against signed checkpoints that were published.

    python3 verify_marina_log.py EXPORT.jsonl [--checkpoints FILE_OR_FOLDER]... [--keys KEYS.json]...
                                 [--range] [--filtered] [--metadata]

Needs Python 3.9 and, where checkpoints are given, the package ``cryptography``; nothing of Marina. What it checks is
in docs/log.md. Exit codes: 0 the export is whole, 1 it is not (the first fault in words), 2 it cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import datetime
import hashlib
import json
import re
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LINE = re.compile(
    rb'\{"seq":([1-9][0-9]{0,18}),"at":"([0-9T:.Z-]{27})","at_us":(0|-?[1-9][0-9]{0,17}),"tenant":([1-9][0-9]{0,18}),'
    rb'"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})","(?:record|(metadata))":(\{.*\})\}\n?'
)
HEAD = struct.Struct(">16sQQqQ")
DOMAIN = b"marina.audit.v1\0"
NOTHING = bytes(32)
DAY_US = 86_400_000_000
LEAST_DAYS = 30  # no policy is shorter
GRACE_US = 300_000_000  # so far an auditor's clock may be behind
EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - all times are UTC
SIGNATURE = re.compile("\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})")
NOTE = re.compile(
    r"(?P<origin>[^\n]+)\n(?P<size>0|[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"tenant (?P<tenant>[1-9][0-9]{0,15})\n(?P<kind>checkpoint|still|tombstone) (?P<number>[1-9][0-9]{0,15})\n"
    r"time (?P<time>0|[1-9][0-9]{0,15})\n"
    r"previous (?P<previous>[A-Za-z0-9+/]{43}=)\n"
    r"(removed (?P<first>[1-9][0-9]{0,15}) (?P<count>[1-9][0-9]{0,15})\n"
    r"before (?P<before>[A-Za-z0-9+/]{43}=)\npolicy (?P<days>0|[1-9][0-9]{0,5}) days\n)?"
)


class Broken(Exception):
    """What does not fit, as a sentence."""


class Unreadable(Exception):
    """What cannot be read, likewise."""


class Said(NamedTuple):
    """A statement of the installation about a log. A tombstone says that records ``first`` to ``size`` were removed."""

    origin: str
    kind: str
    number: int
    size: int
    root: bytes
    tenant: int
    time_us: int
    previous: bytes
    digest: bytes
    first: int = 0
    before: bytes = b""
    days: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind} {self.number} of {when(self.time_us)}"


class Checkpoints(NamedTuple):
    """Statements about one log, by their numbers; by number of record, who says its hash; the newest; and up to which
    record tombstones say, one after another, that all were ``removed``, each after so many ``days`` at least."""

    ours: list[Said]
    roots: dict[int, Said]
    newest: Said | None
    removed: int
    days: int


def main() -> int:
    parser = argparse.ArgumentParser(description="Check an export of a Marina team's log.")
    parser.add_argument("export", type=Path, help="the export, JSON Lines")
    parser.add_argument("--checkpoints", type=Path, action="append", default=[], metavar="FILE_OR_FOLDER")
    parser.add_argument("--keys", type=Path, action="append", default=[], metavar="KEYS.json")
    parser.add_argument("--range", action="store_true", help="the export is of a range of time")
    parser.add_argument("--filtered", action="store_true", help="the export was made with filters")
    parser.add_argument("--metadata", action="store_true", help="the export was made without calls' data")
    given = parser.parse_args()
    try:
        statements = statements_of(given.checkpoints, given.keys)
        walk = Walk(statements, given)
        for number, line in lines_of(given.export):
            walk.take(number, line)
        for sentence in walk.end():
            say(sentence)
        if not statements:
            say("No checkpoints were given: a tail that was cut off, or a log computed anew, would not show.")
    except Broken as fault:
        say(f"BROKEN: {fault}")
        return 1
    except Unreadable as fault:
        say(f"CANNOT READ: {fault}")
        return 2
    return 0


# The records


class Walk:
    """Goes through the records once. Raises ``Broken`` at the first that does not fit."""

    def __init__(self, statements: list[Said], given: argparse.Namespace) -> None:
        self.statements = statements
        self.partly = given.range or given.filtered
        self.filtered, self.metadata = given.filtered, given.metadata
        self.known = Checkpoints([], {}, None, 0, 0)
        self.tenant = self.first = self.seq = self.count = self.gaps = self.matched = 0
        self.vouched = self.open = self.bare = 0
        self.held: set[int] = set()
        self.digest = NOTHING

    def take(self, number: int, line: bytes) -> None:
        """The next line."""
        found = LINE.fullmatch(line)
        if found is None:
            raise Broken(f"Line {number} is not a record as exports hold them.")
        seq, at_us, tenant = int(found[1]), int(found[3]), int(found[4])
        prev, own, body = bytes.fromhex(found[5].decode()), bytes.fromhex(found[6].decode()), found[8]
        bare = found[7] is not None
        if not self.count:
            self.begin(seq, tenant)
        if tenant != self.tenant:
            raise Broken(f"Line {number} is of tenant {tenant}, and the first is of tenant {self.tenant}.")
        follows = self.place(seq)
        if bare and not self.metadata:
            raise Broken(f"Record {seq} is without its data (or is it --metadata?).")
        link = HEAD.pack(DOMAIN, tenant, seq, at_us, len(body)) + body + prev
        if not bare and hashlib.sha256(link).digest() != own:
            raise Broken(f"Record {seq} was changed: its hash does not fit what it says.")
        if found[2].decode() != clock(at_us):
            raise Broken(f"Record {seq} was changed: its 'at' is another time than its 'at_us'.")
        if follows and prev != self.digest:
            raise Broken(f"Record {seq} does not follow the one before it: one of them was replaced.")
        # A hash vouches for its own record and those that lead to it, not for who only names it as the one before.
        self.open = 0 if bare else self.open + 1 if follows else 1
        self.bare += bare
        self.hold(seq - 1, prev)
        if self.hold(seq, own):
            self.vouched, self.open = self.vouched + self.open, 0
        self.seq, self.digest, self.count = seq, own, self.count + 1

    def begin(self, seq: int, tenant: int) -> None:
        self.first, self.tenant = seq, tenant
        self.known = checkpoints_of(tenant, self.statements)
        gone = self.known.removed
        if seq - 1 > gone and not self.partly:
            words = f"{named(gone + 1, seq - 1)} missing, and no tombstone says that they were removed"
            raise Broken(f"The file begins with record {seq}: {words} (or is it a --range?).")

    def place(self, seq: int) -> bool:
        """Whether the record follows the last one directly."""
        if not self.count:
            return seq == 1
        if seq <= self.seq:
            raise Broken(f"Record {seq} stands after record {self.seq}: it was moved, or stands there twice.")
        between = seq - self.seq - 1
        if between and not self.filtered:
            words = f"{named(self.seq + 1, seq - 1)} missing: record {seq} follows record {self.seq}"
            raise Broken(f"{words} (or is it --filtered?).")
        self.gaps += between
        return not between

    def hold(self, size: int, root: bytes) -> bool:
        """Hold the hash of record ``size`` against what was signed, if anything was."""
        said = self.known.roots.get(size)
        if said is None:
            return False
        if said.root != root:
            words = f"Record {size} has another hash than {said.name} signed"
            raise Broken(f"{words}: {among(self.matched + 1, size)} computed anew.")
        self.matched = size
        self.held.add(size)
        return True

    def end(self) -> list[str]:
        """After the last line: what to say of a file that is whole."""
        if not self.count and self.statements:
            self.begin_empty()
        newest = self.known.newest
        if newest is not None and newest.size > self.seq and not self.partly:
            words = f"The file ends at record {self.seq}, and {newest.name} counts {newest.size}"
            raise Broken(f"{words}: {named(self.seq + 1, newest.size)} cut off (or is it a --range?).")
        if not self.count:
            told = ["WHOLE: the file is empty."]
            if newest is not None and newest.size:
                told.append("No checkpoint says that it should be: records could have been left out.")
            return [*told, *self.whose()]
        between = f"{self.count} records, from {self.first} to {self.seq}"
        told = [f"WHOLE: {between}. Its last hash is {self.digest.hex()}."]
        told += [self.compared()] if self.known.ours else []
        if 1 < self.first <= self.known.removed + 1:
            words = f"Tombstones say that records 1 to {self.known.removed} were removed by retention"
            told.append(f"{words}, kept for {self.known.days} days at least.")
        told.append(self.unvouched())
        if self.bare:
            told.append(
                f"{self.bare} records are here without their data. What they say could not be checked, and nothing "
                "leads through them to a checkpoint. A whole record can be held against its hash in this file."
            )
        if self.gaps:
            told.append(f"{self.gaps} records between them are not in this file, and cannot be checked.")
        return [*told, *self.whose()]

    def begin_empty(self) -> None:
        """Nothing but the statements says whose log an empty file is of."""
        tenants = {said.tenant for said in self.statements}
        if len(tenants) > 1:
            whose = ", ".join(sorted({f"{said.origin} (tenant {said.tenant})" for said in self.statements}))
            words = f"The file is empty, and the checkpoints are of several logs: {whose}."
            raise Unreadable(f"{words} Say whose it is: give the checkpoints of that one alone.")
        self.tenant = tenants.pop()
        self.known = checkpoints_of(self.tenant, self.statements)

    def compared(self) -> str:
        """Which statements were held against a record of this file."""
        total = len(self.known.ours)
        held = [said for said in self.known.ours if said.size in self.held]
        if not held:
            return f"0 of {total} statements were compared: none is about a record in this file."
        newest = max(held, key=lambda said: (said.size, said.time_us))
        words = f"{len(held)} of {total} statements were compared and fit, the newest of them is"
        return f"{words} {newest.name} and counts {newest.size} records."

    def unvouched(self) -> str:
        """For which records nobody's signature stands."""
        rest = self.count - self.vouched
        if not rest:
            return "Every record in this file is vouched for by a checkpoint."
        if self.filtered or self.bare:
            return (
                f"{self.vouched} of the {self.count} records stand at a checkpoint, or lead to one without a gap. "
                f"{rest} are vouched for by no checkpoint: they could have been made up."
            )
        last = named(self.seq - rest + 1, self.seq)
        return f"{last} vouched for by no checkpoint ({rest} of {self.count})."

    def whose(self) -> list[str]:
        if not self.known.ours:
            return [f"It says to be the log of tenant {self.tenant}."] if self.count else []
        origins = ", ".join(sorted({said.origin for said in self.known.ours}))
        return [f"It is the log of tenant {self.tenant}, which its checkpoints call {origins}."]


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - one file that any Python reads
            yield from enumerate(file, 1)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or 'it cannot be opened'}.") from None


def clock(at_us: int) -> str:
    try:
        at = EPOCH + datetime.timedelta(microseconds=at_us)
    except OverflowError:
        raise Broken("A record's time lies outside of all calendars.") from None
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def when(at_us: int) -> str:
    return clock(at_us)[:19].replace("T", " ") + " UTC"


def named(begin: int, end: int) -> str:
    return f"Record {begin} is" if begin == end else f"Records {begin} to {end} are"


def titled(said: Said) -> str:
    return said.name[0].upper() + said.name[1:]


def among(begin: int, end: int) -> str:
    return f"record {end} was" if begin >= end else f"records {begin} to {end}, or the last of them, were"


# The statements


def checkpoints_of(tenant: int, statements: list[Said]) -> Checkpoints:
    """What the statements about this tenant's log say together. Raises ``Broken`` where they do not fit each other."""
    ours = sorted(
        {said for said in statements if said.tenant == tenant}, key=lambda said: (said.number, said.time_us)
    )
    if statements and not ours:
        raise Broken(f"None of the checkpoints is of the log of tenant {tenant}.")
    counted: dict[int, Said] = {}
    roots: dict[int, Said] = {}
    before: Said | None = None
    for said in (each for each in ours if each.kind == "checkpoint"):
        if said.number in counted:
            raise Broken(f"There are two different checkpoints {said.number}: the log has two pasts.")
        if before is not None and said.number == before.number + 1 and said.previous != before.digest:
            raise Broken(f"{titled(said)} does not follow the one before it: one of them was replaced.")
        if before is not None and (said.size < before.size or said.time_us <= before.time_us):
            raise Broken(f"{titled(said)} counts less than one before it, or is older.")
        if said.number == 1 and said.previous != NOTHING:
            raise Broken(f"{titled(said)} names one before it.")
        before = counted[said.number] = said
    removed, days = removed_by(ours)
    for said in ours:
        if said.kind == "still" and said.number in counted and counted[said.number].digest != said.previous:
            raise Broken(f"{titled(said)} is about another checkpoint {said.number}.")
        other = roots.setdefault(said.size, said)
        if other.root != said.root:
            raise Broken(f"{titled(said)} and the {other.name} name different hashes of record {said.size}.")
    newest = max(ours, key=lambda said: (said.size, said.time_us)) if ours else None
    return Checkpoints(ours, roots, newest, removed, days)


def removed_by(ours: list[Said]) -> tuple[int, int]:
    """Up to which record tombstones say that all were removed, and after how many days at least. Raises ``Broken``."""
    stones = [said for said in ours if said.kind == "tombstone"]
    last, days = Said("", "tombstone", 0, 0, NOTHING, 0, -1, NOTHING, NOTHING), 0
    for stone in stones:
        if stone.number == last.number:
            raise Broken(f"There are two different tombstones {stone.number}: the log has two pasts.")
        if stone.number != last.number + 1:
            break  # one is missing, and what came before this one is not known
        if (stone.previous, stone.first, stone.before) != (last.digest, last.size + 1, last.root):
            raise Broken(f"{titled(stone)} does not follow the one before it: one of them was replaced.")
        if not last.time_us < stone.time_us <= time.time_ns() // 1000 + GRACE_US:
            raise Broken(f"{titled(stone)} is no younger than the one before it, or still to come.")
        if stone.days < LEAST_DAYS:
            raise Broken(f"{titled(stone)} says {stone.days} days, and {LEAST_DAYS} is the least there is.")
        last, days = stone, min(days or stone.days, stone.days)
    ends = [stone.size for stone in stones[: last.number]]  # behind a gap they end in any order
    for said in (each for each in ours if each.kind != "tombstone"):
        # What names the record that came next; and a checkpoint's own newest, which no other signed before.
        after = bisect.bisect_right(ends, said.size)
        for stone in stones[max(0, after - 1) : after + 1] + stones[last.number :]:
            young = said.time_us > stone.time_us - stone.days * DAY_US
            if young and stone.first - 1 <= said.size <= stone.size - (said.kind != "checkpoint"):
                words = f"records {stone.first} to {stone.size} were removed after {stone.days} days"
                but = f"{said.name}, which is younger, counts no more than {said.size}"
                raise Broken(f"{titled(stone)} is too wide: {words}, but {but}.")
    return last.size, days


def statements_of(places: list[Path], lists: list[Path]) -> list[Said]:
    """All statements of these files and folders, each signed by one of the keys in the lists."""
    notes = [note for place in places for note in notes_of(place)]
    if places and not notes:
        raise Unreadable("There is no checkpoint in what --checkpoints names.")
    if notes and not lists:
        raise Unreadable("Checkpoints need --keys: save /.well-known/marina-log-keys as a file.")
    keys = keys_of(lists)
    return [statement_of(note, keys) for note in notes]


def statement_of(note: bytes, keys: dict[int, bytes]) -> Said:
    """What a note says. Raises ``Broken`` where none of the keys signed it, ``Unreadable`` where it is no note."""
    text, signatures = parts_of(note)
    found = NOTE.fullmatch(text)
    if found is None or (found["kind"] == "tombstone") != (found["first"] is not None):
        raise Unreadable("One of the notes is neither a checkpoint nor a tombstone.")
    said = Said(
        origin=found["origin"],
        kind=found["kind"],
        number=int(found["number"]),
        size=int(found["size"]),
        root=decoded(found["root"]),
        tenant=int(found["tenant"]),
        time_us=int(found["time"]),
        previous=decoded(found["previous"]),
        digest=hashlib.sha256(note).digest(),
        first=int(found["first"] or 0),
        before=decoded(found["before"] or ""),
        days=int(found["days"] or 0),
    )
    if said.first and said.size - said.first + 1 != int(found["count"]):
        raise Unreadable("One of the tombstones counts other records than it names.")
    if not any(signed(text, *each, key) for each in signatures for key in keys.values()):
        raise Broken(f"{titled(said)} was changed, or is signed by none of the keys given.")
    return said


def parts_of(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text, and its signatures: the key's name, and its id with the signature."""
    try:
        text, blank, lines = note.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise Unreadable("One of the notes is not text.") from None
    found = [SIGNATURE.fullmatch(line) for line in lines.rstrip("\n").split("\n")]
    if not blank or not all(found):
        raise Unreadable("One of the notes has no signature.")
    return text + "\n", [(each[1], decoded(each[2])) for each in found if each is not None]


def signed(text: str, name: str, signature: bytes, key: bytes) -> bool:
    """Whether the key, 32 bytes, made this signature."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise Unreadable("Checkpoints need the package cryptography (pip install cryptography).") from None
    if signature[:4] != hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4]:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature[4:], text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def notes_of(place: Path) -> list[bytes]:
    """The notes of a file, or of all files in a folder and below it. What is no text of notes is said to be none."""
    try:
        files = sorted(each for each in place.rglob("*") if each.is_file()) if place.is_dir() else [place]
        notes = []
        for file in files:
            text = file.read_bytes().strip(b"\n")
            blocks = text.split(b"\n\n") if text else []
            if len(blocks) % 2:
                raise Unreadable(f"{file} does not end with a whole note.")
            notes += [blocks[at] + b"\n\n" + blocks[at + 1] + b"\n" for at in range(0, len(blocks), 2)]
    except OSError as error:
        raise Unreadable(f"{place}: {error.strerror or 'it cannot be opened'}.") from None
    return notes


# The keys


def keys_of(paths: list[Path]) -> dict[int, bytes]:
    """The public keys by number. Raises ``Broken`` where a list contradicts another, or nobody vouches for a key."""
    keys: dict[int, bytes] = {}
    statements: dict[int, bytes] = {}
    for path in paths:
        for entry in listed(path):
            try:
                number, key = entry["number"], decoded(entry["public_key"])
                statements[number] = entry["statement"].encode()
            except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
                raise Unreadable(f"{path} is not a list of keys as Marina publishes it.") from None
            # Numbers are counted from 1, and only the first stands alone: any other needs the one before.
            if type(number) is not int or number < 1 or len(key) != 32:
                raise Unreadable(f"{path} holds a key that is none: its number, or its length, is wrong.")
            if keys.setdefault(number, key) != key:
                raise Broken(f"Key {number} in {path} is another one than elsewhere: somebody exchanged it.")
    for number, key in sorted(keys.items()):
        text, signatures = parts_of(statements[number])
        lines = text.split("\n")
        if lines[1:3] != [f"key {number}", base64.b64encode(key).decode()]:
            raise Broken(f"The statement of key {number} is about another key.")
        for who in (number,) if number == 1 else (number, number - 1):
            vouching = keys.get(who)
            if vouching is None or not any(signed(text, *each, vouching) for each in signatures):
                raise Broken(f"Key {number} is not signed by key {who}: nobody vouches for it.")
    return keys


def listed(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_bytes())["keys"]
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or 'it cannot be opened'}.") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not entries:
        raise Unreadable(f"{path} is not a list of keys as Marina publishes it.")
    return entries


def decoded(text: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        found = None
    # One text for the same bytes: with other bits behind the last one, a note would have a second digest.
    if found is None or base64.b64encode(found).decode() != text:
        raise Unreadable("What should be base64 is not.")
    return found


def say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
