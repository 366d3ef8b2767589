"""The pump: streams side by side, none held up by another's receiver; killed in the middle, it loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from core.loop import run_async
from tenants import tasks
from tenants.access import Caller
from tenants.changes import redis_client
from tenants.services.streams import delete_stream
from tenants.streams import pump as pumping
from tenants.streams import sending
from tenants.streams.claims import Claim, claim_stream
from tenants.streams.pump import Seat, pump
from tests.farside import Asked, FarSide, Send, far_side, reply
from tests.plugins.own_cluster import ROOT
from tests.tenants.streams.flows import deliveries_of, make_owner, ripen, row_of, stream_to, write
from tests.tenants.streams.receivers import seqs_in, verified

PROGRAM = Path(__file__).with_name("pumping_process.py")


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seat of this test process's own: others share the Redis. Receivers here may take their time."""
    monkeypatch.setattr(sending, "SEND_SECONDS", 25.0)
    monkeypatch.setattr(pumping, "_SEAT", f"marina:streams:pump:{os.getpid()}")
    redis_client().delete(pumping._SEAT)


def test_a_receiver_that_hangs_holds_up_no_other(far: FarSide, alone: None) -> None:
    slow, quick = make_owner(), make_owner()
    others_first: list[bool] = []
    others_done = threading.Event()

    def hang(asked: Asked, send: Send) -> None:
        others_first.append(others_done.wait(20))
        send(reply())

    def take(asked: Asked, send: Send) -> None:
        send(reply())
        if {asked.path for asked in far.asked} >= {"/quick", "/same"}:
            others_done.set()

    for path, route in {"/hang": hang, "/quick": take, "/same": take}.items():
        far.serve(path, route)
    hung = stream_to(slow, f"{far.origin}/hang").standing.row
    same_team = stream_to(slow, f"{far.origin}/same", name="second").standing.row
    other = stream_to(quick, f"{far.origin}/quick").standing.row
    write(quick, 5)
    run_async(pump(Seat(), seconds=20), timeout=80)
    assert others_first[0], "they were served while the first hung"
    assert [row_of(slow, hung.pk).cursor, row_of(slow, same_team.pk).cursor] == [2, 2]
    assert row_of(quick, other.pk).cursor == 6


def test_one_that_hangs_among_many_does_not_slow_the_others(
    far: FarSide, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pumping, "MAX_ACTIVE", 4)
    # With looks by the clock alone it would take eight of them: the next is as soon as there is room.
    monkeypatch.setattr(pumping, "LOOK_SECONDS", 60.0)
    callers = [make_owner() for _ in range(24)]
    taken: list[str] = []
    all_taken = threading.Event()
    hung: list[bool] = []

    def take(asked: Asked, send: Send) -> None:
        send(reply())
        taken.append(asked.path)
        if len(taken) == len(callers):
            all_taken.set()

    def hang(asked: Asked, send: Send) -> None:
        hung.append(all_taken.wait(20))
        send(reply())

    stuck = stream_to(make_owner(), far.serve("/hang", hang)).standing.row
    rows = [stream_to(caller, far.serve("/take", take)).standing.row for caller in callers]
    run_async(pump(Seat(), seconds=20), timeout=80)
    assert hung == [True], f"the others had their records while {stuck.pk} hung"
    assert [row_of(caller, row.pk).cursor for caller, row in zip(callers, rows, strict=True)] == [1] * 24


def test_what_is_written_meanwhile_goes_in_the_same_run(far: FarSide, alone: None) -> None:
    caller = make_owner()
    busy, idle = make_owner(), stream_to(caller, far.serve("/idle", reply())).standing.row

    def slowly(asked: Asked, send: Send) -> None:
        if len([each for each in far.asked if each.path == "/slow"]) == 1:
            write(caller, 1, "late")
            far.over.wait(2)
        send(reply())

    stream_to(busy, far.serve("/slow", slowly))
    run_async(pump(Seat(), seconds=30), timeout=80)
    assert row_of(caller, idle.pk).cursor == 2


