"""Holds a tenant's log against signed statements about it: those that are stored, and those that were published.

A chain shows neither a tail that was cut together with its head nor a log that was computed anew: checkpoints do. Says
in words what does not fit. Repairs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tenants.audit.chain import Head
from tenants.audit.graves import Graves, read_graves
from tenants.audit.notes import (
    NOTHING_BEFORE,
    NotANote,
    Statement,
    digest_of,
    read_statement,
    signer_of,
)
from tenants.audit.records import to_datetime, to_microseconds
from tenants.audit.removed import read_removed
from tenants.audit.tombstones import is_tombstone
from tenants.audit.verification import walk_whole
from tenants.models import AuditCheckpoint, CheckpointState
from tenants.scoping import tenant_scope

BATCH: Final = 1_000
MOST_PROBLEMS: Final = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. ``head`` is how far the chain holds; ``problems`` are sentences, none for a log that is whole.

    ``removed``: records up to this number were removed, as so many ``tombstones`` say, each after ``days`` at least.
    """

    head: Head
    checkpoints: int
    newest_at: datetime | None
    published: int
    problems: tuple[str, ...]
    removed: int = 0
    tombstones: int = 0
    days: int = 0

    @property
    def records(self) -> str:
        """How many records there are and which, and which were removed, as the end of a sentence."""
        count = self.head.seq - self.removed
        words = f"{count} record{'s' * (count != 1)}, from {self.removed + 1} to {self.head.seq}"
        if not self.removed:
            return words
        said = "a tombstone says" if self.tombstones == 1 else f"{self.tombstones} tombstones say"
        kept = f"kept for {self.days} days at least"
        return f"{words}; {said} that records 1 to {self.removed} were removed by retention, {kept}"

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


@dataclass(slots=True)
class _Told:
    """What all statements say together: the hash that each of them names at a number, and what is wrong with them."""

    roots: dict[int, dict[bytes, str]] = field(default_factory=dict)
    """By number of the newest record, by hash: the first statement that says so, in words."""
    problems: list[str] = field(default_factory=list)
    digests: dict[int, bytes] = field(default_factory=dict)
    """Of stored checkpoints, by number."""
    newest: Statement | None = None
    newest_us: int = 0
    graves: Graves = field(default_factory=Graves)

    def add(self, statement: Statement, name: str) -> None:
        self.graves.hold(
            statement.head,
            statement.at_us,
            f"{name} of {_when(statement.at_us)}",
            first=statement.kind == "checkpoint",
        )
        self.roots.setdefault(statement.head.seq, {}).setdefault(
            statement.head.hash, f"{name} of {_when(statement.at_us)}"
        )
        self.newest_us = max(self.newest_us, statement.at_us)


def check_log(
    tenant_id: int,
    *,
    public_keys: Sequence[bytes],
    published: Iterable[bytes] = (),
    after_window: Callable[[int], None] = lambda seq: None,
) -> Verdict:
    """Walk the whole log, and hold it against its stored checkpoints and the ``published`` notes."""
    notes = list(published)
    while True:
        removed = _removed(tenant_id)
        verdict = _check(tenant_id, public_keys, notes, after_window)
        # Once more where a tombstone was made meanwhile: then what does not fit may be what it removed.
        if verdict.is_whole or _removed(tenant_id) == removed:
            return verdict


def _check(
    tenant_id: int, public_keys: Sequence[bytes], notes: Sequence[bytes], after_window: Callable[[int], None]
) -> Verdict:
    told = _Told(graves=read_graves(tenant_id, public_keys, [note for note in notes if is_tombstone(note)]))
    _read_stored(tenant_id, public_keys, told)
    _read_published(tenant_id, public_keys, [note for note in notes if not is_tombstone(note)], told)
    # After the statements: what was signed meanwhile would name records that this walk does not come to.
    walked = walk_whole(tenant_id, wanted=told.roots.keys(), after_window=after_window)
    problems = list(told.graves.problems)
    if walked.broken is not None:
        problems.append(walked.broken.problem)
    for seq, roots in sorted(told.roots.items()):
        for root, name in roots.items():
            if seq > walked.head.seq:
                if walked.broken is None:
                    problems.append(
                        f"The log ends at record {walked.head.seq}, and {name} counted {seq}: its tail was cut off."
                    )
            elif seq < told.graves.last.seq:
                continue  # of a record that was removed: its tombstone is held against what comes after it
            elif walked.hashes.get(seq) != root:
                problems.append(
                    f"Record {seq} has another hash than {name} signed: the log up to it was computed anew."
                )
    problems += told.problems
    if not problems:
        problems += _told_fault(tenant_id)
    return Verdict(
        head=walked.head,
        checkpoints=len(told.digests),
        newest_at=to_datetime(told.newest_us) if told.newest_us else None,
        published=len(notes),
        problems=tuple(problems[:MOST_PROBLEMS]),
        removed=told.graves.last.seq,
        tombstones=told.graves.count,
        days=told.graves.days,
    )


def _removed(tenant_id: int) -> Head:
    with tenant_scope(tenant_id):
        return read_removed()


