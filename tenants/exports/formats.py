"""How records are written as text: JSON Lines, and CSV that a spreadsheet opens without running anything. Pure.

JSON Lines are one object a line, oldest record first; ``tenants.audit.lines`` says what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tenants.audit.lines import line_of, moment
from tenants.audit.records import to_microseconds
from tenants.exports.fields import COLUMNS, TEXTS, columns_of
from tenants.exports.reading import Row

CSV_COLUMNS: Final = ("seq", "at", "at_us", "tenant", "prev", "hash", *COLUMNS)

_LEADS: Final = frozenset("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
"""What begins a formula in a spreadsheet, in its full-width forms too."""


@dataclass(frozen=True, slots=True)
class Format:
    """A form of export. ``head`` begins the file, ``lines`` writes records of a tenant.

    ``converted``: the lines are not what is wanted yet; another step makes that of them at the end.
    """

    name: str
    media_type: str
    head: bytes
    lines: Callable[[Sequence[Row], int], bytes]
    converted: bool = False


def json_lines(rows: Sequence[Row], tenant_id: int) -> bytes:
    """Records as JSON Lines."""
    lines = [
        line_of(tenant_id, row.seq, row.at, row.prev.hex(), row.hash.hex(), row.body, whole=row.whole)
        for row in rows
    ]
    return b"\n".join([*lines, b""])


def csv_lines(rows: Sequence[Row], tenant_id: int) -> bytes:
    """Records as CSV (RFC 4180): every field quoted."""
    lines = []
    for row in rows:
        fields = columns_of(row.body)
        head = (row.seq, moment(row.at), to_microseconds(row.at), tenant_id, row.prev.hex(), row.hash.hex())
        cells = [str(value) for value in head]
        for name, write in _WRITERS:
            value = fields.get(name)
            cells.append("" if value is None else write(value))
        lines.append('"' + '","'.join(cells) + '"\r\n')
    # Half of a pair of surrogates is no character, and UTF-8 has no bytes for it.
    return "".join(lines).encode("utf-8", "replace")


def cell(value: Any) -> str:
    """A text as it stands between the quotes of a cell, with an apostrophe before what would be a formula."""
    text = str(value)
    if text[:1] in _LEADS:
        text = f"'{text}"
    if '"' in text:
        text = text.replace('"', '""')
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else cell(value)


_WRITERS: Final = tuple((name, cell if name in TEXTS else _plain) for name in COLUMNS)

JSONL: Final = Format("jsonl", "application/x-ndjson", b"", json_lines)
CSV: Final = Format(
    "csv",
    "text/csv; charset=utf-8; header=present",
    ('"' + '","'.join(CSV_COLUMNS) + '"\r\n').encode(),
    csv_lines,
)
PARQUET: Final = Format("parquet", "application/vnd.apache.parquet", b"", json_lines, converted=True)

FORMATS: Final = {each.name: each for each in (JSONL, CSV, PARQUET)}
