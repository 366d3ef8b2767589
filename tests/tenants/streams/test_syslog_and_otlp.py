"""Syslog to a real receiver over TLS, and OTLP to a real server: what was taken is known, and what was not comes
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tenants.access import Caller
from tenants.services.streams import change_stream, create_stream, get_stream, redeliver, send_test
from tenants.streams import claims, sending
from tenants.streams.lines import Line
from tests.farside import FarSide, far_side, reply
from tests.oauth.documents import certify
from tests.tenants.streams.flows import deliveries_of, make_owner, ripen, row_of, stream_to, turn, write
from tests.tenants.streams.receivers import SyslogReceiver, syslog_receiver


@pytest.fixture
def caller() -> Caller:
    return make_owner()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[SyslogReceiver]:
    with syslog_receiver(tmp_path) as running:
        yield running


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


def syslog_to(caller: Caller, receiver: SyslogReceiver, **given: Any) -> UUID:
    where = {
        "name": "siem",
        "host": receiver.host,
        "port": receiver.port,
        "authorities": receiver.authorities,
    }
    return create_stream("syslog", {**where, **given}, begin=1, caller=caller).standing.row.pk


def seqs_of(receiver: SyslogReceiver) -> list[int]:
    return [int(message.partition(b' seq="')[2].partition(b'"')[0]) for message in receiver.messages]


def test_syslog_every_record_arrives_in_order(
    caller: Caller, receiver: SyslogReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.streams.claims.MAX_RECORDS", 5)
    write(caller, 11)
    stream = syslog_to(caller, receiver)
    assert turn(caller, stream).cursor == 12
    assert seqs_of(receiver) == list(range(1, 13))
    assert receiver.connections == 3
    assert receiver.messages[0].startswith(b"<110>1 ")
    (first, *_) = deliveries_of(caller, stream)
    assert (first.taken, first.status, first.records) == (True, None, 5)
    assert first.size > sum(len(each) for each in receiver.messages[:5])


def test_syslog_a_large_batch_arrives_whole(caller: Caller, receiver: SyslogReceiver) -> None:
    write(caller, 40, arguments={"x": "y" * 12_000})
    stream = syslog_to(caller, receiver)
    assert turn(caller, stream).cursor == 41
    assert seqs_of(receiver) == list(range(1, 42))


def test_syslog_that_breaks_off_gets_the_whole_batch_again(caller: Caller, receiver: SyslogReceiver) -> None:
    write(caller, 100)
    receiver.cuts_after = 10_000
    stream = syslog_to(caller, receiver)
    row = turn(caller, stream)
    assert (row.cursor, row.state) == (0, "retrying")
    ripen(caller, stream)
    assert turn(caller, stream).cursor == 101
    assert seqs_of(receiver) == list(range(1, 102))


def test_syslog_whose_end_is_not_answered_counts_as_not_taken(
    caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SEND_SECONDS", 0.5)
    with syslog_receiver(tmp_path, closes=False) as silent:
        stream = syslog_to(caller, silent)
        row = turn(caller, stream)
    assert row.cursor == 0
    assert row.error == "it did not take everything within 0.5 seconds."


def test_syslog_that_ends_without_a_word_counts_as_not_taken(caller: Caller, tmp_path: Path) -> None:
    with syslog_receiver(tmp_path, says_nothing=True) as rude:
        stream = syslog_to(caller, rude)
        row = turn(caller, stream)
        assert len(rude.messages) == 1, "it read it, and Marina cannot know"
    assert row.cursor == 0
    assert "(close_notify)" in row.error
    assert row.error.endswith("If it never sends that (rsyslog's gtls driver), set ends to connection.")


def test_syslog_that_ends_without_a_word_has_taken_it_where_the_stream_says_so(
    caller: Caller, tmp_path: Path
) -> None:
    write(caller, 40, arguments={"x": "y" * 12_000})
    with syslog_receiver(tmp_path, says_nothing=True) as gnutls:
        stream = syslog_to(caller, gnutls)
        assert turn(caller, stream).cursor == 0
        standing = change_stream(stream, {"ends": "connection"}, caller=caller)
        assert standing.row.next_try_at is None, "it is tried at once"
        assert send_test(stream, caller=caller).taken
        gnutls.messages.clear()
        row = turn(caller, stream)
    assert (row.cursor, row.state) == (43, "healthy"), "with the records of the change and the test"
    assert seqs_of(gnutls) == list(range(1, 44))


@pytest.mark.parametrize("how", [{"cuts_after": 10_000}, {"leaves_after": 10_000}])
def test_syslog_that_ends_before_the_end_has_taken_nothing(
    caller: Caller, tmp_path: Path, how: dict[str, int]
) -> None:
    write(caller, 40, arguments={"x": "y" * 12_000})
    with syslog_receiver(tmp_path, says_nothing=True, **how) as leaving:
        stream = syslog_to(caller, leaving, ends="connection")
        row = turn(caller, stream)
    assert (row.cursor, row.state) == (0, "retrying")
    assert "so nobody knows what it took." in row.error
    assert leaving.messages == []


def test_syslog_that_ends_over_bytes_that_its_system_did_not_acknowledge_has_taken_nothing(
    caller: Caller, tmp_path: Path
) -> None:
    write(caller, 20, arguments={"x": "y" * 12_000})
    with syslog_receiver(tmp_path, stalls_after=1) as leaving:
        row = turn(caller, syslog_to(caller, leaving, ends="connection"))
    assert (row.cursor, row.state) == (0, "retrying")
    assert "so nobody knows what it took." in row.error


def test_syslog_that_hangs_at_the_end_has_taken_nothing_either_way(
    caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SEND_SECONDS", 0.5)
    with syslog_receiver(tmp_path, closes=False) as silent:
        row = turn(caller, syslog_to(caller, silent, ends="connection"))
    assert row.cursor == 0


@pytest.mark.parametrize("kind", ["syslog", "otlp"])
def test_a_record_that_cannot_be_written_is_named_and_holds_the_stream_visibly(
    caller: Caller, receiver: SyslogReceiver, far: FarSide, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    write(caller, 2)
    if kind == "syslog":
        stream = syslog_to(caller, receiver)
    else:
        url = far.serve("/v1/logs", reply(b"{}"))
        stream = stream_to(caller, url, kind="otlp").standing.row.pk
    sound = claims._line

    def damaged(tenant_id: int, row: tuple[Any, ...]) -> Line:
        line = sound(tenant_id, row)
        return replace(line, body=b"no json") if line.seq == 2 else line

    monkeypatch.setattr(claims, "_line", damaged)
    row = turn(caller, stream)
    assert (row.cursor, row.state, row.lease_until) == (0, "retrying", None)
    words = get_stream(stream, caller=caller).words
    assert (
        "It was sent nothing: record 2 cannot be written in the form of this stream. Tell an operator"
        in words
    )
    assert "3 records are kept for it." in words
    (delivery,) = deliveries_of(caller, stream)
    assert (delivery.taken, delivery.first, delivery.last) == (False, 1, 3)
    monkeypatch.setattr(claims, "_line", sound)
    ripen(caller, stream)
    assert turn(caller, stream).cursor == 3


def test_syslog_certificate_is_verified_always(
    caller: Caller, receiver: SyslogReceiver, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    certify(other)
    for number, given in enumerate(
        (
            {"authorities": ""},
            {"authorities": (other / "authority.pem").read_text()},
            {"server_name": "logs.example.com"},
        )
    ):
        stream = syslog_to(caller, receiver, **{"name": str(number), **given})
        row = turn(caller, stream)
        assert "its certificate is not one for its name that is trusted" in row.error
        assert row.cursor == 0
    assert receiver.messages == []


def test_syslog_tests_and_delivers_again(caller: Caller, receiver: SyslogReceiver) -> None:
    stream = syslog_to(caller, receiver)
    assert send_test(stream, caller=caller).taken
    assert b" stream.test " in receiver.messages[0]
    turn(caller, stream)
    redeliver(stream, deliveries_of(caller, stream)[-1].pk, caller=caller)
    test, *first = receiver.messages[:3]
    assert receiver.messages == [test, *first, *first]


def logs_in(body: bytes) -> list[dict[str, Any]]:
    (resource,) = json.loads(body)["resourceLogs"]
    logs: list[dict[str, Any]] = resource["scopeLogs"][0]["logRecords"]
    return logs


def seqs_in(body: bytes) -> list[int]:
    return [
        int(each["value"]["intValue"])
        for log in logs_in(body)
        for each in log["attributes"]
        if each["key"] == "marina.seq"
    ]


def test_otlp_every_record_arrives_at_the_usual_path(caller: Caller, far: FarSide) -> None:
    far.serve("/v1/logs", reply(b"{}", kind="application/json"))
    write(caller, 4)
    made = stream_to(caller, far.origin, kind="otlp", headers={"api-key": "secret"})
    assert made.secret == ""
    assert turn(caller, made.standing.row.pk).cursor == 5
    (asked,) = far.asked
    assert (asked.path, asked.headers["content-type"]) == ("/v1/logs", "application/json")
    assert asked.headers["api-key"] == "secret"
    assert seqs_in(asked.body) == [1, 2, 3, 4, 5]


def test_otlp_partial_success_is_taken_and_told(caller: Caller, far: FarSide) -> None:
    answer = b'{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"<script>no</script>"}}'
    url = far.serve("/in/v1/logs", reply(answer, kind="application/json"))
    write(caller, 4)
    row = turn(caller, stream_to(caller, url, kind="otlp").standing.row.pk)
    assert row.cursor == 5
    (delivery,) = deliveries_of(caller, row.pk)
    assert delivery.taken
    assert delivery.words == (
        "It took the batch and refused 2 of its records, which OTLP forbids to send again."
    )


def test_otlp_waits_as_long_as_it_is_told_and_catches_up(caller: Caller, far: FarSide) -> None:
    url = far.serve("/v1/logs", reply(status=503, headers={"Retry-After": "600"}))
    row = turn(caller, stream_to(caller, url, kind="otlp").standing.row.pk)
    assert row.next_try_at is not None
    assert row.failing_since is not None
    assert (row.next_try_at - row.failing_since).total_seconds() >= 600
    far.serve("/v1/logs", reply(b"not json"))
    ripen(caller, row.pk)
    write(caller, 2)
    turn(caller, row.pk)
    assert row_of(caller, row.pk).cursor == 3
    assert [seqs_in(asked.body) for asked in far.asked] == [[1], [1], [2, 3]]
