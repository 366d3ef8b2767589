"""Exports without data: both verifiers hold them to their place and their hashes, and say what they could not check."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.notes import join_notes
from tenants.audit.records import Entry
from tenants.exports.making import make_export
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.exports import download_export, start_export
from tenants.services.log_keys import public_keys
from tests.tenants.audit.places import make_place
from tests.tenants.checkpoints.logs import notes_of, sign_off, write
from tests.tenants.checkpoints.programs import PROGRAMS, verify

CALLS = (3, 4, 7)
"""Numbers of the records that have data; there are eight, and a checkpoint after 4 and after 8."""


@pytest.fixture(scope="module")
def files(database: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An export without data, one with, the checkpoints and the keys."""
    place = make_place()
    for seq in range(1, 9):
        if seq in CALLS:
            entry = Entry("tools/call", "ok", "key:a", tool="look", arguments={"city": "Frankfurt"})
            with tenant_scope(place.tenant_id):
                assert append_entry(entry, tenant_id=place.tenant_id) == seq
        else:
            write(place)
        if seq in (4, 8):
            assert sign_off(place) is not None
    folder = tmp_path_factory.mktemp("auditor")
    caller = Caller(place.tenant_id, place.slug, actor="user:admin@example.com", role=Role.ADMIN)
    found = {}
    for name, payloads in (("bare", False), ("whole", True)):
        export = start_export(payloads=payloads, caller=caller)
        assert make_export(place.tenant_id, export.id)
        # The first export's record came behind the eight.
        lines = download_export(export.id, caller=caller).path.read_bytes().splitlines(keepends=True)[:8]
        found[name] = folder / f"{name}.jsonl"
        found[name].write_bytes(b"".join(lines))
    found["notes"], found["keys"] = folder / "log.notes", folder / "keys.json"
    found["notes"].write_bytes(join_notes(notes_of(place)))
    found["keys"].write_text(json.dumps({"keys": public_keys()}))
    assert base64.b64decode(public_keys()[0]["public_key"])
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_accepted_when_said_so_and_what_was_not_checked_is_told(
    program: str, files: dict[str, Path]
) -> None:
    held = ("--checkpoints", files["notes"], "--keys", files["keys"])
    code, said = verify(program, files["bare"], *held, "--metadata")
    assert code == 0, said
    # Record 8 leads to the second checkpoint; before it stands 7, through which nothing leads.
    if program == "python":
        assert "1 of the 8 records stand at a checkpoint, or lead to one without a gap. 7 are" in said
        assert "3 records are here without their data. What they say could not be checked" in said
    else:
        assert "vouched for by no checkpoint: 7 of 8 records; they could have been made up" in said
        assert "without their data: 3 records" in said
    assert verify(program, files["whole"], *held, "--metadata")[0] == 0
    assert "without their data" not in verify(program, files["whole"], *held)[1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_whole_export_hides_nothing_unnoticed(program: str, files: dict[str, Path]) -> None:
    code, said = verify(program, files["bare"], "--checkpoints", files["notes"], "--keys", files["keys"])
    assert code == 1
    words = {"python": "Record 3 is without its data", "typescript": "record 3 lacks its data"}
    assert words[program] in said


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("seq", [3, 4, 7])
@pytest.mark.parametrize("member", ["prev", "hash", "at_us", "seq"])
def test_its_place_and_its_hashes_hold(
    member: str, seq: int, program: str, files: dict[str, Path], tmp_path: Path
) -> None:
    lines = files["bare"].read_bytes().splitlines(keepends=True)
    line = json.loads(lines[seq - 1])
    wrong = "ab" * 32 if member in ("prev", "hash") else line[member] + 2
    old, new = (f'"{member}":{json.dumps(value)},'.encode() for value in (line[member], wrong))
    assert lines[seq - 1].count(old) == 1
    lines[seq - 1] = lines[seq - 1].replace(old, new)
    forged = tmp_path / "forged.jsonl"
    forged.write_bytes(b"".join(lines))
    held = ("--checkpoints", files["notes"], "--keys", files["keys"])
    code, said = verify(program, forged, *held, "--metadata")
    assert code == 1, said


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_line_without_data_says_could_be_made_up_and_no_program_claims_otherwise(
    program: str, files: dict[str, Path], tmp_path: Path
) -> None:
    forged = tmp_path / "forged.jsonl"
    forged.write_bytes(files["bare"].read_bytes().replace(b'"tool":"look"', b'"tool":"hook"'))
    held = ("--checkpoints", files["notes"], "--keys", files["keys"])
    assert (
        verify(program, forged, *held, "--metadata")[1]
        == verify(program, files["bare"], *held, "--metadata")[1]
    )
    # A whole record says so at once.
    forged.write_bytes(files["whole"].read_bytes().replace(b'"tool":"look"', b'"tool":"hook"'))
    assert verify(program, forged, *held, "--metadata")[0] == 1
