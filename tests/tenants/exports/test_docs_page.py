"""The program of docs/exports.md tells an export in which nothing is missing from one in which something is."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tenants.access import Caller
from tenants.audit.records import to_datetime
from tenants.exports.making import make_export
from tenants.roles import Role
from tenants.services.exports import download_export, open_manifest, start_export
from tests.plugins.own_cluster import ROOT
from tests.tenants.audit.places import make_place
from tests.tenants.exports.filling import START, fill_log

PROGRAM, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "exports.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def caller(database: None) -> Caller:
    place = make_place()
    fill_log(place.tenant_id, 40)
    return Caller(place.tenant_id, place.slug, actor="user:auditor@example.com", role=Role.AUDITOR)


def judged(content: bytes, manifest: Path, folder: Path) -> str:
    (folder / "check.py").write_text(PROGRAM)
    (folder / "export.jsonl").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-I", str(folder / "check.py"), str(folder / "export.jsonl"), str(manifest)],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    return (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.mark.parametrize("whole", [True, False], ids=["the whole log", "a range"])
def test_it_says_what_is_so(caller: Caller, whole: bool, tmp_path: Path) -> None:
    begin, end = (None, None) if whole else (to_datetime(START), to_datetime(START) + timedelta(seconds=30))
    export = start_export("jsonl", begin, end, caller=caller)
    assert make_export(caller.tenant_id, export.id)
    content = download_export(export.id, caller=caller).path.read_bytes()
    manifest = open_manifest(export.id, caller=caller)
    assert judged(content, manifest, tmp_path).startswith("nothing is missing from 1 to ")
    lines = content.splitlines(keepends=True)
    for without in (0, 10, len(lines) - 1):
        harmed = b"".join(line for number, line in enumerate(lines) if number != without)
        assert judged(harmed, manifest, tmp_path) == "AssertionError: records are missing"
    changed = re.sub(rb'"hash":"[0-9a-f]{8}([^\n]*\n)$', rb'"hash":"00000000\1', content)
    assert judged(changed, manifest, tmp_path) == "AssertionError: it is another file"
