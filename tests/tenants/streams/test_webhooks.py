"""Webhooks to a real receiver that verifies, fails, hangs, resets and is away: nothing lost, nothing out of order."""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from tenants.access import Caller
from tenants.audit.records import decode
from tenants.models import AuditRecord, LogStream
from tenants.scoping import tenant_scope
from tenants.services.streams import (
    change_stream,
    get_stream,
    pause_stream,
    redeliver,
    resume_stream,
    roll_secret,
    send_test,
)
from tenants.streams import claims, sending
from tenants.streams.claims import LeaseLost, claim_stream, find_due, next_batch, pause_after, release, settle
from tenants.streams.lines import Outcome
from tests.farside import Asked, FarSide, Route, Send, far_side, reply
from tests.tenants.streams.flows import deliveries_of, make_owner, ripen, row_of, stream_to, turn, write
from tests.tenants.streams.receivers import seqs_in, signed_by, verified


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


@pytest.fixture
def caller() -> Caller:
    return make_owner()


def test_every_record_arrives_in_order_signed_and_verifiable(caller: Caller, far: FarSide) -> None:
    url = far.serve("/in", reply())
    write(caller, 7)
    made = stream_to(caller, url)
    row = turn(caller, made.standing.row.pk)
    assert (row.cursor, row.state) == (8, "healthy")
    (asked,) = far.asked
    assert signed_by(asked, made.secret)
    assert not signed_by(asked, "whsec_" + "A" * 44)
    assert verified(json.loads(asked.body)["records"]) == 8
    assert asked.headers["content-type"] == "application/json"
    (delivery,) = deliveries_of(caller, row.pk)
    assert (delivery.first, delivery.last, delivery.records) == (1, 8, 8)
    assert (delivery.taken, delivery.status, delivery.size) == (True, 200, len(asked.body))
    assert get_stream(row.pk, caller=caller).words == "Handed over up to record 8, the last one."


def test_a_stream_begins_where_it_was_told_to(caller: Caller, far: FarSide) -> None:
    url = far.serve("/in", reply())
    write(caller, 5)
    third = stream_to(caller, url, begin=3)
    turn(caller, third.standing.row.pk)
    assert seqs_in(far.asked[0]) == [3, 4, 5, 6]


