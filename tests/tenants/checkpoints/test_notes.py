"""The bytes of a statement: as they are documented, with one reading each."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tenants.audit.chain import Head
from tenants.audit.notes import (
    NotANote,
    Statement,
    is_signed_by,
    join_notes,
    key_id,
    read_statement,
    sign,
    signer_of,
    split_notes,
    verifier_key,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
NAME = "mcp.example.com/marina-log"
SAID = Statement(
    f"{NAME}/demo", Head(67, bytes(range(32))), 3, "checkpoint", 12, 1_795_218_297_548_292, bytes(32)
)


def test_a_note_has_the_lines_that_are_documented_and_a_signature_of_its_text() -> None:
    note = sign(SAID.text(), NAME, KEY)
    text, blank, signature = note.decode().rpartition("\n\n")
    assert blank
    assert text.split("\n") == [
        "mcp.example.com/marina-log/demo",
        "67",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "tenant 3",
        "checkpoint 12",
        "time 1795218297548292",
        "previous AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ]
    dash, name, value = signature.rstrip("\n").split(" ")
    assert (dash, name) == ("\u2014", NAME)
    raw = base64.b64decode(value)
    assert raw[:4] == hashlib.sha256(NAME.encode() + b"\n\x01" + PUBLIC).digest()[:4] == key_id(NAME, PUBLIC)
    KEY.public_key().verify(raw[4:], (text + "\n").encode())
    assert verifier_key(NAME, PUBLIC).startswith(f"{NAME}+{raw[:4].hex()}+")


def test_what_is_written_is_read_again() -> None:
    assert read_statement(sign(SAID.text(), NAME, KEY)) == SAID


@pytest.mark.parametrize("size", [0, 1, 2**63 - 1])
@pytest.mark.parametrize("root", [bytes(32), b"\xff" * 32, b"\n" * 32])
def test_any_statement_is_read_again(size: int, root: bytes) -> None:
    said = Statement(SAID.origin, Head(size, root), size, "still", size or 1, size, root)
    assert read_statement(sign(said.text(), NAME, KEY)) == said


def test_a_note_that_was_changed_is_signed_by_nobody() -> None:
    note = sign(SAID.text(), NAME, KEY)
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert is_signed_by(note, PUBLIC)
    assert signer_of(note, [other, PUBLIC]) == PUBLIC
    assert signer_of(note, [other]) is None
    changed = (b"\n67\n", b"\n66\n"), (b"checkpoint 12", b"checkpoint 13"), (b"/demo", b"/mode")
    for was, becomes in changed:
        assert was in note
        assert signer_of(note.replace(was, becomes), [PUBLIC]) is None
    assert signer_of(note.replace(NAME.encode() + b" ", b"other/marina-log "), [PUBLIC]) is None


def test_two_keys_sign_one_text() -> None:
    other = Ed25519PrivateKey.generate()
    note = sign(b"some text\n", NAME, KEY, other)
    assert is_signed_by(note, PUBLIC)
    assert is_signed_by(note, other.public_key().public_bytes_raw())


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"\n67\n", b"\n067\n"),
        (b"\n67\n", b"\n+67\n"),
        (b"\n67\n", "\n\u0666\u0667\n".encode()),
        (b"tenant 3", b"tenant  3"),
        (b"checkpoint 12", b"checkpoint 0"),
        (b"checkpoint", b"checkpoints"),
        (b"previous A", b"previous "),
        (b"time", b"at"),
        (b"AAECAw", b"AAEC_w"),
        (b"h8=\n", b"h9=\n"),
        (b"tenant 3\n", b"tenant 3\nmore\n"),
        ("\u2014 ".encode(), b"- "),
        (b"\n\n", b"\n"),
    ],
)
def test_what_is_written_otherwise_says_nothing(was: bytes, becomes: bytes) -> None:
    note = sign(SAID.text(), NAME, KEY)
    assert was in note
    with pytest.raises(NotANote):
        read_statement(note.replace(was, becomes, 1))


def test_a_file_of_notes_gives_each_as_it_was() -> None:
    notes = [sign(SAID.text().replace(b"12", b"%d" % number), NAME, KEY) for number in range(1, 4)]
    assert split_notes(join_notes(notes)) == notes
    assert split_notes(notes[0]) == notes[:1]
    assert split_notes(b"") == []
    with pytest.raises(NotANote):
        split_notes(join_notes(notes) + SAID.text())


def test_the_note_in_the_guide_is_signed_by_the_key_in_the_guide() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "log.md").read_text(encoding="utf-8")
    found = re.search(r"^```\n(mcp\.example\.com/marina-log/demo\n.*?\n)```$", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    note = found[1].encode()
    assert read_statement(note).number == 12
    listed = re.search(r'"key_id": "(\w+)",\s+"public_key": "([^"]+)",\s+"vkey": "([^"]+)"', page)
    assert listed is not None
    public = base64.b64decode(listed[2])
    assert is_signed_by(note, public)
    assert (key_id(NAME, public).hex(), verifier_key(NAME, public)) == (listed[1], listed[3])
