"""What is kept of a result, and what is not."""

from __future__ import annotations

import tracemalloc
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from servers.execution.contract import Outcome
from servers.services.results.kept import decode, keep


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome({"a": [1, 1.5, None, "é"]}, "é", rows=3, size=9),
        Outcome(None, "", content=[{"type": "text", "text": "x"}]),
        Outcome([1, 2], "line\nline"),
        Outcome(False, "no"),
        Outcome({}, ""),
    ],
)
def test_a_result_comes_back_as_it_was_also_by_another_process(outcome: Outcome) -> None:
    kept = keep(outcome)
    assert kept is not None
    assert kept.outcome() == outcome
    carried = decode(kept.encode())
    assert carried is not None
    assert carried.outcome() == outcome


def test_each_call_gets_a_copy_of_its_own() -> None:
    kept = keep(Outcome({"a": [1]}, ""))
    assert kept is not None
    kept.outcome().structured["a"].append(2)
    assert kept.outcome().structured == {"a": [1]}


def test_dates_and_decimals_are_kept_as_clients_are_sent_them() -> None:
    kept = keep(Outcome({"on": date(2026, 1, 2), "sum": Decimal("1.10")}, ""))
    assert kept is not None
    assert kept.outcome().structured == {"on": "2026-01-02", "sum": "1.10"}


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome({"a": 1}, "", failed=True),
        Outcome({"a": 1}, "", truncated=True),
        Outcome({1: "a"}, ""),
        Outcome({"a": 2**70}, ""),
        Outcome(None, "\ud800"),
    ],
)
def test_failures_cut_results_and_what_cannot_be_written_are_not_kept(outcome: Outcome) -> None:
    assert keep(outcome) is None


@pytest.mark.parametrize(
    "encoded", [b"", b"\n", b"[]\n", b"[2,0,0,null,0]\n", b'[1,"a",0,null,0]\nx', b"[1,1"]
)
def test_what_another_release_wrote_is_not_taken(encoded: Any) -> None:
    assert decode(encoded) is None


def test_its_weight_is_what_it_takes() -> None:
    outcome = Outcome({"text": "x" * 200}, "x" * 200, content=[{"type": "text", "text": "x" * 200}])
    tracemalloc.start()
    try:
        kept = [keep(outcome) for _ in range(500)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < sum(each.weight for each in kept if each is not None)
