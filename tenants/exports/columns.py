"""Makes Parquet of JSON Lines. A program of its own: what writes Parquet takes memory that no worker is to keep.

``python -m tenants.exports.columns SOURCE TARGET`` prints how many records are done, a line a row group, and at last
``{"size", "sha256"}`` of the target. Ends with 74 and an errno on its last line where a file cannot be read or
written. Knows no Django, and gets no secret: neither in its environment nor otherwise.

The same lines give the same bytes with the same release of pyarrow, whose name and version the file holds.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tenants.exports.fields import COLUMNS, FLAGS, NUMBERS, columns_of

GROUP_RECORDS: Final = 20_000
GROUP_BYTES: Final = 8 * 1024 * 1024
"""A row group ends after so many records, or so many bytes: it is in memory as a whole."""

BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 1024 * 1024
"""So much of it is in memory as Python's objects, which take many times as much."""

FAILED_FILE: Final = 74
"""``EX_IOERR`` of sysexits.h."""

_RECORD: Final = b',"record":'
_METADATA: Final = b',"metadata":'
_HASH: Final = pa.binary(32)
_WORDS: Final = ["kind", "outcome", "actor", "credential_id", "client", "server", "tool", "served_from"]
"""Columns that say the same over and over."""


def _type_of(name: str) -> Any:
    return pa.int64() if name in NUMBERS else pa.bool_() if name in FLAGS else pa.string()


SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("tenant", pa.int64(), nullable=False),
        pa.field("prev", _HASH, nullable=False),
        pa.field("hash", _HASH, nullable=False),
        *(pa.field(name, _type_of(name)) for name in COLUMNS),
        pa.field("record", pa.string()),
    ]
)
"""``record`` is the stored body, whose bytes were hashed; null where what calls were given and gave is left out."""


class _Hashed(io.RawIOBase):
    """A file that knows the SHA-256 of what was written into it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = memoryview(data).cast("B")
        self.digest.update(piece)
        self.size += len(piece)
        left = piece
        while left:
            left = left[os.write(self._file, left) :]
        return len(piece)

    def tell(self) -> int:
        return self.size

    def finish(self) -> None:
        """Make it durable."""
        os.fsync(self._file)
        os.close(self._file)


def main(source: str, target: str) -> None:
    """Convert one file, and say so on standard output."""
    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_cpu_count(1)
    parent = os.getppid()
    file = _Hashed(target)
    done = 0
    with pq.ParquetWriter(
        file, SCHEMA, compression="zstd", use_dictionary=_WORDS, write_statistics=True, version="2.6"
    ) as writer:
        for group in _groups(source):
            writer.write_table(group, row_group_size=group.num_rows)
            done += group.num_rows
            _say(done)
            if os.getppid() != parent:
                sys.exit(1)  # whoever wanted it is gone
    file.finish()
    _say(json.dumps({"size": file.size, "sha256": file.digest.hexdigest()}))


def _say(what: object) -> None:
    os.write(1, f"{what}\n".encode())


def _groups(source: str) -> Iterator[Any]:
    """The records as tables, each a row group."""
    tables: list[Any] = []
    records = size = 0
    for lines in _batches(source):
        table = _table(lines)
        tables.append(table)
        records += table.num_rows
        size += table.nbytes
        if records >= GROUP_RECORDS or size >= GROUP_BYTES:
            yield pa.concat_tables(tables)
            tables, records, size = [], 0, 0
    if tables:
        yield pa.concat_tables(tables)


def _batches(source: str) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    size = 0
    with Path(source).open("rb") as given:
        for line in given:
            lines.append(line)
            size += len(line)
            if len(lines) >= BATCH_RECORDS or size >= BATCH_BYTES:
                yield lines
                lines, size = [], 0
    if lines:
        yield lines


def _table(lines: list[bytes]) -> Any:
    links, rows, records = [], [], []
    for line in lines:
        cut, body, whole = _apart(line)
        links.append(orjson.loads(line[:cut] + b"}"))
        rows.append(columns_of(body))
        records.append(body.decode() if whole else None)
    # Column by column: a list at once is made in a third of the time that appending to each in turn takes.
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in COLUMNS}
    columns["seq"] = [link["seq"] for link in links]
    columns["at"] = [link["at_us"] for link in links]
    columns["tenant"] = [link["tenant"] for link in links]
    columns["prev"] = [bytes.fromhex(link["prev"]) for link in links]
    columns["hash"] = [bytes.fromhex(link["hash"]) for link in links]
    columns["record"] = records
    arrays = [_array(columns.pop(field.name), field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _apart(line: bytes) -> tuple[int, bytes, bool]:
    """Where a line's link ends, its record, and whether that is the whole one. Digits and hex alone stand before it."""
    cut = line.find(_RECORD)
    other = line.find(_METADATA, 0, cut) if cut >= 0 else line.index(_METADATA)
    if other >= 0:
        return other, line[other + len(_METADATA) : -2], False
    return cut, line[cut + len(_RECORD) : -2], True


def _array(values: list[Any], kind: Any) -> Any:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        # Half of a pair of surrogates is no character; the record beside it has it as it was written.
        return pa.array(
            [value.encode("utf-8", "replace").decode() if value is not None else None for value in values],
            kind,
        )


def _say_kind(kind: type[BaseException], *_: object) -> None:
    """What went wrong, without the exception's text, which may quote a record."""
    os.write(2, f"{kind.__name__}\n".encode())


if __name__ == "__main__":
    sys.excepthook = _say_kind
    try:
        main(*sys.argv[1:])
    except OSError as error:
        _say(error.errno or 0)
        sys.exit(FAILED_FILE)
