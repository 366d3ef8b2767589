"""The chain's arithmetic, against bytes put together by hand, and every way to break it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tenants.audit.chain import GENESIS, Broken, Head, Link, link, verify


def _chain(tenant_id: int, length: int) -> list[Link]:
    links, prev = [], GENESIS
    for seq in range(1, length + 1):
        body = b'{"n":%d}' % seq
        prev = link(prev, tenant_id, seq, 1000 + seq, body)
        links.append(Link(seq, 1000 + seq, body, prev))
    return links


def test_a_link_hashes_the_documented_bytes() -> None:
    written_out = (
        b"marina.audit.v1\x00"
        + bytes.fromhex("0000000000000003")
        + bytes.fromhex("0000000000000001")
        + bytes.fromhex("00000000000f4240")
        + bytes.fromhex("0000000000000002")
        + b"{}"
        + bytes(32)
    )
    assert link(GENESIS, 3, 1, 1_000_000, b"{}") == hashlib.sha256(written_out).digest()


def test_a_whole_chain_verifies_from_the_start_and_from_a_known_head() -> None:
    links = _chain(1, 5)
    assert verify(1, links) == Head(5, links[-1].hash)
    assert verify(1, links[2:], start=Head(2, links[1].hash)) == Head(5, links[-1].hash)


def test_a_changed_body_names_its_record() -> None:
    links = _chain(1, 5)
    links[2] = replace(links[2], body=b'{"n":9}')
    result = verify(1, links)
    assert isinstance(result, Broken)
    assert result.seq == 3
    assert "record 3 was changed" in result.problem


def test_a_changed_time_names_its_record() -> None:
    links = _chain(1, 5)
    links[1] = replace(links[1], at_us=1)
    result = verify(1, links)
    assert isinstance(result, Broken)
    assert result.seq == 2


def test_a_record_rehashed_in_place_breaks_the_next_one() -> None:
    links = _chain(1, 5)
    links[2] = replace(links[2], body=b"{}", hash=link(links[1].hash, 1, 3, links[2].at_us, b"{}"))
    result = verify(1, links)
    assert isinstance(result, Broken)
    assert result.seq == 4


def test_missing_records_are_named() -> None:
    links = _chain(1, 6)
    del links[2:4]
    result = verify(1, links)
    assert isinstance(result, Broken)
    assert result.problem == "records 3 to 4 are missing: record 5 follows record 2."


def test_another_tenants_records_do_not_fit() -> None:
    assert isinstance(verify(2, _chain(1, 2)), Broken)
