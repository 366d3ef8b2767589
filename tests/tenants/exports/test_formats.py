"""Records as CSV and Parquet: nothing is lost, nothing runs in a spreadsheet, and the same gives the same bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tenants.audit.chain import GENESIS, link
from tenants.audit.records import Entry, Reason, encode, to_datetime, to_microseconds
from tenants.exports import columns
from tenants.exports.converting import ConversionFailed, convert
from tenants.exports.fields import COLUMNS, columns_of
from tenants.exports.formats import CSV, CSV_COLUMNS, FORMATS, csv_lines, json_lines
from tenants.exports.reading import Row
from tenants.services import exports as service

NOON = to_microseconds(datetime(2026, 3, 1, 12, tzinfo=UTC))
TENANT = 7
KEY = UUID("8e7a3a5e-0000-4000-8000-000000000001")

FULL = Entry(
    "tools/call",
    "error",
    "key:a",
    credential_id=KEY,
    client="client/1",
    server="default",
    tool="query",
    tool_version=3,
    arguments={"client": "inner", "b": [1, {"a": None}], "ü": "\",\n'="},
    reason=Reason("late", "deadline", 'It said ","client":"'),
    rows=5,
    size=512,
    truncated=True,
    duration_us=1_250,
    request_id="r-1",
    intent=1,
    trace_id="0af7651916cd43dd8448eb211c80319c",
    parent=2,
    served_from="cache",
    hmac="ab" * 32,
    preview='{"client":"of the result","arguments":{}},"client":"',
)
HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"]


def rows_of(*entries: Entry) -> list[Row]:
    rows, prev = [], GENESIS
    for seq, entry in enumerate(entries, 1):
        body = encode(entry)
        at = NOON + seq
        own = link(prev, TENANT, seq, at, body)
        rows.append(Row(seq, to_datetime(at), prev, own, body))
        prev = own
    return rows


def read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def to_parquet(rows: list[Row], folder: Path) -> Path:
    (folder / "spool").write_bytes(json_lines(rows, TENANT))
    target = folder / "file.parquet"
    size, sha256 = convert(folder / "spool", target, lambda: None)
    assert (size, sha256) == (target.stat().st_size, hashlib.sha256(target.read_bytes()).hexdigest())
    return target


def test_the_forms_are_those_that_can_be_asked_for() -> None:
    assert tuple(FORMATS) == service.FORMATS


def test_every_field_of_a_record_has_its_column() -> None:
    body = encode(FULL)
    fields = columns_of(body)
    assert set(fields) == set(COLUMNS) - {"more"}
    stored = json.loads(body)
    for name in ("arguments", "reason"):
        assert json.loads(fields.pop(name)) == stored.pop(name)
    assert fields == stored


def test_a_field_that_no_column_knows_is_not_lost() -> None:
    body = json.dumps({**json.loads(encode(FULL)), "zone": "eu", "approval": {"by": "a"}}, sort_keys=True)
    fields = columns_of(body.replace(": ", ":").replace(", ", ",").encode())
    assert json.loads(fields["more"]) == {"approval": {"by": "a"}, "zone": "eu"}


def test_csv_is_quoted_and_has_a_column_a_field() -> None:
    [row] = read_csv(CSV.head + csv_lines(rows_of(FULL), TENANT))
    assert list(row) == list(CSV_COLUMNS)
    assert (row["seq"], row["at"], row["tenant"]) == ("1", "2026-03-01T12:00:00.000001Z", "7")
    assert row["prev"] == GENESIS.hex()
    assert len(row["hash"]) == 64
    assert json.loads(row["arguments"]) == FULL.arguments
    assert json.loads(row["reason"])["rule"] == "deadline"
    assert (row["credential_id"], row["truncated"], row["intent"]) == (str(KEY), "true", "1")
    content = csv_lines(rows_of(FULL), TENANT)
    assert content.startswith(b'"1","2026')
    assert content.endswith(b'"\r\n')
    assert content.count(b"\r\n") == 1


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_would_be_a_formula_is_a_text(hostile: str) -> None:
    entry = Entry("tools/call", "ok", hostile, client=hostile, tool=hostile, request_id=hostile)
    [row] = read_csv(CSV.head + csv_lines(rows_of(entry), TENANT))
    for name in ("actor", "client", "tool", "request_id"):
        assert row[name] == f"'{hostile}"


def test_an_ordinary_text_and_a_number_are_as_they_are() -> None:
    entry = Entry("tools/call", "ok", "key:a=b", tool="a-b", size=-3)
    [row] = read_csv(CSV.head + csv_lines(rows_of(entry), TENANT))
    assert (row["actor"], row["tool"], row["size"], row["client"], row["tool_version"]) == (
        "key:a=b",
        "a-b",
        "-3",
        "",
        "",
    )


@pytest.mark.parametrize(
    "arguments", [{"s": "\ud800x"}, {"big": 2**80}, {"nul": "\0"}], ids=["half a pair", "big", "nul"]
)
def test_what_utf_8_or_a_spreadsheet_has_no_word_for_is_written_all_the_same(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    entry = Entry("tools/call", "ok", "half \udc00", client="n\0l", arguments=arguments)
    rows = rows_of(entry)
    [row] = read_csv(CSV.head + csv_lines(rows, TENANT))
    assert json.loads(row["arguments"]) == arguments
    assert "\0" not in "".join(row.values())
    [stored] = pq.read_table(to_parquet(rows, tmp_path)).to_pylist()
    assert json.loads(stored["arguments"]) == arguments
    assert stored["record"].encode() == rows[0].body


def test_parquet_is_typed_and_its_chain_can_be_verified(tmp_path: Path) -> None:
    rows = rows_of(FULL, Entry("auth", "refused", "anonymous (::1)"), FULL)
    table = pq.read_table(to_parquet(rows, tmp_path))
    assert table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("hash").type == pa.binary(32)
    assert (table.schema.field("rows").type, table.schema.field("truncated").type) == (
        pa.int64(),
        pa.bool_(),
    )
    stored = table.to_pylist()
    assert [(each["rows"], each["truncated"], each["tool_version"]) for each in stored] == [
        (5, True, 3),
        (None, False, None),
        (5, True, 3),
    ]
    prev = GENESIS
    for each in stored:
        at_us = to_microseconds(each["at"])
        prev = link(prev, each["tenant"], each["seq"], at_us, each["record"].encode())
        assert each["hash"] == prev


def test_the_same_records_give_the_same_parquet_in_groups_that_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(*[FULL] * 25)
    (tmp_path / "spool").write_bytes(json_lines(rows, TENANT))
    monkeypatch.setattr(columns, "BATCH_RECORDS", 5)
    monkeypatch.setattr(columns, "GROUP_RECORDS", 10)
    said: list[object] = []
    monkeypatch.setattr(columns, "_say", said.append)
    for name in ("one", "two"):
        columns.main(str(tmp_path / "spool"), str(tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert pq.ParquetFile(tmp_path / "one").num_row_groups == 3
    assert said[:3] == [10, 20, 25]


def test_an_export_without_records_is_a_parquet_file_without_rows(tmp_path: Path) -> None:
    table = pq.read_table(to_parquet([], tmp_path))
    assert (table.num_rows, table.schema.names) == (0, columns.SCHEMA.names)


def test_a_target_that_cannot_be_written_is_a_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(json_lines(rows_of(FULL), TENANT))
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "spool", tmp_path / "missing" / "file", lambda: None)


def test_what_cannot_be_converted_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spool").write_bytes(b"no line of ours\n")
    with pytest.raises(ConversionFailed):
        convert(tmp_path / "spool", tmp_path / "file", lambda: None)
    assert "ValueError" in capfd.readouterr().err


def test_a_conversion_that_is_not_wanted_any_more_is_killed(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(json_lines(rows_of(*[FULL] * 100), TENANT))

    class Unwanted(Exception):
        pass

    def beat() -> None:
        raise Unwanted

    with pytest.raises(Unwanted):
        convert(tmp_path / "spool", tmp_path / "file", beat)
