"""Logs that were tampered with in every way: as an auditor's files, and in the database. With who says what of each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from tenants.access import Caller
from tenants.audit.chain import GENESIS, Head, link
from tenants.audit.notes import NOTHING_BEFORE, digest_of, join_notes, key_name, read_statement, sign
from tenants.audit.records import to_microseconds
from tenants.exports.making import make_export
from tenants.models import AuditRecord
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.exports import download_export, start_export
from tenants.services.log_keys import base_host, open_keys, public_keys
from tests.tenants.audit.places import Place
from tests.tenants.checkpoints.logs import notes_of, sign_off, signed_log, tamper, write


@dataclass(frozen=True)
class Record:
    """A line of an export."""

    seq: int
    at: bytes
    at_us: int
    tenant_id: int
    prev: bytes
    hash: bytes
    body: bytes

    def line(self) -> bytes:
        return b'{"seq":%d,"at":"%s","at_us":%d,"tenant":%d,"prev":"%s","hash":"%s","record":%s}\n' % (
            self.seq,
            self.at,
            self.at_us,
            self.tenant_id,
            self.prev.hex().encode(),
            self.hash.hex().encode(),
            self.body,
        )

    def edited(self) -> Record:
        """With another client, which no search column repeats. Its hash stays."""
        return replace(self, body=re.sub(rb'"client":"[^"]*"', b'"client":"forged"', self.body, count=1))


@dataclass(frozen=True)
class Evidence:
    """What there is of one log: its records, the notes that are held against it, and its place."""

    place: Place
    records: tuple[Record, ...]
    notes: tuple[bytes, ...]
    exported: bytes


def collect() -> Evidence:
    """A log of 13 records, with a checkpoint after 4, 8, 12 and 13. ``exported`` is a real export of the first 9."""
    place = signed_log(4, 4)
    caller = Caller(place.tenant_id, place.slug, actor="user:auditor@example.com", role=Role.AUDITOR)
    export = start_export(caller=caller)
    assert make_export(place.tenant_id, export.id)
    exported = download_export(export.id, caller=caller).path.read_bytes()
    for count in (2, 1):
        write(place, count)
        assert sign_off(place) is not None
    return Evidence(place, _stored_records(place), tuple(notes_of(place)), exported)


def _stored_records(place: Place) -> tuple[Record, ...]:
    prev = GENESIS
    records = []
    with tenant_scope(place.tenant_id):
        rows = list(AuditRecord.objects.order_by("seq"))
    for row in rows:
        at = row.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        digest = bytes(row.hash)
        records.append(
            Record(row.seq, at, to_microseconds(row.at), place.tenant_id, prev, digest, bytes(row.body))
        )
        prev = digest
    return tuple(records)


def chained(records: Sequence[Record]) -> tuple[Record, ...]:
    """The same records, with all hashes computed anew from the first on."""
    prev = records[0].prev
    made = []
    for record in records:
        digest = link(prev, record.tenant_id, record.seq, record.at_us, record.body)
        made.append(replace(record, prev=prev, hash=digest))
        prev = digest
    return tuple(made)


def signed_anew(
    notes: Sequence[bytes], records: Sequence[Record], key: Ed25519PrivateKey
) -> tuple[bytes, ...]:
    """The same checkpoints about other records, signed by ``key``."""
    hashes = {0: GENESIS, **{record.seq: record.hash for record in records}}
    previous = NOTHING_BEFORE
    made = []
    for note in notes:
        said = read_statement(note)
        forged = replace(said, head=Head(said.head.seq, hashes[said.head.seq]), previous=previous)
        made.append(sign(forged.text(), key_name(base_host()), key))
        previous = digest_of(made[-1])
    return tuple(made)


# What is done to the records of an export


def _edit(it: Evidence) -> Evidence:
    return replace(it, records=(*it.records[:5], it.records[5].edited(), *it.records[6:]))


def _delete(it: Evidence) -> Evidence:
    return replace(it, records=(*it.records[:5], *it.records[6:]))


def _swap(it: Evidence) -> Evidence:
    return replace(it, records=(*it.records[:5], it.records[6], it.records[5], *it.records[7:]))


def _insert(it: Evidence) -> Evidence:
    before = it.records[5]
    forged = replace(before.edited(), seq=7, prev=before.hash)
    return replace(it, records=(*it.records[:6], *chained([forged]), *it.records[6:]))


def _cut(it: Evidence) -> Evidence:
    return replace(it, records=it.records[:10])


def _recompute(it: Evidence) -> Evidence:
    return replace(it, records=(*it.records[:5], *chained([it.records[5].edited(), *it.records[6:]])))


def _replace_all(it: Evidence) -> Evidence:
    return replace(it, records=chained([it.records[0].edited(), *it.records[1:]]))


def _resign(it: Evidence) -> Evidence:
    """With a key of the forger's own."""
    forged = _replace_all(it)
    return replace(forged, notes=signed_anew(it.notes, forged.records, Ed25519PrivateKey.generate()))


