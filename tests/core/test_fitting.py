"""What orjson wrote, and is kept."""

from __future__ import annotations

import tracemalloc

import orjson

from core import fitting
from core.fitting import fitted


def test_what_is_kept_takes_what_it_needs() -> None:
    value = {"text": "x" * 200}
    tracemalloc.start()
    try:
        kept = [fitted(orjson.dumps(value)) for _ in range(1_000)]
        # Other threads of this process allocate, too.
        ours = [tracemalloc.Filter(True, each) for each in (__file__, fitting.__file__)]
        taken = sum(each.size for each in tracemalloc.take_snapshot().filter_traces(ours).traces)
    finally:
        tracemalloc.stop()
    assert all(each == orjson.dumps(value) for each in kept)
    assert taken < 1.5 * 1_000 * (len(kept[0]) + 33 + 8)
