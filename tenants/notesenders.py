"""Puts signed notes where they are published: into a file, at a webhook, into a bucket. Keeps no account of it.

In the order given, and again where it is not certain that one arrived: who reads them may find a note twice. Whatever
goes out goes through ``core.outbound_http``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from django.conf import settings

from core.loop import run_async
from core.notetargets import BucketTarget, FolderTarget, Target, WebhookTarget
from core.objectstorage import sign, url_of
from core.outbound import AddressRule
from core.outbound_http import OutboundClient, OutboundRefused
from tenants.audit.notes import digest_of, join_notes, read_statement
from tenants.exportfiles import sync_folder

SECONDS: Final = 10.0
"""How long a target may take over one note."""

TURN_SECONDS: Final = 30.0
"""How long one tenant's notes are sent before others have their turn."""

_MOST_BYTES: Final = 64 * 1024
_SUFFIX: Final = "notes"
_TAIL_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Note:
    """A note to publish: whose, which checkpoint, still or tombstone, and its bytes."""

    tenant_slug: str
    number: int
    kind: Literal["checkpoint", "still", "tombstone"]
    content: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """How many of the notes arrived, from the first on, and why the next did not, as a sentence. Empty: all did."""

    count: int
    problem: str = ""


def send_notes(target: Target, notes: Sequence[Note]) -> Sent:
    """Send notes of one tenant to a target, one after another, as far as it takes them."""
    match target:
        case FolderTarget():
            return _append(target, notes)
        case WebhookTarget():
            return _send_all(notes, lambda note: ("POST", target.address, _headers(note)))
        case BucketTarget():
            return _send_all(notes, lambda note: _put(target, note))


def file_of(target: FolderTarget, tenant_slug: str) -> Path:
    """The file of a tenant's notes."""
    return target.folder / f"{tenant_slug}.{_SUFFIX}"


def _append(target: FolderTarget, notes: Sequence[Note]) -> Sent:
    path = file_of(target, notes[0].tenant_slug)
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        new = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _drop_torn_end(handle)
            _write_all(handle, join_notes(note.content for note in notes))
            os.fsync(handle)
        finally:
            os.close(handle)
        if new:
            sync_folder(path.parent)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "an error")
        return Sent(
            0,
            f"The file could not be written ({name}): an operator should check the folder's rights and space.",
        )
    return Sent(len(notes))


def _write_all(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]


def _drop_torn_end(handle: int) -> None:
    """Cut off what a power failure left of a note: it comes again, whole."""
    size = os.fstat(handle).st_size
    begin = max(0, size - _TAIL_BYTES)
    tail = os.pread(handle, size - begin, begin)
    whole = len(tail)
    while whole and not _ends_with_a_note(tail[:whole]):
        whole = tail.rfind(b"\n\n", 0, whole - 1) + 2
        if whole == 1:
            whole = 0
    if whole != len(tail):
        os.ftruncate(handle, begin + whole)


def _ends_with_a_note(content: bytes) -> bool:
    """Whether the last thing is a line of a signature and a blank line."""
    last = content.removesuffix(b"\n\n").rpartition(b"\n")[2]
    return content.endswith(b"\n\n") and last.startswith("\u2014 ".encode())


def _send_all(notes: Sequence[Note], request: Callable[[Note], tuple[str, str, dict[str, str]]]) -> Sent:
    return run_async(_send_each(notes, request), timeout=TURN_SECONDS + 2 * SECONDS)


async def _send_each(
    notes: Sequence[Note], request: Callable[[Note], tuple[str, str, dict[str, str]]]
) -> Sent:
    rule = AddressRule(settings.ENV.outbound_allow)
    client = OutboundClient(allow=rule.allows, http2=False, max_connections=1)
    begun = time.monotonic()
    count = 0
    try:
        for note in notes:
            if time.monotonic() - begun > TURN_SECONDS:
                break
            method, url, headers = request(note)
            answer = await client.send(
                method, url, headers=headers, content=note.content, seconds=SECONDS, most_bytes=_MOST_BYTES
            )
            if not 200 <= answer.status < 300:
                return Sent(count, f"It answered with status {answer.status}.")
            count += 1
    except OutboundRefused as refused:
        words = str(refused)
        return Sent(count, f"{words[:1].upper()}{words[1:]}.")
    finally:
        await client.close()
    return Sent(count)


def _headers(note: Note) -> dict[str, str]:
    return {
        "Content-Type": "text/plain; charset=utf-8",
        "Idempotency-Key": digest_of(note.content).hex(),
        "Marina-Tenant": note.tenant_slug,
        **(
            {"Marina-Tombstone": str(note.number)}
            if note.kind == "tombstone"
            else {"Marina-Checkpoint": f"{'still ' if note.kind == 'still' else ''}{note.number}"}
        ),
    }


def _put(target: BucketTarget, note: Note) -> tuple[str, str, dict[str, str]]:
    url = url_of(target, _key(target, note))
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return "PUT", url, sign(target, "PUT", url, headers=headers, content=note.content)


def _key(target: BucketTarget, note: Note) -> str:
    """The name of a note's object. Another note of the same number never takes its place: the digest is in the name.

    A still takes the place of the former one about the same checkpoint, since it says all that the former one did.
    """
    digest = read_statement(note.content).previous if note.kind == "still" else digest_of(note.content)
    kind = "note" if note.kind == "checkpoint" else f"{note.kind}.note"
    return f"{target.prefix}{note.tenant_slug}/{note.number:012d}-{digest.hex()[:16]}.{kind}"
