"""Statements about a log that are signed: their exact bytes, how they are signed, read and checked. Pure: no storage.

A statement is a *signed note* (C2SP, https://c2sp.org/signed-note): lines of text, a blank line, and a line a
signature, ``— <key name> <base64 of key id (4) ‖ Ed25519 signature (64)>``. The text of one about a tenant's log:

    <host>/marina-log/<slug>            whose log
    <number of its newest record>       0 for an empty one
    <base64 of that record's hash>      32 zero bytes for an empty one
    tenant <id>
    checkpoint <n>                      or ``still <n>``
    time <µs since 1970>
    previous <base64 of a SHA-256>

Checkpoints of a tenant are counted from 1, and each names the SHA-256 of the bytes of the one before it (32 zero bytes
in the first). A *still* says that at its time nothing had come since checkpoint ``n``: it repeats that one's number and
hash of the newest record, and ``previous`` is the SHA-256 of checkpoint ``n`` itself.

Notes are verified as the bytes that they are. In a file they follow each other with a blank line after each.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tenants.audit.chain import Head

KEY_NAME: Final = "marina-log"
"""After the installation's host: what its keys sign as."""

NOTHING_BEFORE: Final = bytes(32)
"""Stands in the first checkpoint for the hash of the one before."""

MAX_NOTE_BYTES: Final = 4_096

_ED25519: Final = b"\x01"
_SIGNATURE: Final = re.compile(rb"\xe2\x80\x94 ([!-*,-~]+) ([A-Za-z0-9+/]+={0,2})")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")

Kind = Literal["checkpoint", "still"]


class NotANote(ValueError):
    """Bytes are no signed note, or say nothing about a log. The message says why, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a note says: that a log's newest record at a time was ``head.seq``, with the hash ``head.hash``."""

    origin: str
    head: Head
    tenant_id: int
    kind: Kind
    number: int
    at_us: int
    previous: bytes

    def text(self) -> bytes:
        """The lines that are signed, with their line breaks."""
        lines = (
            self.origin,
            str(self.head.seq),
            written(self.head.hash),
            f"tenant {self.tenant_id}",
            f"{self.kind} {self.number}",
            f"time {self.at_us}",
            f"previous {written(self.previous)}",
        )
        return "".join(f"{line}\n" for line in lines).encode()


def key_name(host: str) -> str:
    """What the keys of the installation at ``host`` sign as."""
    return f"{host}/{KEY_NAME}"


def key_id(name: str, public_key: bytes) -> bytes:
    """The four bytes by which a signature names its key."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def verifier_key(name: str, public_key: bytes) -> str:
    """The key as tools for signed notes take it (``vkey``)."""
    return f"{name}+{key_id(name, public_key).hex()}+{written(_ED25519 + public_key)}"


def sign(text: bytes, name: str, *keys: Ed25519PrivateKey) -> bytes:
    """The note of ``text``, with a signature of each key."""
    lines = [
        f"\u2014 {name} {written(key_id(name, key.public_key().public_bytes_raw()) + key.sign(text))}\n"
        for key in keys
    ]
    return text + b"\n" + "".join(lines).encode()


def is_signed_by(note: bytes, public_key: bytes) -> bool:
    """Whether a signature of the note is this key's. A note that is none is signed by nobody."""
    try:
        text, signatures = _split(note)
    except NotANote:
        return False
    for name, signature in signatures:
        if signature[:4] == key_id(name, public_key) and _holds(public_key, signature[4:], text):
            return True
    return False


def signer_of(note: bytes, public_keys: Iterable[bytes]) -> bytes | None:
    """The first of the keys that signed the note."""
    return next((key for key in public_keys if is_signed_by(note, key)), None)


def read_statement(note: bytes) -> Statement:
    """What the note says; whether its signature holds is another question. Raises ``NotANote``."""
    text, lines = lines_of(note)
    if len(lines) != 7:
        raise NotANote("it does not have the seven lines of a checkpoint")
    origin, size, root, tenant, number, time, previous = lines
    word, _, count = number.partition(" ")
    if word == "checkpoint":
        kind: Kind = "checkpoint"
    elif word == "still":
        kind = "still"
    else:
        raise NotANote("its fifth line does not say which checkpoint it is")
    statement = Statement(
        origin=origin,
        head=Head(read_number(size), read_digest(root)),
        tenant_id=read_number(read_after("tenant ", tenant)),
        kind=kind,
        number=read_number(count),
        at_us=read_number(read_after("time ", time)),
        previous=read_digest(read_after("previous ", previous)),
    )
    # One text a meaning: what would be written of it is what stands there.
    if statement.text() != text or not statement.number:
        raise NotANote("it is not written as a checkpoint is")
    return statement


def lines_of(note: bytes) -> tuple[bytes, list[str]]:
    """The text of a note, and its lines. Raises ``NotANote``."""
    text, _ = _split(note)
    return text, text.decode("utf-8", "replace").split("\n")[:-1]


def digest_of(note: bytes) -> bytes:
    """What the next checkpoint calls this one's."""
    return hashlib.sha256(note).digest()


def join_notes(notes: Iterable[bytes]) -> bytes:
    """Notes as a file holds them."""
    return b"".join(note + b"\n" for note in notes)


def split_notes(content: bytes) -> list[bytes]:
    """The notes of a file. Raises ``NotANote`` where it does not end with a whole one."""
    blocks = content.strip(b"\n").split(b"\n\n")
    if blocks == [b""]:
        return []
    if len(blocks) % 2:
        raise NotANote("it ends within a note")
    return [text + b"\n\n" + signed + b"\n" for text, signed in zip(blocks[::2], blocks[1::2], strict=True)]


def _split(note: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    if len(note) > MAX_NOTE_BYTES:
        raise NotANote("it is longer than a checkpoint can be")
    text, blank, signed = note.rpartition(b"\n\n")
    if not blank or not signed.endswith(b"\n"):
        raise NotANote("it has no signature")
    signatures = []
    for line in signed[:-1].split(b"\n"):
        found = _SIGNATURE.fullmatch(line)
        if found is None:
            raise NotANote("a line of its signatures is none")
        signatures.append((found[1].decode(), _bytes(found[2].decode())))
    return text + b"\n", signatures


def _holds(public_key: bytes, signature: bytes, text: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_after(word: str, line: str) -> str:
    """What comes after a word that a line begins with. Raises ``NotANote``."""
    if not line.startswith(word):
        raise NotANote(f"it has no line that begins with {word.strip()!r} where it should be")
    return line.removeprefix(word)


def read_number(text: str) -> int:
    """A number as notes write it. Raises ``NotANote``."""
    if not _NUMBER.fullmatch(text):
        raise NotANote("a number in it is none")
    return int(text)


def read_digest(text: str) -> bytes:
    """A hash as notes write it. Raises ``NotANote``."""
    digest = _bytes(text)
    if len(digest) != 32:
        raise NotANote("a hash in it has not 32 bytes")
    return digest


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotANote("what should be base64 in it is not") from None


def written(content: bytes) -> str:
    """Bytes as notes write them."""
    return base64.b64encode(content).decode()
