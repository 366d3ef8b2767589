"""``kill -9`` of everything, at random, under load: all comes back by itself, and nothing is lost or done twice.

``MARINA_FAULT_ROUNDS`` is how often each is killed; ``MARINA_FAULT_SEED`` repeats a run's order and moments.
"""

from __future__ import annotations

import os
import random
import time
from typing import Final

import pytest

from tests.faults.stack import LONG, ROUNDS, Stack

KILLED: Final = ("web-0", "web-1", "worker", "runner", "beat", "postgres", "backend", "writer", "redis")
"""``backend`` and ``writer``: a process that PostgreSQL has for one of ours; it then ends all of them."""


@pytest.mark.timeout(300 + 40 * ROUNDS)
def test_whatever_is_killed_nothing_is_lost_and_nothing_is_done_twice(stack: Stack) -> None:
    seed = int(os.environ.get("MARINA_FAULT_SEED") or random.randrange(1_000_000))
    print(f"MARINA_FAULT_SEED={seed}")
    moments = random.Random(seed)
    order = [*KILLED] * ROUNDS
    moments.shuffle(order)
    before = stack.restarts.copy()
    with stack.load(webs_killed=True) as case:
        for name in order:
            # Now and then the next is killed while the last one starts.
            time.sleep(moments.uniform(0.1, 4.0 if LONG else 2.0))
            stack.kill(name)
    assert case.counts["effects"]
    for name in set(KILLED) - {"backend", "writer"}:
        assert stack.restarts[name] >= before[name] + ROUNDS, (name, stack.restarts)