# What is done to the same log in the database

_OF_TENANT = " WHERE tenant_id = %s"


def _sql(*statements: str) -> Callable[[Evidence], None]:
    def run(it: Evidence) -> None:
        tamper(
            *(
                (statement + _OF_TENANT.replace("WHERE", "AND"), (it.place.tenant_id,))
                for statement in statements
            )
        )

    return run


_edit_stored = _sql(
    "UPDATE tenants_auditrecord SET body = replace(encode(body, 'escape'), '\"client\":\"\"', "
    '\'"client":"forged"\')::bytea WHERE seq = 6'
)
_delete_stored = _sql("DELETE FROM tenants_auditrecord WHERE seq = 6")
_swap_stored = _sql(
    "UPDATE tenants_auditrecord SET seq = -1 WHERE seq = 6",
    "UPDATE tenants_auditrecord SET seq = 6 WHERE seq = 7",
    "UPDATE tenants_auditrecord SET seq = 7 WHERE seq = -1",
)
_insert_stored = _sql(
    "UPDATE tenants_auditrecord SET seq = -seq - 1 WHERE seq > 6",
    "UPDATE tenants_auditrecord SET seq = -seq WHERE seq < 0",
    "INSERT INTO tenants_auditrecord (tenant_id, seq, at, kind, outcome, actor, credential_id, server, tool, "
    "request_id, duration_us, intent_seq, body, hash) SELECT tenant_id, 7, at, kind, outcome, actor, credential_id, "
    "server, tool, request_id, duration_us, intent_seq, body, hash FROM tenants_auditrecord WHERE seq = 6",
    "UPDATE tenants_audithead SET seq = seq + 1 WHERE true",
)


def _cut_stored(it: Evidence) -> None:
    tamper(
        ("DELETE FROM tenants_auditrecord WHERE seq > 10 AND tenant_id = %s", (it.place.tenant_id,)),
        (
            "UPDATE tenants_audithead SET seq = 10, hash = %s WHERE tenant_id = %s",
            (it.records[9].hash, it.place.tenant_id),
        ),
    )


def store_records(it: Evidence) -> None:
    """Put the bodies and hashes of these records into the database, as the records of their numbers."""
    tenant_id = it.place.tenant_id
    tamper(
        *(
            (
                "UPDATE tenants_auditrecord SET body = %s, hash = %s WHERE seq = %s AND tenant_id = %s",
                (record.body, record.hash, record.seq, tenant_id),
            )
            for record in it.records
        ),
        ("UPDATE tenants_audithead SET hash = %s WHERE tenant_id = %s", (it.records[-1].hash, tenant_id)),
    )


def store_notes(it: Evidence) -> None:
    """Put these checkpoints in the place of the stored ones."""
    tamper(
        *(
            (
                "UPDATE tenants_auditcheckpoint SET note = %s WHERE number = %s AND tenant_id = %s",
                (note, read_statement(note).number, it.place.tenant_id),
            )
            for note in it.notes
        )
    )


