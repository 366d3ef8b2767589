"""The manifest of an export holds what the verifiers take: the notes about its records, and the keys that signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenants.access import Caller
from tenants.exports import making
from tenants.exports.claiming import Claim
from tenants.exports.making import make_export
from tenants.exports.manifest import write_manifest
from tenants.roles import Role
from tenants.services.exports import download_export, open_manifest, start_export
from tests.tenants.checkpoints.logs import notes_of, sign_off, signed_log, write
from tests.tenants.checkpoints.programs import PROGRAMS, verify


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_export_and_its_manifest_are_verified_together(program: str, tmp_path: Path) -> None:
    place = signed_log(3, 2)
    caller = Caller(place.tenant_id, place.slug, actor="user:auditor@example.com", role=Role.AUDITOR)
    export = start_export("jsonl", caller=caller)
    # That the export was asked for is a record, too.
    sign_off(place)
    assert make_export(place.tenant_id, export.id)
    manifest = json.loads(open_manifest(export.id, caller=caller).read_bytes())
    assert manifest["checkpoints"] == [note.decode() for note in notes_of(place)]
    (tmp_path / "log.notes").write_text("".join(f"{note}\n" for note in manifest["checkpoints"]))
    (tmp_path / "keys.json").write_text(json.dumps({"keys": manifest["public_keys"]}))
    checked = ("--checkpoints", tmp_path / "log.notes", "--keys", tmp_path / "keys.json")
    content = download_export(export.id, caller=caller).path
    code, said = verify(program, content, *checked)
    assert code == 0, said
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(content.read_bytes().splitlines(keepends=True)[:-1]))
    code, said = verify(program, cut, *checked)
    assert code == 1, said


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_export_fits_its_manifest_though_the_log_went_on_meanwhile(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = signed_log(3, 2)

    def go_on(claim: Claim, *written: Any) -> None:
        write(place)
        assert sign_off(place) is not None
        write_manifest(claim, *written)

    monkeypatch.setattr(making, "write_manifest", go_on)
    caller = Caller(place.tenant_id, place.slug, actor="user:auditor@example.com", role=Role.AUDITOR)
    export = start_export("jsonl", caller=caller)
    assert make_export(place.tenant_id, export.id)
    manifest = json.loads(open_manifest(export.id, caller=caller).read_bytes())
    (tmp_path / "log.notes").write_text("".join(f"{note}\n" for note in manifest["checkpoints"]))
    (tmp_path / "keys.json").write_text(json.dumps({"keys": manifest["public_keys"]}))
    content = download_export(export.id, caller=caller).path
    assert manifest["records"]["last_seq"] == 6
    assert len(notes_of(place)) == 3
    code, said = verify(
        program, content, "--checkpoints", tmp_path / "log.notes", "--keys", tmp_path / "keys.json"
    )
    assert code == 0, said
    assert "1 of 6" in said, "the last one is vouched for by a checkpoint that is not in the manifest"