def test_the_scheduled_task_hands_over_and_at_rest_does_nothing(far: FarSide, alone: None) -> None:
    caller = make_owner()
    row = stream_to(caller, far.serve("/in", reply())).standing.row
    tasks.pump_streams()
    assert row_of(caller, row.pk).cursor == 1
    assert redis_client().get(pumping._SEAT) is None, "the seat is free again"
    write(caller, 1)
    held = Seat()
    assert held.take()
    tasks.pump_streams()
    assert row_of(caller, row.pk).cursor == 1, "another pump has the seat"
    held.leave()
    tasks.pump_streams()
    assert row_of(caller, row.pk).cursor == 2


def test_a_pump_that_stalled_leaves_the_seat_to_who_took_it(far: FarSide, alone: None) -> None:
    stalled, other = Seat(), Seat()
    assert stalled.take()
    redis_client().delete(pumping._SEAT)  # its time was over
    assert other.take()
    assert not stalled.keep()
    caller = make_owner()
    row = stream_to(caller, far.serve("/in", reply())).standing.row
    assert run_async(pump(stalled, seconds=2), timeout=40) == 0
    assert row_of(caller, row.pk).cursor == 0
    stalled.leave()
    assert other.keep()
    assert not Seat().take()
    other.leave()
    assert stalled.keep(), "it is free"


def test_a_fault_in_one_turn_ends_no_other(
    far: FarSide, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = make_owner(), make_owner()
    bad = stream_to(broken, far.serve("/bad", reply())).standing.row
    good = stream_to(sound, far.serve("/good", reply())).standing.row

    def failing(tenant_id: int, stream_id: UUID) -> Claim | None:
        if stream_id == bad.pk:
            raise RuntimeError("a fault of ours")
        return claim_stream(tenant_id, stream_id)

    monkeypatch.setattr(pumping, "claim_stream", failing)
    run_async(pump(Seat(), seconds=20), timeout=80)
    assert row_of(sound, good.pk).cursor == 1
    delete_stream(bad.pk, caller=broken)


@pytest.mark.timeout(600)
def test_killed_in_the_middle_of_batches_it_loses_nothing_and_doubles_are_whole_batches(
    far: FarSide,
) -> None:
    caller: Caller = make_owner()
    arrived = threading.Event()
    answering = threading.Event()

    def take(asked: Asked, send: Send) -> None:
        arrived.set()
        if not answering.is_set():
            far.over.wait(0.2)  # killed before the answer, or while it is on its way
        send(reply())

    row = stream_to(caller, far.serve("/in", take)).standing.row
    for _ in range(6):
        write(caller, 700)
        arrived.clear()
        with _pumping_process() as process:
            assert arrived.wait(60)
            process.send_signal(signal.SIGKILL)
            assert process.wait(60) == -signal.SIGKILL
        ripen(caller, row.pk)
    answering.set()
    with _pumping_process() as process:
        deadline = time.monotonic() + 120
        while row_of(caller, row.pk).cursor < 4201 and time.monotonic() < deadline:
            far.over.wait(0.1)
        process.kill()
    batches = [(asked.headers["webhook-id"], seqs_in(asked)) for asked in far.asked]
    once = dict(batches)
    assert len(once) < len(batches), "something came twice, or the test killed nothing"
    assert all(once[name] == seqs for name, seqs in batches), "a double is the very same batch"
    assert [seq for seqs in once.values() for seq in seqs] == list(range(1, 4202)), "in order, all of them"
    by_name = {asked.headers["webhook-id"]: json.loads(asked.body)["records"] for asked in far.asked}
    assert verified([line for lines in by_name.values() for line in lines]) == 4201
    assert deliveries_of(caller, row.pk)[-1].taken


def _pumping_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "platform")))},
    )
