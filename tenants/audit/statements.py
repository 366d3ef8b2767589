"""The writer's SQL and its parameters in PostgreSQL's binary format. Pure: it sends nothing.

A batch goes as one array a column, unpacked by ``unnest``. (COPY would be as fast, but PostgreSQL refuses it on
tables under row-level security, and the writer's role stays under it.) The arrays are joined from cells that are
packed once, when a record is handed in; those that repeat (an actor, a tool's name) are kept ready. A record that is
alone goes in one statement without arrays, which saves about a fifth of the time until it is durable.

Source of the formats: PostgreSQL 18, ``src/backend/utils/adt``: ``array_recv``, ``timestamptz_recv``, ``int8recv``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final, TypeAlias

from tenants.audit.chain import Head
from tenants.audit.records import (
    ACTOR_CHARACTERS,
    KIND_CHARACTERS,
    OUTCOME_CHARACTERS,
    REQUEST_ID_CHARACTERS,
    SERVER_CHARACTERS,
    TOOL_CHARACTERS,
    Entry,
    column,
)

Command: TypeAlias = tuple[bytes, Sequence[bytes | None]]
"""A prepared statement's name and its parameters, binary; ``None`` is NULL."""

Cells: TypeAlias = tuple[bytes, ...]
"""One record's search columns as packed array elements, in the order of ``_CELL_TYPES``."""

BEGIN: Final[Command] = (b"begin", ())
COMMIT: Final[Command] = (b"commit", ())
ROLLBACK: Final[Command] = (b"rollback", ())

_LOCK = """
SELECT tenant_id, seq, hash FROM tenants_audithead
WHERE tenant_id = ANY($1::bigint[]) ORDER BY tenant_id FOR UPDATE"""

SQL: Final[dict[bytes, str]] = {
    b"begin": "BEGIN",
    b"commit": "COMMIT",
    b"rollback": "ROLLBACK",
    b"check": "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool",
    b"open": """
        INSERT INTO tenants_audithead (tenant_id, seq, hash) VALUES ($1::bigint, 0, $2::bytea)
        ON CONFLICT DO NOTHING""",
    # Always in the order of tenant ids, so that two writers never wait for each other in a circle.
    b"lock": _LOCK,
    b"lock_free": _LOCK + " SKIP LOCKED",
    # Moves the heads if they are what we believe, and divides by zero if one is not. (The session's planner
    # settings leave one plan, which takes them in the order given: that of tenant ids, again.)
    b"move": """
        WITH moved AS (
            UPDATE tenants_audithead AS h SET seq = e.seq, hash = e.hash
            FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[])
                AS e (tenant_id, seq_before, hash_before, seq, hash)
            WHERE h.tenant_id = e.tenant_id AND h.seq = e.seq_before AND h.hash = e.hash_before
            RETURNING 1
        )
        SELECT 1 / (count(*) = cardinality($1::bigint[]))::int FROM moved""",
    b"append": """
        INSERT INTO tenants_auditrecord (tenant_id, at, kind, outcome, actor, credential_id, server, tool,
            request_id, duration_us, intent_seq, body, seq, hash)
        SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::uuid[],
            $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bigint[],
            $14::bytea[])""",
    # Both in one, for a record that is alone.
    b"move_append": """
        WITH moved AS (
            UPDATE tenants_audithead SET seq = $13::bigint, hash = $14::bytea
            WHERE tenant_id = $1::bigint AND seq = $15::bigint AND hash = $16::bytea
            RETURNING 1
        )
        INSERT INTO tenants_auditrecord (tenant_id, at, kind, outcome, actor, credential_id, server, tool,
            request_id, duration_us, intent_seq, body, seq, hash)
        SELECT $1::bigint, $2::timestamptz, $3::text, $4::text, $5::text, $6::uuid, $7::text, $8::text,
            $9::text, $10::bigint, $11::bigint, $12::bytea, $13::bigint, $14::bytea
        WHERE 1 / (SELECT count(*) FROM moved) = 1""",
    b"advance": """
        UPDATE tenants_audithead AS h SET seq = e.seq, hash = e.hash
        FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS e (tenant_id, seq, hash)
        WHERE h.tenant_id = e.tenant_id""",
    b"find": """
        SELECT count(*) FROM tenants_auditrecord r
        JOIN unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS e (tenant_id, seq, hash)
        ON r.tenant_id = e.tenant_id AND r.seq = e.seq AND r.hash = e.hash""",
}
"""Every statement that the writer may run, by the name under which each session prepares it."""

_INT8: Final = 20
_TEXT: Final = 25
_BYTEA: Final = 17
_TIMESTAMPTZ: Final = 1184
_UUID: Final = 2950

