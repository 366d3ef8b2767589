"""Makes one export: claims it, writes its file part by part, converts it where it is to be converted, finishes it.

The bytes of the file depend on what was asked for and on where the log ended when the export was claimed first, on
nothing else: not on how often the work was begun anew, nor on which worker did it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Final
from uuid import UUID

from core.databaseaway import DATABASE_AWAY
from tenants.audit.chain import EMPTY, Head
from tenants.exportfiles import folder_of, home, manifest_of, remove_files, sync_folder
from tenants.exports.claiming import Claim, LeaseLost, Pulse, claim_export, finish, note_part
from tenants.exports.converting import ConversionFailed, convert
from tenants.exports.formats import FORMATS, Format
from tenants.exports.manifest import write_manifest
from tenants.exports.reading import Row, read_rows
from tenants.exports.spool import MAX_GAPS, Spool, Tally
from tenants.models import AuditExport
from tenants.scoping import tenant_scope

PART_RECORDS: Final = 50_000
PART_BYTES: Final = 16 * 1024 * 1024
"""A part of the file is made durable after so many records were looked at, or so many bytes were written."""

FIRST_WINDOW: Final = 2_000
MAX_WINDOW: Final = 20_000
"""How much of the log one transaction looks at. How much that is depends on how long it takes."""

_SLOW_SECONDS: Final = 0.4
_QUICK_SECONDS: Final = 0.1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """A finished file: where it is, and what is in it."""

    path: Path
    size: int
    sha256: str
    tally: Tally


def make_export(tenant_id: int, export_id: UUID) -> bool:
    """Claim and make one export. False when there was nothing to claim, or it was another's or nobody's in the end.

    Safe to call at any time and any number of times; an id of another tenant is an unknown one.
    """
    claim = claim_export(tenant_id, export_id)
    if claim is None:
        return False
    try:
        written = write_file(claim)
        write_manifest(claim, written.path, written.size, written.sha256, written.tally)
    except LeaseLost:
        _leave(claim)
        return False
    except DATABASE_AWAY:
        # The database is away: the lease runs out, and whoever comes next goes on from the last part.
        _log.warning("export left: the database is away", extra={"export_id": str(export_id)})
        return False
    except (OSError, ConversionFailed) as error:
        return _give_up(claim, error)
    if not finish(
        claim,
        status=AuditExport.Status.DONE,
        looked_at=max(0, claim.last - claim.first + 1),
        records=written.tally.records,
        size=written.size,
        sha256=written.sha256,
        path=str(written.path.relative_to(home())),
        error="",
    ):
        _leave(claim)
        return False
    _tidy(claim, written.path)
    return True


def write_file(claim: Claim) -> Written:
    """Write the claimed export's file, durably. Raises ``LeaseLost``, ``OSError`` and ``ConversionFailed``."""
    form = FORMATS[claim.format]
    pulse = Pulse(claim)
    with Spool(claim.tenant_id, claim.export_id, claim.fence) as spool:
        tally = _fill(claim, form, spool, pulse)
        size, sha256 = spool.size, spool.sha256
    target = spool.path.with_suffix(f".{form.name}")
    if form.converted:
        # The spool stays until the row is done: who takes over only converts it anew.
        size, sha256 = convert(spool.path, target, pulse.beat)
    else:
        spool.path.replace(target)
    sync_folder(target.parent)
    return Written(target, size, sha256, tally)