def test_batches_are_bounded_in_number_and_in_bytes(
    caller: Caller, far: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MAX_RECORDS", 4)
    url = far.serve("/in", reply())
    write(caller, 9)
    made = stream_to(caller, url)
    turn(caller, made.standing.row.pk)
    assert [seqs_in(asked) for asked in far.asked] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    monkeypatch.setattr(claims, "MAX_BYTES", 2_500)
    write(caller, 3, arguments={"x": "y" * 2_000})
    write(caller, 1, arguments={"x": "y" * 3_000})
    turn(caller, made.standing.row.pk)
    assert [seqs_in(asked) for asked in far.asked[3:]] == [[11], [12], [13], [14]]


def test_a_receiver_that_is_away_loses_nothing_and_catches_up(
    caller: Caller, far: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not over before it is looked at, on a slow machine either.
    monkeypatch.setattr(claims, "pause_after", lambda failures: 120.0)
    url = far.serve("/in", reply(status=503))
    write(caller, 2)
    made = stream_to(caller, url)
    row = turn(caller, made.standing.row.pk)
    assert (row.cursor, row.state, row.failures) == (0, "retrying", 1)
    standing = get_stream(row.pk, caller=caller)
    assert "It answered with status 503. The next try is at" in standing.words
    assert "3 records are kept for it." in standing.words
    assert row.next_try_at is not None
    assert claim_stream(caller.tenant_id, row.pk) is None, "it has its pause"
    write(caller, 2)
    ripen(caller, row.pk)
    turn(caller, row.pk)
    far.serve("/in", reply())
    ripen(caller, row.pk)
    row = turn(caller, row.pk)
    assert (row.cursor, row.state, row.failures, row.error) == (5, "healthy", 0, "")
    assert [seqs_in(asked) for asked in far.asked] == [[1, 2, 3]] * 3 + [[4, 5]]
    names = [asked.headers["webhook-id"] for asked in far.asked]
    assert len(set(names[:3])) == 1, "what comes again is the same batch, although the log went on"
    assert names[3] not in names[:3]
    assert [each.attempt for each in deliveries_of(caller, row.pk)] == [1, 2, 3, 1]


def test_nobody_listens_and_the_reason_says_so(caller: Caller, far: FarSide) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    row = turn(caller, stream_to(caller, f"http://127.0.0.1:{port}/in").standing.row.pk)
    assert row.error == "it could not be connected to."
    assert deliveries_of(caller, row.pk)[0].status is None


def _silent(far: FarSide) -> Route:
    def say_nothing(asked: Asked, send: Send) -> None:
        far.over.wait(5)

    return say_nothing


def test_a_receiver_that_hangs_is_left_after_its_time(
    caller: Caller, far: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SEND_SECONDS", 0.3)
    url = far.serve("/in", _silent(far))
    row = turn(caller, stream_to(caller, url).standing.row.pk)
    assert row.error == "it did not answer within 0.3 seconds."
    assert row.cursor == 0


def test_a_receiver_that_resets_gets_the_batch_again(caller: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = stream_to(caller, f"http://127.0.0.1:{listening.getsockname()[1]}/in")

        def reset() -> None:
            connection, _ = listening.accept()
            connection.recv(65_536)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        thread = threading.Thread(target=reset)
        thread.start()
        row = turn(caller, made.standing.row.pk)
        thread.join(10)
    assert row.error == "it broke off, or its answer is not HTTP."
    assert (row.cursor, row.pending) == (0, 1)


def test_a_redirect_is_not_followed(caller: Caller, far: FarSide) -> None:
    url = far.serve("/in", reply(status=307, headers={"Location": "/elsewhere"}))
    row = turn(caller, stream_to(caller, url).standing.row.pk)
    assert "leads elsewhere" in row.error
    assert [asked.path for asked in far.asked] == ["/in"]


def test_a_receiver_says_how_long_to_wait(caller: Caller, far: FarSide) -> None:
    url = far.serve("/in", reply(status=429, headers={"Retry-After": "1000"}))
    row = turn(caller, stream_to(caller, url).standing.row.pk)
    assert row.next_try_at is not None
    assert row.next_try_at > timezone.now() + timedelta(seconds=900)


def test_pauses_grow_to_five_minutes_and_differ() -> None:
    assert [1 <= pause_after(1) <= 2, 128 <= pause_after(8) <= 256] == [True, True]
    assert {150 <= pause_after(failures) <= 300 for failures in (9, 50, 100_000)} == {True}
    assert len({pause_after(9) for _ in range(20)}) > 1


def test_gone_pauses_the_stream_for_good_and_the_log_says_why(caller: Caller, far: FarSide) -> None:
    url = far.serve("/in", reply(status=410))
    row = turn(caller, stream_to(caller, url).standing.row.pk)
    assert row.state == "paused"
    assert "status 410" in get_stream(row.pk, caller=caller).words
    with tenant_scope(caller.tenant_id):
        record = decode(bytes(AuditRecord.objects.latest("seq").body))
    assert (record["kind"], record["actor"]) == ("stream.paused", "marina")
    assert record["reason"]["code"] == "receiver_gone"
    assert turn(caller, row.pk).attempts == 1, "nothing more is sent"
    far.serve("/in", reply())
    resume_stream(row.pk, caller=caller)
    ripen(caller, row.pk)
    assert turn(caller, row.pk).cursor == 3


def test_filters_leave_records_out_and_the_cursor_goes_past_them(caller: Caller, far: FarSide) -> None:
    url = far.serve("/in", reply())
    made = stream_to(caller, url, filters={"tool": "two"})
    write(caller, 3, "one")
    write(caller, 2, "two")
    write(caller, 3, "one")
    row = turn(caller, made.standing.row.pk)
    assert row.cursor == 9
    assert [seqs_in(asked) for asked in far.asked] == [[5, 6]]
    write(caller, 2, "one")
    assert turn(caller, row.pk).cursor == 11
    assert len(far.asked) == 1


def test_other_filters_make_other_batches_and_no_doubles(caller: Caller, far: FarSide) -> None:
    url = far.serve("/in", reply(status=503))
    write(caller, 1, "one")
    write(caller, 1, "two")
    row = stream_to(caller, url, filters={"tool": "one"}).standing.row
    turn(caller, row.pk)
    far.serve("/in", reply())
    for filters in ({"tool": "two"}, {"tool": "two", "outcome": "ok"}, {}):
        with tenant_scope(caller.tenant_id):
            LogStream.objects.filter(pk=row.pk).update(filters=filters, cursor=0, next_try_at=None)
        assert turn(caller, row.pk).cursor == 3
    names = [asked.headers["webhook-id"] for asked in far.asked]
    assert [seqs_in(asked) for asked in far.asked] == [[1], [2], [2], [1, 2, 3]]
    assert len(set(names)) == 4
    again = redeliver(row.pk, deliveries_of(caller, row.pk)[2].pk, caller=caller)
    assert again.taken
    assert far.asked[4].headers["webhook-id"] == names[2], "the same filters, the same name"


def test_paused_it_sends_nothing_and_resumed_it_goes_on(caller: Caller, far: FarSide) -> None:
    url = far.serve("/in", reply())
    row = stream_to(caller, url).standing.row
    pause_stream(row.pk, caller=caller)
    write(caller, 2)
    assert turn(caller, row.pk).cursor == 0
    assert far.asked == []
    assert "4 records are kept for it." in get_stream(row.pk, caller=caller).words
    resume_stream(row.pk, caller=caller)
    assert turn(caller, row.pk).cursor == 5
    assert [seqs_in(asked) for asked in far.asked] == [[1, 2, 3, 4, 5]]


def test_one_worker_only_has_a_stream_and_who_lost_it_moves_nothing(caller: Caller, far: FarSide) -> None:
    row = stream_to(caller, far.serve("/in", reply())).standing.row
    first = claim_stream(caller.tenant_id, row.pk)
    assert first is not None
    assert claim_stream(caller.tenant_id, row.pk) is None
    batch = next_batch(first)
    assert batch is not None
    ripen(caller, row.pk)
    second = claim_stream(caller.tenant_id, row.pk)
    assert second is not None
    with pytest.raises(LeaseLost):
        settle(first, batch, Outcome(taken=True), 1)
    with pytest.raises(LeaseLost):
        next_batch(first)
    assert row_of(caller, row.pk).cursor == 0
    assert next_batch(second) == batch


def test_a_change_of_the_address_takes_the_batch_under_way_back(caller: Caller, far: FarSide) -> None:
    row = stream_to(caller, far.serve("/old", reply())).standing.row
    claim = claim_stream(caller.tenant_id, row.pk)
    assert claim is not None
    batch = next_batch(claim)
    assert batch is not None
    change_stream(row.pk, {"url": far.serve("/new", reply())}, caller=caller)
    with pytest.raises(LeaseLost):
        settle(claim, batch, Outcome(taken=True), 1)
    assert turn(caller, row.pk).cursor == 2
    assert [(asked.path, seqs_in(asked)) for asked in far.asked] == [("/new", [1, 2])]


def test_only_what_is_due_is_found(caller: Caller, far: FarSide) -> None:
    row = stream_to(caller, far.serve("/in", reply())).standing.row
    mine = (caller.tenant_id, row.pk)
    assert mine in find_due(10_000)
    turn(caller, row.pk)
    assert mine not in find_due(10_000), "at rest"
    write(caller, 1)
    assert mine in find_due(10_000)
    claim_stream(caller.tenant_id, row.pk)
    assert mine not in find_due(10_000), "somebody has it"
    ripen(caller, row.pk)
    assert mine in find_due(10_000)
    pause_stream(row.pk, caller=caller)
    assert mine not in find_due(10_000)


def test_the_databases_clock_says_when_a_lease_and_a_pause_are_over(
    caller: Caller, far: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "pause_after", lambda failures: 120.0)
    row = stream_to(caller, far.serve("/in", reply(status=503))).standing.row
    held = claim_stream(caller.tenant_id, row.pk)
    assert held is not None
    true, later = timezone.now(), timezone.now() + timedelta(hours=1)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    assert claim_stream(caller.tenant_id, row.pk) is None, "a host whose clock is ahead takes no lease away"
    batch = next_batch(held)
    assert batch is not None
    renewed = row_of(caller, row.pk).lease_until
    assert renewed is not None
    assert renewed < true + timedelta(minutes=5)
    settle(held, batch, Outcome(taken=False, words="it failed."), 1)
    release(held)
    found = row_of(caller, row.pk)
    assert found.next_try_at is not None
    assert found.next_try_at < true + timedelta(minutes=5)
    assert claim_stream(caller.tenant_id, row.pk) is None, "nor ends a pause"


def test_a_rolled_secret_signs_beside_the_old_one_until_that_ends(caller: Caller, far: FarSide) -> None:
    made = stream_to(caller, far.serve("/in", reply()))
    row = made.standing.row
    rolled = roll_secret(row.pk, overlap_hours=1, caller=caller)
    send_test(row.pk, caller=caller)
    assert signed_by(far.asked[0], made.secret)
    assert signed_by(far.asked[0], rolled.secret)
    newest = roll_secret(row.pk, overlap_hours=0, caller=caller)
    send_test(row.pk, caller=caller)
    assert [signed_by(far.asked[1], each.secret) for each in (made, rolled, newest)] == [False, False, True]
    assert far.asked[0].headers["webhook-id"] != far.asked[1].headers["webhook-id"]


def test_a_delivery_is_made_again_the_same_and_the_cursor_stays(caller: Caller, far: FarSide) -> None:
    made = stream_to(caller, far.serve("/in", reply()), headers={"Authorization": "Bearer x"})
    row = turn(caller, made.standing.row.pk)
    change_stream(row.pk, {"filters": {"tool": "none"}}, caller=caller)
    again = redeliver(row.pk, deliveries_of(caller, row.pk)[0].pk, caller=caller)
    assert (again.cause, again.taken, again.first, again.last) == ("again", True, 1, 1)
    first, second = far.asked
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert second.headers["authorization"] == "Bearer x"
    assert row_of(caller, row.pk).cursor == row.cursor


def test_only_the_newest_deliveries_are_kept(
    caller: Caller, far: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "KEPT_DELIVERIES", 3)
    row = stream_to(caller, far.serve("/in", reply())).standing.row
    for _ in range(5):
        send_test(row.pk, caller=caller)
    assert [each.number for each in deliveries_of(caller, row.pk)] == [3, 4, 5]


def test_a_name_that_came_to_lead_inside_is_not_connected_to(
    caller: Caller, far: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = stream_to(caller, far.serve("/in", reply())).standing.row
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, outbound_allow=()))
    found = turn(caller, row.pk)
    assert "it is an http address" in found.error
    assert far.connections == 0


def test_in_the_clear_nothing_leaves_the_networks_that_the_operator_named(
    caller: Caller, far: FarSide
) -> None:
    row = stream_to(caller, far.serve("/in", reply())).standing.row
    with tenant_scope(caller.tenant_id):
        LogStream.objects.filter(pk=row.pk).update(settings={"url": "http://8.8.8.8:9/in"})
    assert "it is an http address" in turn(caller, row.pk).error