def _read_stored(tenant_id: int, public_keys: Sequence[bytes], told: _Told) -> None:
    """Take in the stored checkpoints, up to the first that does not fit the one before."""
    before: Statement | None = None
    previous = NOTHING_BEFORE
    for row in _stored(tenant_id):
        note = bytes(row.note)
        expected = 1 if before is None else before.number + 1
        problem = ""
        try:
            statement = read_statement(note)
        except NotANote as fault:
            told.problems.append(f"Checkpoint {row.number} was changed: {fault}.")
            return
        if row.number != expected:
            problem = f"Checkpoint {expected} is missing: checkpoint {row.number} follows."
        elif signer_of(note, public_keys) is None:
            problem = (
                f"Checkpoint {row.number} was changed, or is signed by none of this installation's keys."
            )
        elif (statement.kind, statement.tenant_id, statement.number) != ("checkpoint", tenant_id, row.number):
            problem = f"Checkpoint {row.number} is another one's note."
        elif statement.previous != previous:
            problem = (
                f"Checkpoint {row.number} does not follow checkpoint {row.number - 1}: one was replaced."
            )
        elif before is not None and (statement.head.seq < before.head.seq or statement.at_us <= before.at_us):
            problem = f"Checkpoint {row.number} counts less, or is older, than the one before it."
        elif (row.seq, to_microseconds(row.at)) != (statement.head.seq, statement.at_us):
            problem = f"Checkpoint {row.number} is as it was signed, but its columns were changed beside it."
        if problem:
            told.problems.append(problem)
            return
        told.add(statement, f"checkpoint {row.number}")
        previous = told.digests[row.number] = digest_of(note)
        before = told.newest = statement
    _read_state(tenant_id, public_keys, told)


def _stored(tenant_id: int) -> Iterator[AuditCheckpoint]:
    last = 0
    while True:
        with tenant_scope(tenant_id):
            rows = list(AuditCheckpoint.objects.filter(number__gt=last).order_by("number")[:BATCH])
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1].number


def _read_state(tenant_id: int, public_keys: Sequence[bytes], told: _Told) -> None:
    with tenant_scope(tenant_id):
        state = CheckpointState.objects.first()
    if state is None:
        return
    newest = 0 if told.newest is None else told.newest.number
    if state.number > newest:
        # One that was made since the checkpoints were read is another time's.
        if not _is_stored(state):
            told.problems.append(
                f"Checkpoints {newest + 1} to {state.number} were made and are not there any more."
                if state.number > newest + 1
                else f"Checkpoint {state.number} was made and is not there any more."
            )
    elif state.still and state.number == newest:
        _take_still(tenant_id, public_keys, bytes(state.still), "the newest still", told)


def _is_stored(state: CheckpointState) -> bool:
    with tenant_scope(state.tenant_id):
        return AuditCheckpoint.objects.filter(number=state.number).exists()


def _read_published(
    tenant_id: int, public_keys: Sequence[bytes], notes: Sequence[bytes], told: _Told
) -> None:
    seen: dict[int, bytes] = {}
    for position, note in enumerate(notes, 1):
        try:
            statement = read_statement(note)
        except NotANote as fault:
            told.problems.append(f"Published note {position} is no checkpoint: {fault}.")
            continue
        name = f"published {statement.kind} {statement.number}"
        digest = digest_of(note)
        if signer_of(note, public_keys) is None:
            told.problems.append(f"The {name} is signed by none of this installation's keys.")
        elif statement.tenant_id != tenant_id:
            told.problems.append(f"The {name} is of the log of tenant {statement.tenant_id}.")
        elif statement.kind == "still":
            _take_still(tenant_id, public_keys, note, name, told)
        elif seen.setdefault(statement.number, digest) != digest:
            told.problems.append(
                f"Two different checkpoints {statement.number} are published: one log had two pasts."
            )
        else:
            told.add(statement, name)
            stored = told.digests.get(statement.number)
            if stored is None:
                told.problems.append(
                    f"The {name} is not stored, or does not follow: the stored ones were changed."
                )
            elif stored != digest:
                told.problems.append(f"The {name} is another one than the stored: the log was signed anew.")


def _take_still(tenant_id: int, public_keys: Sequence[bytes], note: bytes, name: str, told: _Told) -> None:
    try:
        statement = read_statement(note)
    except NotANote as fault:
        told.problems.append(f"The {name.removeprefix('the ')} was changed: {fault}.")
        return
    named = f"The {name.removeprefix('the ')}"
    if signer_of(note, public_keys) is None:
        told.problems.append(f"{named} is signed by none of this installation's keys.")
    elif (statement.tenant_id, statement.kind) != (tenant_id, "still"):
        told.problems.append(f"{named} is another one's note.")
    elif statement.number in told.digests and told.digests[statement.number] != statement.previous:
        told.problems.append(f"{named} is of another checkpoint {statement.number} than the stored one.")
    else:
        told.add(statement, name)


def _told_fault(tenant_id: int) -> list[str]:
    with tenant_scope(tenant_id):
        state = CheckpointState.objects.exclude(fault="").first()
    if state is None or state.fault_at is None:
        return []
    return [f"No checkpoint was made since {state.fault_at:%Y-%m-%d %H:%M:%S} UTC. {state.fault}"]


def _when(at_us: int) -> str:
    return f"{to_datetime(at_us):%Y-%m-%d %H:%M:%S} UTC"
