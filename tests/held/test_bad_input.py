"""What no server should be sent keeps its sender waiting and nobody else: the event loop is not held by it for long.

Measured is the processor's time, not the clock's: see ``metered_web``. ``-rP`` shows each figure; docs/performance.md
has them in a table.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import pytest

from tests.held.bad_input import Place, forget
from tests.held.bad_upstreams import ALL_BAD, STORING
from tests.protocol.wireclient import Endpoint

PAGE = Path(__file__).resolve().parents[2] / "docs/performance.md"

MOST_MILLISECONDS: Final = 150
"""Four times what the worst takes on the machine of the table, for machines that are slow or have other things to do;
docs/performance.md names it."""
TRIES: Final = 3
"""The least counts: what an input costs it costs each time."""


@pytest.mark.parametrize("name", ALL_BAD)
def test_bad_input_does_not_hold_the_loop(place: Place, name: str) -> None:
    words, ask = ALL_BAD[name]
    held = []
    for _ in range(TRIES):
        place.held()
        # A body that is too large is not read to its end.
        with contextlib.suppress(ConnectionError):
            said = ask(place)
            held.append(place.held())
            forget(place, said)
            assert words in said.body.decode(), said.body[:500]
            assert (said.status == 201) == (words in STORING)
        if held and held[-1] < MOST_MILLISECONDS:
            break
    print(f"{name}: {min(held):.1f} ms")
    assert min(held) < MOST_MILLISECONDS


def test_the_meter_sees_what_holds_the_loop(place: Place) -> None:
    """One that saw nothing would find everything good."""
    place.held()
    place.call("calculate", expression="1")
    quick = place.held()
    hold = Endpoint(place.marina.port, "/hold", None).send(None, method="GET")
    assert hold.status == 200
    assert place.held() > 250 > MOST_MILLISECONDS > quick


def test_the_table_names_each() -> None:
    rows = {line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("|")}
    assert not ALL_BAD.keys() - rows