_CELL_TYPES: Final = (
    _INT8,
    _TIMESTAMPTZ,
    _TEXT,
    _TEXT,
    _TEXT,
    _UUID,
    _TEXT,
    _TEXT,
    _TEXT,
    _INT8,
    _INT8,
    _BYTEA,
)
_NULL: Final = b"\xff\xff\xff\xff"
_LENGTH_BYTES: Final = 4
"""What a cell begins with, in an array."""
_EPOCH_2000_US: Final = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01 UTC."""

_int8 = struct.Struct(">iq").pack
_length = struct.Struct(">i").pack
_array_head = struct.Struct(">iiIii").pack
_plain_int8 = struct.Struct(">q")


def cells_of(tenant_id: int, entry: Entry, body: bytes) -> Cells:
    """A record's columns, all but its sequence number and hash, which the batch gives it."""
    credential = entry.credential_id
    return (
        _int8(8, tenant_id),
        _int8(8, entry.at - _EPOCH_2000_US),
        _kept_text(entry.kind, KIND_CHARACTERS),
        _kept_text(entry.outcome, OUTCOME_CHARACTERS),
        _kept_text(entry.actor, ACTOR_CHARACTERS),
        _NULL if credential is None else b"\0\0\0\x10" + credential.bytes,
        _kept_text(entry.server, SERVER_CHARACTERS),
        _kept_text(entry.tool, TOOL_CHARACTERS),
        _text(entry.request_id, REQUEST_ID_CHARACTERS),
        _int8(8, entry.duration_us),
        _NULL if entry.intent is None else _int8(8, entry.intent),
        _length(len(body)) + body,
    )


def append(cells: Sequence[Cells], seqs: Iterable[int], hashes: Iterable[bytes]) -> Command:
    """Insert a batch of records."""
    count = len(cells)
    columns = [
        _array(kind, count, parts) for kind, parts in zip(_CELL_TYPES, zip(*cells, strict=True), strict=True)
    ]
    return b"append", (*columns, _integers(seqs, count), _byte_strings(hashes, count))


def move(before: dict[int, Head], after: dict[int, Head]) -> Command:
    """Move heads, which must be exactly as they were ``before``. Both have the same tenants, in ascending order."""
    return b"move", (*_packed_heads(before), *_packed_heads(after)[1:])


def move_append(cells: Cells, before: Head, after: Head) -> Command:
    """Move a head, which must be exactly as it was ``before``, and insert the record that moves it."""
    values = [None if cell == _NULL else cell[_LENGTH_BYTES:] for cell in cells]
    seq, seq_before = _plain_int8.pack(after.seq), _plain_int8.pack(before.seq)
    return b"move_append", (*values, seq, after.hash, seq_before, before.hash)


def advance(heads: dict[int, Head]) -> Command:
    """Move heads that are locked already."""
    return b"advance", _packed_heads(heads)


def find(heads: dict[int, Head]) -> Command:
    """Count which of these records are stored, hash and all."""
    return b"find", _packed_heads(heads)


def lock(tenant_ids: Sequence[int], *, only_free: bool) -> Command:
    """Lock heads and read them; ``only_free`` leaves out those that another transaction holds."""
    return (b"lock_free" if only_free else b"lock"), (_integers(tenant_ids, len(tenant_ids)),)


def open_chain(tenant_id: int, genesis: bytes) -> Command:
    """Make a tenant's head, if it has none."""
    return b"open", (_plain_int8.pack(tenant_id), genesis)


def read_integer(value: bytes) -> int:
    """A bigint column of a binary result."""
    number: int = _plain_int8.unpack(value)[0]
    return number


def _packed_heads(heads: dict[int, Head]) -> tuple[bytes, bytes, bytes]:
    count = len(heads)
    return (
        _integers(heads, count),
        _integers((head.seq for head in heads.values()), count),
        _byte_strings((head.hash for head in heads.values()), count),
    )


def _integers(values: Iterable[int], count: int) -> bytes:
    return _array(_INT8, count, [_int8(8, value) for value in values])


def _byte_strings(values: Iterable[bytes], count: int) -> bytes:
    return _array(_BYTEA, count, chain.from_iterable((_length(len(value)), value) for value in values))


def _array(kind: int, count: int, parts: Iterable[bytes]) -> bytes:
    return _array_head(1, 1, kind, count, 1) + b"".join(parts)


def _text(value: str, limit: int) -> bytes:
    encoded = column(value, limit).encode()
    return _length(len(encoded)) + encoded


_kept_text = lru_cache(maxsize=8192)(_text)
