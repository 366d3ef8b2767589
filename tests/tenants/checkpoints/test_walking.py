"""The fast walk finds what the slow one does, and takes for whole whatever was really recorded."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tenants.audit import walking
from tenants.audit.append import append_entry
from tenants.audit.chain import EMPTY, Broken, Head, link
from tenants.audit.records import Entry, to_microseconds
from tenants.audit.walking import read_head, walk
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.tenants.audit.places import Place, make_place
from tests.tenants.checkpoints.logs import tamper, write

ODD = (
    Entry("tools/call", "ok", "user:\0nobody", tool="a\0b"),
    Entry("tools/call", "ok", "x" * 400, server="s" * 90, tool="t" * 300, request_id="r" * 100),
    Entry("tools/call", "ok", "user:\ud800", tool="\udfff"),
    Entry("tools/call", "ok", "user:a", arguments={"n": 2**70, "half": "\ud800", "e": 1e300}),
    Entry("tools/call", "intent", "user:ü€😀", credential_id=uuid4(), duration_us=2**40),
    Entry("tools/call", "ok", "user:a", intent=5, arguments={"text": '"kind":"other"}'}),
)


def whole(place: Place) -> bool:
    last = read_head(place.tenant_id)
    walked = walk(place.tenant_id, start=EMPTY, last=last.seq, columns=True)
    return walked.broken is None and walked.head == last


def test_whatever_was_recorded_is_whole() -> None:
    place = make_place()
    for entry in ODD:
        with tenant_scope(place.tenant_id):
            append_entry(entry, tenant_id=place.tenant_id)
    assert whole(place)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "user:b"),
        ("kind", "auth"),
        ("outcome", "error"),
        ("server", "x"),
        ("tool", "x"),
        ("request_id", "x"),
        ("duration_us", 7),
        ("credential_id", uuid4()),
        ("intent_seq", 1),
    ],
)
def test_every_search_column_is_compared(column: str, value: object) -> None:
    place = make_place()
    write(place, 3)
    tamper(
        (
            f"UPDATE tenants_auditrecord SET {column} = %s WHERE seq = 2 AND tenant_id = %s",
            (value, place.tenant_id),
        )
    )
    walked = walk(place.tenant_id, start=EMPTY, last=3, columns=True)
    assert walked.broken is not None
    assert f"record 2 is as it was written, but its search column {column!r}" in walked.broken.problem
    assert walk(place.tenant_id, start=EMPTY, last=3).broken is None


@pytest.mark.parametrize(("window", "fetch"), [(1, 1), (3, 2), (4, 10), (10_000, 3)])
def test_a_walk_in_pieces_gives_what_one_in_one_does(
    window: int, fetch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place()
    write(place, 11)
    at_once = walk(place.tenant_id, start=EMPTY, last=11, wanted=range(12))
    monkeypatch.setattr(walking, "WINDOW_RECORDS", window)
    monkeypatch.setattr(walking, "FETCH_RECORDS", fetch)
    seen: list[int] = []
    walked = walk(place.tenant_id, start=EMPTY, last=11, wanted=range(12), after_window=seen.append)
    assert walked == at_once
    assert seen[-1] == 11
    assert sorted(walked.hashes) == list(range(12))
    middle = walk(place.tenant_id, start=Head(5, walked.hashes[5]), last=9, wanted=[5, 9])
    assert (middle.head, middle.hashes) == (
        Head(9, walked.hashes[9]),
        {seq: walked.hashes[seq] for seq in (5, 9)},
    )


def test_what_was_walked_before_a_break_is_told() -> None:
    place = make_place()
    write(place, 9)
    tamper(
        (
            "UPDATE tenants_auditrecord SET body = body || ' ' WHERE seq = 6 AND tenant_id = %s",
            (place.tenant_id,),
        )
    )
    walked = walk(place.tenant_id, start=EMPTY, last=9, wanted=[4, 5, 6, 7])
    assert walked.broken is not None
    assert walked.head.seq == 5
    assert sorted(walked.hashes) == [4, 5]


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b"[1]", b"\xff", b'{"actor":1}', b"[" * 5000])
def test_a_body_that_is_no_records_is_said_though_its_hash_fits(body: bytes) -> None:
    place = make_place()
    write(place, 2)
    with tenant_scope(place.tenant_id):
        first, second = AuditRecord.objects.order_by("seq")
    digest = link(bytes(first.hash), place.tenant_id, 2, to_microseconds(second.at), body)
    tamper(
        (
            "UPDATE tenants_auditrecord SET body = %s, hash = %s WHERE seq = 2 AND tenant_id = %s",
            (body, digest, place.tenant_id),
        )
    )
    walked = walk(place.tenant_id, start=EMPTY, last=2, columns=True)
    assert walked.broken == Broken(
        2, "record 2 was replaced, and its hash computed anew: what it holds is no record."
    )


@pytest.mark.parametrize("at", ["infinity", "-infinity"])
def test_a_time_that_is_none_is_said(at: str) -> None:
    place = make_place()
    write(place, 2)
    tamper(
        (
            f"UPDATE tenants_auditrecord SET at = '{at}' WHERE seq = 2 AND tenant_id = %s",
            (place.tenant_id,),
        )
    )
    walked = walk(place.tenant_id, start=EMPTY, last=2, columns=True)
    assert walked.broken is not None
    assert walked.broken.problem.startswith("record 2 was changed")


def test_another_tenants_records_are_not_walked() -> None:
    place, other = make_place(), make_place()
    write(place, 3)
    write(other, 2)
    assert walk(other.tenant_id, start=EMPTY, last=3).broken is not None
    assert whole(place)
    assert whole(other)
