"""Commands that write without end, in the sandbox for real: the loop that reads them goes on with what is others'."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest

from core.errors import SourceError
from servers.execution.backends.mcp.lines import WritingPace, lines_of
from servers.execution.backends.mcp.patience import read_patiently
from servers.execution.backends.mcp.wire import NotMcp, read_messages
from tests.held.metered_web import Meter
from tests.servers.execution.mcp.test_hosted import Hosting, odd

pytestmark = pytest.mark.anyio

SECONDS: Final = 1.5
HELD_SECONDS: Final = 1.0
"""Some of it is the collector's, which looks at all that the tests made, and not at what a web process has alone."""
SHARE: Final = 0.5
"""Of a processor, for all that this loop does: without a bound large messages took up to four fifths of it."""

NOTE: Final = '{"jsonrpc":"2.0","method":"notifications/x"}'
FLOODS: Final = {
    "notifications": f"text = '{NOTE}\\n' * 1000",
    "empty lines": "text = '\\n' * 65536",
    "batches": f"text = '[' + ','.join(['{NOTE}'] * 20000) + ']\\n'",
    "objects": """text = '{"jsonrpc":"2.0","id":1,"result":{"a":[' + '{},' * 4_000_000 + '{}]}}\\n'""",
    "texts": """text = '{"jsonrpc":"2.0","id":1,"result":{"a":[' + '"",' * 4_000_000 + '""]}}\\n'""",
}
WRITE: Final = "\nimport itertools\nfor _ in itertools.count(): os.write({file}, text.encode())"


@pytest.fixture
async def hosting() -> AsyncIterator[Hosting]:
    hosting = Hosting()
    yield hosting
    await hosting.engine.close()


@pytest.mark.parametrize(
    ("what", "file", "waited_for"),
    [
        ("notifications", 1, True),
        ("notifications", 1, False),
        ("empty lines", 1, False),
        ("empty lines", 2, True),
        ("batches", 1, True),
        ("objects", 1, True),
        ("objects", 1, False),
        ("texts", 1, True),
    ],
)
async def test_a_flood_leaves_the_loop_to_others(
    hosting: Hosting, what: str, file: int, waited_for: bool
) -> None:
    code = FLOODS[what] + WRITE.format(file=file)
    if not waited_for:
        # Behind the answer, which is not to be lost in it.
        code = "if not os.fork():\n  time.sleep(0.3)\n  " + code.replace("\n", "\n  ")
    other = odd()
    await hosting.run(other, "print(7)")
    flooding = asyncio.create_task(hosting.run(odd(), code, timeout=SECONDS + 2))
    await asyncio.sleep(0.7)
    gc.collect()
    gc.freeze()
    meter = Meter()
    meter.start()
    used = time.thread_time()
    began = time.monotonic()
    until = began + SECONDS
    while time.monotonic() < until:
        assert await hosting.run(other, "print(8)", timeout=30) == "8\n"
        await asyncio.sleep(0.05)
    share, held = (time.thread_time() - used) / (time.monotonic() - began), meter.take()
    gc.unfreeze()
    print(f"{what}: {share:.0%} of a processor, held for {held * 1_000:.1f} ms at most")
    assert share < SHARE
    assert held < HELD_SECONDS
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_one_that_ends_in_its_flood_is_known_to_have_ended(hosting: Hosting) -> None:
    given = odd()
    await hosting.run(given, "print(7)")
    began = time.monotonic()
    with pytest.raises(SourceError) as fault:
        await hosting.run(given, r"os.write(1, b'\n' * 150_000); os._exit(3)", timeout=60)
    assert "ended with status 3" in fault.value.message
    # Read at its pace, it would take a minute more.
    assert time.monotonic() - began < 45


async def test_what_is_written_in_small_parts_takes_its_size_and_no_more() -> None:
    stream = asyncio.StreamReader()
    pace = WritingPace()

    async def write() -> None:
        for _ in range(50_000):
            stream.feed_data(b"xx")
            await asyncio.sleep(0)
        stream.feed_eof()

    tracemalloc.start()
    writing = asyncio.create_task(write())
    found = [line async for line in lines_of(stream, pace, most=1_000_000)]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await writing
    assert found == [(b"xx" * 50_000, True)]
    assert most < 1_000_000


async def test_lines_are_whole_however_they_come() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"one\n\ntw")
    stream.feed_data(b"o\n" + b"x" * 25 + b"\nlast")
    stream.feed_eof()
    assert [line async for line in lines_of(stream, WritingPace(), most=10)] == [
        (b"one", True),
        (b"", True),
        (b"two", True),
        (b"x" * 10, False),
        (b"x" * 10, False),
        (b"x" * 5, True),
        (b"last", True),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"a":[1,-2.5e3,"\\u00e9","",true,null,{"b":[]}]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":18446744073709551616}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":1e999}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xff"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":[1,]}}',
        b'[{"jsonrpc":"2.0","id":1,"result":{}}]',
        b'{"id":1}',
        b"[" * 100_000,
    ],
)
def test_what_is_read_patiently_is_read_the_same(text: bytes) -> None:
    def read(reading: Callable[[bytes], object]) -> object:
        try:
            return reading(text)
        except NotMcp as fault:
            return str(fault)

    assert read(read_patiently) == read(read_messages)
