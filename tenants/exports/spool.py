"""The file that an export grows in, part by part, and the journal beside it that says how far each durable part goes.

A part is durable when its bytes and its line in the journal are synced, in this order. A line holds the SHA-256 of the
file up to there, and all that is needed to go on behind it. Whoever takes over reads what a predecessor left, takes as
many parts as are what the journal says, copies them into a file of their own and goes on: a predecessor that is not
dead after all may write on in its own file and harms nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self
from uuid import UUID

import orjson

from tenants.audit.chain import GENESIS
from tenants.exportfiles import files_of, folder_of, private, sync_folder

JOURNAL: Final = ".journal"
SPOOL: Final = ".spool"
MAX_GAPS: Final = 1_000
"""Stretches of missing records that are told one by one."""

_COPY_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tally:
    """What is in a file so far. ``first`` and ``last`` are the numbers of the records at its ends, 0 where it is empty.

    ``first_prev`` is the hash of the record before the first, ``last_hash`` that of the last one. ``gaps`` are
    stretches of numbers that the log should have and has not, of exports in which nothing is left out.
    """

    records: int = 0
    first: int = 0
    first_prev: str = GENESIS.hex()
    last: int = 0
    last_hash: str = GENESIS.hex()
    gaps: tuple[tuple[int, int], ...] = ()
    more_gaps: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of a durable part: what is to be looked at next, and the file up to there."""

    position: int
    size: int = 0
    sha256: str = ""
    tally: Tally = field(default_factory=Tally)


class Spool:
    """A file that grows. Made by one holder of a fence, and written by nobody else."""

    def __init__(self, tenant_id: int, export_id: UUID, fence: int) -> None:
        stem = folder_of(tenant_id) / f"{export_id}.{fence}"
        self.path: Final = stem.with_name(stem.name + SPOOL)
        self._journal_path = stem.with_name(stem.name + JOURNAL)
        self._tenant_id = tenant_id
        self._export_id = export_id
        self._digest = hashlib.sha256()
        self.size = 0
        self._file: BinaryIO
        self._journal: BinaryIO

    def __enter__(self) -> Self:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = open(self.path, "wb", opener=private)
        self._journal = open(self._journal_path, "wb", opener=private)
        sync_folder(self.path.parent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._journal.close()

    @property
    def sha256(self) -> str:
        """Of all that was written, in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes, which are not durable yet."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def close_part(self, position: int, tally: Tally) -> Mark:
        """Make all durable that was written. ``position`` is what is to be looked at next."""
        mark = Mark(position, self.size, self.sha256, tally)
        self._keep([mark])
        return mark

    def resume(self, head: bytes, finished: str, beat: Callable[[], None]) -> Mark | None:
        """Take over what predecessors left, where that is anything. Their files are deleted then.

        ``head`` is what the file begins with: one with another beginning is of another release, whose columns may be
        others. ``finished`` is the suffix that a spool may have got when all was in it.
        """
        left = [(path, _read_journal(path)) for path in self._others(JOURNAL)]
        begun = (len(head), hashlib.sha256(head).hexdigest())
        left = [(path, marks) for path, marks in left if marks and (marks[0].size, marks[0].sha256) == begun]
        found = None
        for path, marks in sorted(left, key=lambda each: len(each[1]), reverse=True):
            taken = self._copy(path.with_suffix(SPOOL), marks, beat) or self._copy(
                path.with_suffix(finished), marks, beat
            )
            if taken:
                self._keep(taken)
                found = taken[-1]
                break
        for path in self._others():
            path.unlink(missing_ok=True)
        return found

    def _others(self, suffix: str = "") -> list[Path]:
        own = {self.path, self._journal_path}
        return [
            path
            for path in files_of(self._tenant_id, self._export_id)
            if path.name.endswith(suffix) and path not in own
        ]

    def _copy(self, source: Path, marks: list[Mark], beat: Callable[[], None]) -> list[Mark]:
        """Copy parts for as long as they are what their marks say. What is not is cut off again."""
        good: list[Mark] = []
        try:
            given = source.open("rb")
        except FileNotFoundError:
            return good  # there is nothing to take over, or its writer has just deleted it
        with given:
            for mark in marks:
                digest = self._digest.copy()
                wanted = mark.size - self.size
                while wanted > 0 and (data := given.read(min(wanted, _COPY_BYTES))):
                    self._file.write(data)
                    digest.update(data)
                    wanted -= len(data)
                    beat()
                if wanted or digest.hexdigest() != mark.sha256:
                    break
                self._digest, self.size = digest, mark.size
                good.append(mark)
        self._file.seek(self.size)
        self._file.truncate()
        return good

    def _keep(self, marks: list[Mark]) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._journal.writelines(orjson.dumps(asdict(mark)) + b"\n" for mark in marks)
        self._journal.flush()
        os.fsync(self._journal.fileno())


def _read_journal(path: Path) -> list[Mark]:
    """The marks of a journal, up to a line that is none: its writer may have ended in the middle of one."""
    marks: list[Mark] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return marks
    for line in lines:
        try:
            marks.append(_read_mark(orjson.loads(line)))
        except (ValueError, TypeError, KeyError):
            break
        if len(marks) > 1 and marks[-1].size < marks[-2].size:
            return marks[:-1]
    return marks


def _read_mark(given: dict[str, Any]) -> Mark:
    tally = given["tally"]
    gaps = tuple((int(first), int(last)) for first, last in tally["gaps"])
    return Mark(
        int(given["position"]), int(given["size"]), str(given["sha256"]), Tally(**{**tally, "gaps": gaps})
    )
