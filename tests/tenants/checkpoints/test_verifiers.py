"""Both verifiers and ``verify_log`` accept a log that is whole, and say of every other what is wrong with it."""

from __future__ import annotations

import ast
import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from django.test import Client

from tenants.audit.notes import join_notes
from tenants.services.log_keys import open_keys, rotate_log_key
from tests.tenants.audit.places import make_place
from tests.tenants.checkpoints.forging import (
    TAMPERINGS,
    Evidence,
    Tampering,
    chained,
    collect,
    count_stored,
    save,
    signed_anew,
)
from tests.tenants.checkpoints.logs import notes_of, sign_off, state_of, write
from tests.tenants.checkpoints.programs import FOLDER, PROGRAMS, verify

ROOT = FOLDER.parents[1]


@pytest.fixture(scope="module")
def evidence(database: None) -> Evidence:
    return collect()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_whole_export_is_accepted(program: str, evidence: Evidence, tmp_path: Path) -> None:
    export, notes, keys = save(evidence, tmp_path)
    code, said = verify(program, export, "--checkpoints", notes, "--keys", keys)
    assert code == 0, said
    assert evidence.records[-1].hash.hex() in said
    assert "4" in said.splitlines()[1]
    code, said = verify(program, export)
    assert (code, "without checkpoints" in said or "No checkpoints" in said) == (0, True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_export_as_marina_makes_it_is_accepted(program: str, evidence: Evidence, tmp_path: Path) -> None:
    export, notes, keys = save(evidence, tmp_path)
    assert export.read_bytes().startswith(evidence.exported)
    export.write_bytes(evidence.exported)
    code, said = verify(program, export, "--checkpoints", notes, "--keys", keys, "--range")
    assert code == 0, said
    assert verify(program, export, "--checkpoints", notes, "--keys", keys)[0] == 1, "the log goes on"


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda tampering: tampering.name)
def test_every_tampering_is_said_of_an_export(
    tampering: Tampering, program: str, evidence: Evidence, tmp_path: Path
) -> None:
    export, notes, keys = save(tampering.exported(evidence), tmp_path)
    code, said = verify(program, export, "--checkpoints", notes, "--keys", keys)
    words = tampering.python if program == "python" else tampering.typescript
    assert (code, said.partition(": ")[2][: len(words)]) == (1, words)


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda tampering: tampering.name)
def test_every_tampering_is_said_of_the_stored_log(
    tampering: Tampering, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    it = collect()
    _, notes, _ = save(it, tmp_path)
    options = {"checkpoints": notes} if tampering.published else {}
    call_command("verify_log", it.place.slug, **options)
    assert "is whole: 13 records" in capsys.readouterr().out
    tampering.stored(it)
    with pytest.raises(CommandError) as refusal:
        call_command("verify_log", it.place.slug, **options)
    assert str(refusal.value).startswith(f"The log of {it.place.slug} is broken: {tampering.verify_log}")


def test_only_what_was_published_shows_a_log_signed_anew_with_the_right_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    it = collect()
    _, notes, _ = save(it, tmp_path)
    TAMPERINGS[-1].stored(it)
    call_command("verify_log", it.place.slug)
    assert "is whole: 13 records" in capsys.readouterr().out
    with pytest.raises(CommandError, match="is another one than the stored"):
        call_command("verify_log", it.place.slug, checkpoints=notes)
    assert count_stored(it) == 13


def test_the_guide_has_the_table_of_verdicts() -> None:
    page = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
    for each in TAMPERINGS:
        row = next((line for line in page.splitlines() if line.startswith(f"| {each.name} |")), "")
        for words in (each.python, each.typescript, each.verify_log):
            assert words.rstrip(".") in row, f"{each.name}: {words}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_range_and_a_filtered_export_are_accepted_when_said_so(
    program: str, evidence: Evidence, tmp_path: Path
) -> None:
    part = replace(evidence, records=evidence.records[4:10])
    export, notes, keys = save(part, tmp_path)
    held = ("--checkpoints", notes, "--keys", keys)
    assert verify(program, export, *held)[0] == 1
    assert verify(program, export, *held, "--range")[0] == 0
    gaps = replace(evidence, records=evidence.records[:10:3])
    export, notes, keys = save(gaps, tmp_path)
    assert verify(program, export, *held, "--range")[0] == 1
    code, said = verify(program, export, *held, "--filtered")
    assert code == 0
    assert "6" in said


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("position", [0, 4])
def test_a_range_whose_edge_was_computed_anew_is_held_against_the_checkpoint_beside_it(
    program: str, position: int, evidence: Evidence, tmp_path: Path
) -> None:
    records = evidence.records[4:10]
    forged = (*records[:position], *chained([records[position].edited(), *records[position + 1 :]]))
    export, notes, keys = save(replace(evidence, records=forged), tmp_path)
    code, _ = verify(program, export, "--checkpoints", notes, "--keys", keys, "--range")
    # After record 8 nothing in this range was signed: record 9 can only be held against what comes later.
    assert code == (1 if position == 0 else 0)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"at":"20', b'"at":"19'),
        (b'{"seq":1,', b'{"seq": 1,'),
        (b'"tenant":', b'"tenant":1'),
        (b'"record":{', b'"record":[{'),
        (b"}\n", b"}\r\n"),
        (b'"at_us":', b'"more":1,"at_us":'),
        (b'"prev":"00', b'"prev":"01'),
    ],
)
def test_what_is_not_covered_by_a_hash_cannot_be_changed_either(
    program: str, was: bytes, becomes: bytes, evidence: Evidence, tmp_path: Path
) -> None:
    export, *_ = save(evidence, tmp_path)
    content = export.read_bytes()
    assert was in content
    export.write_bytes(content.replace(was, becomes, 1))
    assert verify(program, export)[0] == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_checkpoints_that_contradict_each_other_are_not_believed(
    program: str, evidence: Evidence, tmp_path: Path
) -> None:
    forged = TAMPERINGS[-1].exported(evidence)
    others = signed_anew(evidence.notes, forged.records, open_keys().signing)
    export, notes, keys = save(evidence, tmp_path)
    held = ("--checkpoints", notes, "--keys", keys)
    notes.write_bytes(join_notes([*evidence.notes, others[1]]))
    assert verify(program, export, *held)[0] == 1
    notes.write_bytes(join_notes([evidence.notes[0], others[1]]))
    assert verify(program, export, *held)[0] == 1
    notes.write_bytes(join_notes([*evidence.notes, evidence.notes[1]]))
    assert verify(program, export, *held)[0] == 0, "the same note twice says nothing new"
    notes.write_bytes(join_notes([evidence.notes[0], evidence.notes[3]]))
    assert verify(program, export, *held)[0] == 0, "some are enough"
    notes.write_bytes(evidence.notes[0].replace(b"\n4\n", b"\n5\n"))
    assert verify(program, export, *held)[0] == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_stills_and_other_logs_notes_in_a_folder_are_taken_for_what_they_are(
    program: str, tmp_path: Path
) -> None:
    it, other = collect(), collect()
    still = sign_off(it.place)
    assert still is not None
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    export, notes, keys = save(it, tmp_path)
    (folder / "a.notes").write_bytes(join_notes([*it.notes, bytes(state_of(it.place).still)]))
    (folder / "deep" / "b.notes").write_bytes(join_notes(other.notes))
    (folder / "empty.notes").write_bytes(b"")
    code, said = verify(program, export, "--checkpoints", folder, "--keys", keys)
    assert code == 0, said
    assert "5 " in said.splitlines()[1]
    notes.write_bytes(join_notes(other.notes))
    assert verify(program, export, "--checkpoints", notes, "--keys", keys)[0] == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_new_key_counts_when_the_one_before_vouches_for_it(program: str, tmp_path: Path) -> None:
    it = collect()
    kept = tmp_path / "kept.json"
    save(it, tmp_path)[2].rename(kept)
    rotate_log_key()
    write(it.place)
    assert sign_off(it.place) is not None
    export, notes, keys = save(replace(it, notes=tuple(notes_of(it.place))), tmp_path)
    held = ("--checkpoints", notes, "--range")
    code, said = verify(program, export, *held, "--keys", kept, "--keys", keys)
    assert code == 0, said
    assert verify(program, export, *held, "--keys", kept)[0] == 1, "the new key is not in the old list"
    listed = json.loads(keys.read_text())
    forged = json.loads(keys.read_text())
    forged["keys"][-1]["public_key"] = listed["keys"][0]["public_key"]
    keys.write_text(json.dumps(forged))
    assert verify(program, export, *held, "--keys", keys)[0] == 1, "the statement is about another key"
    foreign = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    forged["keys"][0]["public_key"] = base64.b64encode(foreign).decode()
    keys.write_text(json.dumps(forged))
    assert verify(program, export, *held, "--keys", kept, "--keys", keys)[0] == 1, (
        "a kept list shows an exchange"
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_cannot_be_read_is_another_matter(program: str, evidence: Evidence, tmp_path: Path) -> None:
    export, notes, keys = save(evidence, tmp_path)
    torn, no_list, away = tmp_path / "torn.notes", tmp_path / "list.json", tmp_path / "away"
    torn.write_bytes(join_notes(evidence.notes) + b"half a note\n")
    no_list.write_text('{"keys": []}')
    for arguments in (
        (away,),
        (export, "--checkpoints", away, "--keys", keys),
        (export, "--checkpoints", torn, "--keys", keys),
        (export, "--checkpoints", notes),
        (export, "--checkpoints", notes, "--keys", no_list),
        (export, "--checkpoints", notes, "--keys", export),
        (export, "--sideways"),
        (),
    ):
        code, _ = verify(program, *arguments)
        assert code == 2, arguments


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_empty_export_is_whole_and_a_cut_off_one_is_not(
    program: str, evidence: Evidence, tmp_path: Path
) -> None:
    export, notes, keys = save(replace(evidence, records=()), tmp_path)
    assert verify(program, export)[0] == 0
    assert verify(program, export, "--checkpoints", notes, "--keys", keys)[0] == 1
    assert verify(program, export, "--checkpoints", notes, "--keys", keys, "--range")[0] == 0


def test_the_python_one_is_for_python_3_9() -> None:
    ast.parse((FOLDER / "verify_marina_log.py").read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("name", ["verify_marina_log.py", "verify_marina_log.ts"])
def test_anybody_can_download_them(name: str) -> None:
    answer = Client().get(f"/verifiers/{name}")
    assert answer.status_code == 200
    assert b"".join(answer) == (FOLDER / name).read_bytes()
    assert answer["Content-Type"].startswith("text/plain")
    assert name in answer["Content-Disposition"]
    assert Client().get("/verifiers/__init__.py").status_code == 404


def test_a_log_without_records_has_checkpoints_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    place = make_place()
    assert sign_off(place) is not None
    call_command("verify_log", place.slug)
    assert "is empty" in capsys.readouterr().out