def _fill(claim: Claim, form: Format, spool: Spool, pulse: Pulse) -> Tally:
    mark = spool.resume(form.head, "" if form.converted else f".{form.name}", pulse.beat)
    if mark is None:
        spool.write(form.head)
        mark = spool.close_part(claim.first, Tally())
    tally, position, started = mark.tally, mark.position, spool.size
    part_end = position + PART_RECORDS
    width = FIRST_WINDOW
    while position <= claim.last:
        window = range(position, min(position + width, part_end, claim.last + 1))
        begun = monotonic()
        # A transaction a window: no snapshot stays open all along the export.
        with tenant_scope(claim.tenant_id):
            before = Head(tally.last, bytes.fromhex(tally.last_hash)) if tally.records else EMPTY
            for rows in read_rows(claim, window, before):
                spool.write(form.lines(rows, claim.tenant_id))
                tally = _count(tally, rows, claim)
        position = window.stop
        took = monotonic() - begun
        width = (
            max(min(100, MAX_WINDOW), width // 2)
            if took > _SLOW_SECONDS
            else min(MAX_WINDOW, width * 2)
            if took < _QUICK_SECONDS
            else width
        )
        pulse.beat(looked_at=position - claim.first, records=tally.records, size=spool.size)
        if position >= part_end or spool.size - started >= PART_BYTES:
            spool.close_part(position, tally)
            note_part(claim)
            part_end, started = position + PART_RECORDS, spool.size
    tally = _end(tally, claim)
    spool.close_part(position, tally)
    return tally


def _count(tally: Tally, rows: list[Row], claim: Claim) -> Tally:
    first, last = rows[0], rows[-1]
    expected = tally.last + 1 if tally.records else claim.first
    whole = first.seq == expected and last.seq - first.seq + 1 == len(rows)
    if not whole and claim.whole:
        for row in rows:
            if row.seq != expected:
                tally = _with_gap(tally, expected, row.seq - 1)
            expected = row.seq + 1
    return replace(
        tally,
        records=tally.records + len(rows),
        first=tally.first or first.seq,
        first_prev=tally.first_prev if tally.first else first.prev.hex(),
        last=last.seq,
        last_hash=last.hash.hex(),
    )


def _end(tally: Tally, claim: Claim) -> Tally:
    """The tally at the end, where records may be missing too."""
    reached = tally.last if tally.records else claim.first - 1
    if reached < claim.last and claim.whole:
        return _with_gap(tally, reached + 1, claim.last)
    return tally


def _with_gap(tally: Tally, first: int, last: int) -> Tally:
    if tally.gaps and tally.gaps[-1] == (first, last):
        return tally  # counted before the worker ended that came so far
    if len(tally.gaps) >= MAX_GAPS:
        return replace(tally, more_gaps=tally.more_gaps + 1)
    return replace(tally, gaps=(*tally.gaps, (first, last)))


def _give_up(claim: Claim, error: OSError | ConversionFailed) -> bool:
    words = (
        "The file could not be written on the server: an operator should check the space and the rights of Marina's "
        "state folder. Then start the export again."
        if isinstance(error, OSError)
        else "The records could not be made into this format. Start an export in another format, and tell an operator."
    )
    ended = finish(claim, status=AuditExport.Status.FAILED, error=words)
    if ended:  # or it was cancelled, and its file deleted, which is no fault
        _log.error(
            "export not written",
            extra={"export_id": str(claim.export_id), "errno": getattr(error, "errno", None)},
        )
    _leave(claim)
    return ended


def _leave(claim: Claim) -> None:
    """Delete what this claim wrote, and of an export that is over all else."""
    with tenant_scope(claim.tenant_id):
        row = AuditExport.objects.filter(id=claim.export_id).values_list("status", "path").first()
    try:
        if row is None or row[0] in (AuditExport.Status.CANCELLED, AuditExport.Status.FAILED):
            remove_files(claim.tenant_id, claim.export_id)
        else:
            for path in folder_of(claim.tenant_id).glob(f"{claim.export_id}.{claim.fence}.*"):
                path.unlink(missing_ok=True)
    except OSError as fault:
        _log.warning(
            "files of an export left behind",
            extra={"export_id": str(claim.export_id), "errno": fault.errno},
        )


def _tidy(claim: Claim, path: Path) -> None:
    try:
        remove_files(claim.tenant_id, claim.export_id, keep=(path, manifest_of(path)))
    except OSError as fault:
        _log.warning(
            "files of an export left behind",
            extra={"export_id": str(claim.export_id), "errno": fault.errno},
        )
