"""What the two verifiers believe, what they say that nobody vouches for, and whose log it is."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tenants.audit.notes import join_notes, key_name, sign
from tenants.services.log_keys import base_host
from tests.tenants.checkpoints.forging import Evidence, chained, collect, save, signed_anew
from tests.tenants.checkpoints.programs import PROGRAMS, verify


@pytest.fixture(scope="module")
def evidence(database: None) -> Evidence:
    return collect()


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("number", ["0", "-5", "0.5", "NaN", "true", "[1]", '"1"', "null", "9" * 5000, "2"])
def test_a_key_that_nobody_vouches_for_is_not_believed(
    program: str, number: str, evidence: Evidence, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    forged = replace(evidence, records=chained([evidence.records[0].edited(), *evidence.records[1:]]))
    export, notes, keys = save(
        replace(forged, notes=signed_anew(evidence.notes, forged.records, key)), tmp_path
    )
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    text = f"{key_name(base_host())}\nkey {number}\n{public}\ntime 1\n"
    entry = {
        "number": "?",
        "public_key": public,
        "statement": sign(text.encode(), key_name(base_host()), key).decode(),
    }
    listed = json.dumps({"keys": [*json.loads(keys.read_text())["keys"], entry]}).replace('"?"', number)
    added = tmp_path / "added.json"
    added.write_text(listed)
    code, said = verify(program, export, "--checkpoints", notes, "--keys", keys, "--keys", added)
    assert code == (1 if number == "2" else 2), said


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_cannot_be_read(
    program: str, length: int, evidence: Evidence, tmp_path: Path
) -> None:
    export, notes, keys = save(evidence, tmp_path)
    listed = json.loads(keys.read_text())
    listed["keys"][0]["public_key"] = base64.b64encode(bytes(length)).decode()
    keys.write_text(json.dumps(listed))
    assert verify(program, export, "--checkpoints", notes, "--keys", keys)[0] == 2


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("line", [1, 3, 4, 5])
def test_a_number_of_5000_digits_in_a_note_cannot_be_read(
    program: str, line: int, evidence: Evidence, tmp_path: Path
) -> None:
    export, notes, keys = save(evidence, tmp_path)
    lines = evidence.notes[0].split(b"\n")
    word, blank, _ = lines[line].rpartition(b" ")
    lines[line] = word + blank + b"9" * 5000
    notes.write_bytes(b"\n".join(lines))
    assert verify(program, export, "--checkpoints", notes, "--keys", keys)[0] == 2


@pytest.mark.parametrize("program", PROGRAMS)
def test_records_behind_the_last_checkpoint_are_said_to_be_vouched_for_by_none(
    program: str, evidence: Evidence, tmp_path: Path
) -> None:
    forged = (*evidence.records[4:8], *chained([evidence.records[8].edited(), *evidence.records[9:11]]))
    export, notes, keys = save(replace(evidence, records=forged), tmp_path)
    held = ("--checkpoints", notes, "--keys", keys)
    code, said = verify(program, export, *held, "--range")
    assert code == 0, said
    assert {
        "python": "Records 9 to 11 are vouched for by no checkpoint (3 of 7).",
        "typescript": "vouched for by no checkpoint: records 9 to 11, 3 of 7",
    }[program] in said.splitlines()
    assert said.splitlines()[1].startswith("2 of 4 "), "those about records 4 and 8"
    code, said = verify(program, export, "--range")
    assert code == 0
    assert "7 of 7" in said
    export, *_ = save(evidence, tmp_path)
    code, said = verify(program, export, *held)
    assert code == 0
    assert "by no checkpoint" not in said
    assert "very record" in said


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_filters_leave_is_said_to_be_vouched_for_by_none(
    program: str, evidence: Evidence, tmp_path: Path
) -> None:
    records = evidence.records
    # 3 and 4 lead to checkpoint 1. 9 only names record 8 as the one before it, as anybody could; 6 and 11 are forged.
    kept = (
        *records[2:4],
        *chained([records[5].edited()]),
        *chained([records[8].edited()]),
        *chained([records[10].edited()]),
    )
    export, notes, keys = save(replace(evidence, records=kept), tmp_path)
    code, said = verify(program, export, "--checkpoints", notes, "--keys", keys, "--filtered")
    assert code == 0, said
    assert "could have been made up" in said
    assert {
        "python": "2 of the 5 records stand at a checkpoint, or lead to one without a gap. 3 are vouched for by no "
        "checkpoint: they could have been made up.",
        "typescript": "vouched for by no checkpoint: 3 of 5 records; they could have been made up. At a checkpoint, or "
        "leading to one: 2",
    }[program] in said.splitlines()


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_said_whose_log_it_is(program: str, evidence: Evidence, tmp_path: Path) -> None:
    other = collect()
    export, notes, keys = save(evidence, tmp_path)
    notes.write_bytes(join_notes([*evidence.notes, *other.notes]))
    held = ("--checkpoints", notes, "--keys", keys)
    for each, another in ((evidence, other), (other, evidence)):
        export, *_ = save(each, tmp_path)
        notes.write_bytes(join_notes([*evidence.notes, *other.notes]))
        code, said = verify(program, export, *held)
        assert code == 0, said
        assert f"/marina-log/{each.place.slug}" in said
        assert f"tenant {each.place.tenant_id}" in said
        assert another.place.slug not in said


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_empty_file_and_notes_of_several_logs_need_to_say_whose(
    program: str, evidence: Evidence, tmp_path: Path
) -> None:
    other = collect()
    export, notes, keys = save(replace(evidence, records=()), tmp_path)
    held = (export, "--checkpoints", notes, "--keys", keys)
    notes.write_bytes(join_notes([*evidence.notes, *other.notes]))
    code, said = verify(program, *held)
    assert (code, "whose" in said) == (2, True)
    notes.write_bytes(join_notes(evidence.notes))
    code, said = verify(program, *held, "--range")
    assert (code, evidence.place.slug in said) == (0, True)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("was", "becomes"), [(b'"at_us":', b'"at_us":0'), (b'"prev":"%s"', b'"prev":["%s"]')]
)
def test_a_record_is_written_in_one_way_only(
    program: str, was: bytes, becomes: bytes, evidence: Evidence, tmp_path: Path
) -> None:
    export, *_ = save(evidence, tmp_path)
    prev = bytes(32).hex().encode()
    content = export.read_bytes()
    changed = content.replace(was.replace(b"%s", prev), becomes.replace(b"%s", prev), 1)
    assert changed != content
    export.write_bytes(changed)
    code, said = verify(program, export)
    assert (code, "line 1 is " in said.lower()) == (1, True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_signature_is_written_in_one_way_only(program: str, evidence: Evidence, tmp_path: Path) -> None:
    export, notes, keys = save(evidence, tmp_path)
    note = evidence.notes[3]
    assert note.endswith(b"=\n")
    other = note[:-3] + bytes([note[-3] + 1]) + note[-2:]
    assert base64.b64decode(other.split()[-1]) == base64.b64decode(note.split()[-1])
    notes.write_bytes(join_notes([other]))
    assert verify(program, export, "--checkpoints", notes, "--keys", keys)[0] == 2