def _resign_stored(it: Evidence) -> None:
    forged = _resign(it)
    store_records(forged)
    store_notes(forged)


def _replace_stored(it: Evidence) -> None:
    """With the right key, by somebody who has the master key, too."""
    forged = _replace_all(it)
    store_records(forged)
    store_notes(replace(forged, notes=signed_anew(it.notes, forged.records, open_keys().signing)))


class Tampering(NamedTuple):
    """One way to tamper, and the beginning of what each program says of it. ``published``: ``verify_log`` gets the
    notes that were published, too."""

    name: str
    exported: Callable[[Evidence], Evidence]
    stored: Callable[[Evidence], None]
    python: str
    typescript: str
    verify_log: str
    published: bool = False


TAMPERINGS = (
    Tampering(
        "record 6 edited",
        _edit,
        _edit_stored,
        "Record 6 was changed: its hash does not fit what it says.",
        "record 6 was changed: it has another hash than it says",
        "record 6 was changed, or one before it was replaced",
    ),
    Tampering(
        "record 6 deleted",
        _delete,
        _delete_stored,
        "Record 6 is missing: record 7 follows record 5",
        "record 6 is missing: after record 5 comes 7",
        "record 6 is missing: record 7 follows record 5.",
    ),
    Tampering(
        "records 6 and 7 swapped",
        _swap,
        _swap_stored,
        "Record 6 is missing: record 7 follows record 5",
        "record 6 is missing: after record 5 comes 7",
        "record 6 was changed, or one before it was replaced",
    ),
    Tampering(
        "a record inserted after record 6",
        _insert,
        _insert_stored,
        "Record 7 stands after record 7: it was moved, or stands there twice.",
        "record 7 comes after record 7: out of order",
        "record 7 was changed, or one before it was replaced",
    ),
    Tampering(
        "records 11 to 13 cut off, and the head moved to 10",
        _cut,
        _cut_stored,
        "The file ends at record 10, and checkpoint 4",
        "the end is cut off: the last record here is 10, and checkpoint 4",
        "The log ends at record 10, and checkpoint 3",
    ),
    Tampering(
        "record 6 edited, and every hash from there on computed anew",
        _recompute,
        lambda it: store_records(_recompute(it)),
        "Record 8 has another hash than checkpoint 2",
        "the hash of record 8 is not the one that checkpoint 2",
        "Record 8 has another hash than checkpoint 2",
    ),
    Tampering(
        "all of it computed anew, and every checkpoint signed anew with another key",
        _resign,
        _resign_stored,
        "Checkpoint 1",
        "no key that was given signed checkpoint 1",
        "Checkpoint 1 was changed, or is signed by none of this installation's keys.",
    ),
    Tampering(
        "all of it computed anew, and every checkpoint signed anew with the installation's own key",
        _replace_all,
        _replace_stored,
        "Record 4 has another hash than checkpoint 1",
        "the hash of record 4 is not the one that checkpoint 1",
        "Record 4 has another hash than published checkpoint 1",
        published=True,
    ),
)


def save(it: Evidence, folder: Path) -> tuple[Path, Path, Path]:
    """The files of an auditor: the export, the notes, and the keys as they are published."""
    export, notes, keys = folder / "export.jsonl", folder / f"{it.place.slug}.notes", folder / "keys.json"
    export.write_bytes(b"".join(record.line() for record in it.records))
    notes.write_bytes(join_notes(it.notes))
    keys.write_text(json.dumps({"keys": public_keys()}))
    return export, notes, keys


def count_stored(it: Evidence) -> int:
    """Records of a log, whoever asks."""
    with psycopg.connect(settings.ENV.database_url) as superuser:
        row = superuser.execute(
            "SELECT count(*) FROM tenants_auditrecord WHERE tenant_id = %s", [it.place.tenant_id]
        ).fetchone()
    assert row is not None
    return int(row[0])
