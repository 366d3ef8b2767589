"""What a record's body says, whatever a client sent."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.audit import records
from tenants.audit.records import (
    MAX_ARGUMENTS_BYTES,
    TEXT_COLUMNS,
    Entry,
    Reason,
    column,
    columns_of,
    decode,
    encode,
    to_datetime,
    to_microseconds,
)
from tenants.models import AuditRecord


def _entry(**values: Any) -> Entry:
    return Entry(**{"kind": "tools/call", "outcome": "ok", "actor": "key:a", **values})


def test_a_body_is_canonical_json_and_reads_back() -> None:
    key = uuid.uuid4()
    entry = _entry(
        credential_id=key, tool="query", arguments={"b": 1, "a": "ä"}, reason=Reason("denied", "scope", "No.")
    )
    body = encode(entry)
    fields = decode(body)
    assert fields["arguments"] == {"b": 1, "a": "ä"}
    assert fields["credential_id"] == str(key)
    assert fields["reason"] == {"code": "denied", "rule": "scope", "message": "No."}
    assert body.index(b'"a":"') < body.index(b'"b":1'), "keys are sorted"
    assert b"\n" not in body
    assert b": " not in body


def test_only_an_outcome_of_an_intent_names_one() -> None:
    assert "intent" not in decode(encode(_entry()))
    of_an_intent = decode(encode(_entry(intent=41)))
    assert (of_an_intent["intent"], columns_of(of_an_intent)["intent_seq"]) == (41, 41)
    assert of_an_intent["v"] == 1, "a field that is added changes the meaning of none"


def test_the_same_entry_has_the_same_bytes_whatever_the_order_of_its_arguments() -> None:
    assert encode(_entry(arguments={"a": 1, "b": 2}, at=1)) == encode(
        _entry(arguments={"b": 2, "a": 1}, at=1)
    )


@pytest.mark.parametrize(
    "value",
    [2**70, "\ud800", math.nan, math.inf, "\0", {"\ud800": 1}, [[[]]], {"x": None}],
    ids=["beyond 64 bits", "lone surrogate", "nan", "infinity", "nul", "surrogate key", "lists", "null"],
)
def test_what_a_client_sent_never_keeps_a_record_from_being_written(value: object) -> None:
    body = encode(_entry(arguments={"value": value}))
    body.decode("utf-8")
    assert "value" in decode(body)["arguments"]


def test_arguments_nested_too_deeply_are_described() -> None:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    assert decode(encode(_entry(arguments={"value": value})))["arguments"] == {"omitted": "not representable"}


def test_arguments_that_are_too_large_are_replaced_by_their_size_and_hash() -> None:
    body = encode(_entry(arguments={"sql": "x" * MAX_ARGUMENTS_BYTES}))
    said = decode(body)["arguments"]
    assert said["omitted"] == "too large"
    assert said["size"] > MAX_ARGUMENTS_BYTES
    assert len(said["sha256"]) == 64
    assert len(body) < 2_000


@pytest.mark.parametrize("name", ["kind", "outcome", "actor", "server", "tool", "request_id"])
def test_search_columns_are_as_long_as_the_tables(name: str) -> None:
    assert getattr(records, f"{name.upper()}_CHARACTERS") == getattr(
        AuditRecord._meta.get_field(name), "max_length", None
    )


@given(st.text(st.characters(categories=None)))
def test_any_text_becomes_a_column_that_postgresql_takes(text: str) -> None:
    made = column(text, 40)
    made.encode("utf-8")
    assert "\0" not in made
    assert len(made) <= 40


@given(st.text(st.characters(categories=None), max_size=300))
def test_the_columns_follow_from_the_body(text: str) -> None:
    entry = Entry(text, text, text, server=text, tool=text, request_id=text, duration_us=7)
    columns = columns_of(decode(encode(entry)))
    assert columns == {
        **{name: column(text, limit) for name, limit in TEXT_COLUMNS.items()},
        "credential_id": None,
        "duration_us": 7,
        "intent_seq": None,
    }


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_survive_the_way_to_microseconds_and_back(at: datetime) -> None:
    assert to_datetime(to_microseconds(at)) == at
