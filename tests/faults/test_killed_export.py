"""An export whose worker is killed three times has the digest of an undisturbed one; both verifiers accept it alone.

``MARINA_FAULT_RECORDS`` is how many records it has.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from django.utils import timezone

from tenants.access import Caller
from tenants.audit.records import to_datetime
from tenants.exportfiles import files_of
from tenants.models import AuditExport
from tenants.roles import AUDITOR_WITH_PAYLOADS, Role
from tenants.scoping import tenant_scope
from tenants.services.exports import download_export, get_export, start_export
from tests.plugins.own_cluster import ROOT
from tests.tenants.audit.places import Place, make_place
from tests.tenants.checkpoints.forging import TAMPERINGS, Evidence, Record, save
from tests.tenants.checkpoints.logs import notes_of, sign_off
from tests.tenants.checkpoints.programs import PROGRAMS, verify
from tests.tenants.exports.filling import SECOND, START, fill_log

RECORDS: Final = int(os.environ.get("MARINA_FAULT_RECORDS") or 60_000)
"""More than one part, so that there is something to take over."""

KILLED_AT: Final = (0.25, 0.55, 0.93)
"""How much of the file there is then."""

VERIFY_SECONDS: Final = 60 + RECORDS / 5_000

_EXPORTING: Final = """
import sys, uuid, django
django.setup()
from tenants.exports.making import make_export
sys.exit(not make_export(int(sys.argv[1]), uuid.UUID(sys.argv[2])))
"""
_LINE: Final = re.compile(
    rb'\{"seq":(\d+),"at":"([^"]*)","at_us":(\d+),"tenant":(\d+),"prev":"([0-9a-f]*)","hash":"([0-9a-f]*)","record":'
    rb"(.*)\}\n"
)

pytestmark = pytest.mark.timeout(240 + RECORDS // 400)


@pytest.fixture(scope="module")
def place(database: None) -> Place:
    """A team with so many records, all of which checkpoints count."""
    made = make_place()
    fill_log(made.tenant_id, RECORDS)
    while signed_up_to(made) < RECORDS:
        assert sign_off(made) is not None
    return made


@pytest.fixture(scope="module")
def caller(place: Place) -> Caller:
    return Caller(
        place.tenant_id,
        place.slug,
        actor="user:auditor@example.com",
        role=Role.AUDITOR,
        actions=AUDITOR_WITH_PAYLOADS,
    )


@pytest.fixture(scope="module")
def exported(caller: Caller) -> AuditExport:
    """One that nobody disturbed."""
    export = start(caller)
    with exporting(export) as process:
        assert process.wait(VERIFY_SECONDS) == 0
    return get_export(export.id, caller=caller)


@pytest.fixture(scope="module")
def evidence(place: Place, caller: Caller, exported: AuditExport) -> Evidence:
    with download_export(exported.id, caller=caller).path.open("rb") as lines:
        records = tuple(record_of(line) for line in lines)
    return Evidence(place, records, tuple(notes_of(place)), b"")


def signed_up_to(place: Place) -> int:
    """How far checkpoints are."""
    found = notes_of(place)
    return int(found[-1].splitlines()[1]) if found else 0


def start(caller: Caller) -> AuditExport:
    return start_export("jsonl", None, to_datetime(START + RECORDS * SECOND), None, caller=caller)


def exporting(export: AuditExport) -> subprocess.Popen[bytes]:
    """A worker that makes it."""
    return subprocess.Popen(
        [sys.executable, "-c", _EXPORTING, str(export.tenant_id), str(export.id)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "platform")))},
    )


def record_of(line: bytes) -> Record:
    found = _LINE.fullmatch(line)
    assert found is not None
    seq, at, at_us, tenant_id, prev, digest, body = found.groups()
    link = bytes.fromhex(prev.decode()), bytes.fromhex(digest.decode())
    return Record(int(seq), at, int(at_us), int(tenant_id), *link, body)


def size_of(export: AuditExport) -> int:
    """How large the largest of its files is."""
    sizes = [0]
    for path in files_of(export.tenant_id, export.id):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            continue
    return max(sizes)


def test_killed_three_times_it_has_the_digest_of_an_undisturbed_one(
    caller: Caller, exported: AuditExport
) -> None:
    export = start(caller)
    for share in KILLED_AT:
        with exporting(export) as process:
            while size_of(export) < share * (exported.size or 0):
                assert process.poll() is None, "it came to its end instead"
                time.sleep(0.001)
            process.kill()
        with tenant_scope(caller.tenant_id):
            AuditExport.objects.filter(id=export.id).update(lease_until=timezone.now() - timedelta(seconds=1))
    with exporting(export) as process:
        assert process.wait(VERIFY_SECONDS) == 0
    done = get_export(export.id, caller=caller)
    assert (done.status, done.records, done.fence) == ("done", RECORDS, len(KILLED_AT) + 1)
    assert (done.sha256, done.size) == (exported.sha256, exported.size)
    print(f"{RECORDS} records, {done.size} bytes, sha256 {done.sha256}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_offline_it_is_accepted_and_each_tampered_copy_is_not(
    program: str, evidence: Evidence, tmp_path: Path
) -> None:
    export, notes, keys = save(evidence, tmp_path)
    held = ("--checkpoints", notes, "--keys", keys)
    code, said = verify(program, export, *held, seconds=VERIFY_SECONDS)
    assert code == 0, said
    print(said)
    for tampering in TAMPERINGS:
        forged = tampering.exported(evidence)
        export, notes, _ = save(forged, tmp_path)
        code, said = verify(program, export, *held, seconds=VERIFY_SECONDS)
        assert code == 1, (tampering.name, said)
        print(f"{tampering.name}: {said.splitlines()[0]}")
