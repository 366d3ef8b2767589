"""An upstream's stream of events is read in short rows, and others have the loop for a while after each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from servers.execution.backends.mcp.events import AT_ONCE, EventReader

pytestmark = pytest.mark.anyio

EVENT = b"data: x\n\n"
ROWS = 20
COUNT = ROWS * AT_ONCE // 2


@pytest.mark.parametrize(
    "pieces", [[EVENT * COUNT], [EVENT] * COUNT, [b":\n\n" * COUNT]], ids=["one piece", "many", "comments"]
)
async def test_others_have_more_than_a_turn_after_each_row(pieces: Sequence[bytes]) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    reader = EventReader()
    read = [event.data for piece in pieces async for event in reader.feed(piece)]
    other.cancel()
    assert read == ([] if pieces[0].startswith(b":") else ["x"] * COUNT)
    # A call of theirs needs about a dozen.
    assert turns > 12 * (ROWS - 1)
