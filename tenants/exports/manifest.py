"""The manifest of an export: what its file holds and what it leaves out, in bytes that anybody can make anew.

It is canonical JSON (keys sorted, no white space, one line break at the end) and depends on the export alone, but for
the checkpoints that there are by then: a file that was begun anew has the same manifest. ``docs/exports.md`` says how
it proves that nothing is missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import orjson

from tenants.audit.lines import moment
from tenants.audit.removed import read_removed
from tenants.exportfiles import manifest_of, private, sync_folder
from tenants.exports.claiming import Claim
from tenants.exports.spool import Tally
from tenants.models import AuditTombstone
from tenants.scoping import tenant_scope
from tenants.services.checkpoints import covering
from tenants.services.log_keys import public_keys

VERSION: Final = "marina.export.v1"


def write_manifest(claim: Claim, path: Path, size: int, sha256: str, tally: Tally) -> None:
    """Write the manifest beside a finished file, durably. Raises ``OSError``."""
    document = orjson.dumps(describe(claim, size, sha256, tally), option=orjson.OPT_SORT_KEYS) + b"\n"
    with open(manifest_of(path), "wb", opener=private) as file:
        file.write(document)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def describe(claim: Claim, size: int, sha256: str, tally: Tally) -> dict[str, Any]:
    """What a manifest says."""
    period, filters = claim.period, claim.filters
    said: dict[str, Any] = {
        "manifest": VERSION,
        "export": str(claim.export_id),
        "tenant": {"id": claim.tenant_id, "slug": claim.tenant_slug},
        "asked_at": moment(claim.asked_at),
        "from": period.start and moment(period.start),
        "to": period.end and moment(period.end),
        "filters": filters.to_json(),
        "file": {"format": claim.format, "size": size, "sha256": sha256},
        "records": {
            "count": tally.records,
            "first_seq": tally.first or None,
            "last_seq": tally.last or None,
            "first_prev": tally.first_prev if tally.records else None,
            "last_hash": tally.last_hash if tally.records else None,
        },
        "range": {"first_seq": claim.first, "last_seq": claim.last} if claim.first <= claim.last else None,
        "head": {"seq": claim.head.seq, "hash": claim.head.hash.hex()},
        **proofs_of(claim.tenant_id, tally.first, tally.last),
    }
    removed, tombstones = _removed(claim.tenant_id)
    if tombstones:
        # What these say is not in the log any more: no export of today holds it.
        said["removed"] = {"last_seq": removed, "tombstones": tombstones}
    if not claim.payloads:
        said["payloads"] = "left out"
    if claim.whole:
        said["gaps"] = [[max(first, removed + 1), last] for first, last in tally.gaps if last > removed]
        if tally.more_gaps:
            said["more_gaps"] = tally.more_gaps
    else:
        between = tally.last - tally.first + 1 if tally.records else 0
        said["left_out"] = between - tally.records
    return said


def _removed(tenant_id: int) -> tuple[int, list[str]]:
    """The last record that was removed, and the tombstones that say so, oldest first."""
    with tenant_scope(tenant_id):
        notes = AuditTombstone.objects.order_by("number").values_list("note", flat=True)
        return read_removed().seq, [bytes(note).decode() for note in notes]


def proofs_of(tenant_id: int, first_seq: int, last_seq: int) -> dict[str, Any]:
    """What says who vouches for these records: the signed notes about the log around them, and the keys that signed.

    Of the moment at which the manifest is written: where no note reaches as far as the last record yet, one is to come.
    """
    with tenant_scope(tenant_id):
        notes = covering(first_seq, last_seq) if last_seq else []
    return {"checkpoints": notes, "public_keys": public_keys()}
