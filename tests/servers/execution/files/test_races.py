"""What happens while somebody else works in the folder: links swapped in, files that grow, huge ones, pipes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from core.errors import SourceError
from servers.execution.folders import beneath
from servers.execution.folders.threads import Stop, Threads
from tests.servers.execution.files.conftest import Caller, Shelves

pytestmark = pytest.mark.anyio

RACE_SECONDS = 3.0

SWAP = """
import os, sys
folder, link, mark = sys.argv[1:]
while os.path.exists(mark):
    # A folder, or a file, gives place to a link to what is outside, and back, as fast as may be.
    os.rename(folder, folder + ".kept")
    os.symlink(link, folder)
    os.unlink(folder)
    os.rename(folder + ".kept", folder)
"""


@contextmanager
def swapping(target: Path, link: Path) -> Iterator[None]:
    """Another process swaps ``target`` for a link, again and again."""
    mark = target.parent.parent / f"{target.name}.mark"
    mark.touch()
    swapper = subprocess.Popen([sys.executable, "-c", SWAP, str(target), str(link), str(mark)])
    try:
        yield
        assert swapper.poll() is None
    finally:
        mark.unlink()
        assert swapper.wait(timeout=60) == 0


async def test_a_race_of_links_lets_nothing_out(writing: Caller, shelves: Shelves) -> None:
    target = shelves.own / "docs" / "swapped"
    target.mkdir()
    (target / "secret.txt").write_text("inside\n")
    single = shelves.own / "docs" / "single.txt"
    single.write_text("inside\n")
    before = shelves.checksum_of_the_rest()
    seen: set[str] = set()
    tries = refusals = 0
    until = monotonic() + RACE_SECONDS
    with swapping(target, shelves.outside), swapping(single, shelves.outside / "secret.txt"):
        # As long as it takes for enough of them: a machine that has other things to do takes longer.
        while monotonic() < until or (not (tries > 100 and refusals and seen) and monotonic() < until + 60):
            for path in ("docs/swapped/secret.txt", "docs/single.txt"):
                tries += 1
                try:
                    seen.add((await writing("read_file", path=path))["content"])
                except SourceError:
                    refusals += 1
            try:
                await writing("write_file", path="docs/swapped/written.txt", content="written")
                listed = await writing("list_directory", path="docs/swapped")
                assert {entry["name"] for entry in listed["entries"]} <= {"secret.txt", "written.txt"}
                found = await writing("search_content", content_pattern="secret")
                assert found["matches"] == []
            except SourceError:
                refusals += 1
    assert seen == {"inside\n"}
    assert tries > 100
    assert refusals
    assert shelves.checksum_of_the_rest() == before


def test_the_kernel_resolves_within_the_folder_however_fast_links_are_swapped(shelves: Shelves) -> None:
    target = shelves.own / "docs" / "swapped"
    target.mkdir()
    (target / "secret.txt").write_text("inside\n")
    root = os.open(shelves.own, os.O_PATH | os.O_DIRECTORY)
    opened = escaped = 0
    until = monotonic() + RACE_SECONDS
    with beneath.closing(root), swapping(target, shelves.outside):
        # As long as it takes for enough of them: a machine that has other things to do takes longer.
        while monotonic() < until or (opened <= 1_000 and monotonic() < until + 60):
            for _ in range(200):
                try:
                    with beneath.closing(beneath.open_file(root, "docs/swapped/secret.txt")) as file:
                        opened += 1
                        escaped += os.read(file, 100) != b"inside\n"
                except OSError:
                    continue
    assert opened > 1_000
    assert escaped == 0


async def test_a_file_of_a_gigabyte_is_neither_read_nor_searched_but_in_parts(
    call: Caller, shelves: Shelves
) -> None:
    with (shelves.own / "huge.txt").open("wb") as huge:
        huge.write(b"beginning ")
        huge.truncate(1 << 30)
    fault = await call.refused("read_file", path="huge.txt")
    assert fault.code == "result_too_large"
    result = await call("read_file", path="huge.txt", length=10)
    assert (result["content"], result["size"], result["next_offset"]) == ("beginning ", 1 << 30, 10)
    found = await call("search_content", content_pattern="beginning")
    assert (found["matches"], found["skipped"]["too_large"]) == ([], 1)
    assert (await call("list_directory", pattern="huge*"))["entries"][0]["size"] == 1 << 30


async def test_a_file_that_grows_while_it_is_read_is_read_within_its_bounds(
    caller_of: Callable[..., Caller], shelves: Shelves
) -> None:
    call = caller_of(max_size=200_000)
    path = shelves.own / "growing.log"
    path.write_bytes(b"x\n" * 1_000)
    ended = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as log:
            while not ended.is_set() and log.tell() < 400_000:
                log.write(b"y\n" * 50)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        codes: list[str] = []
        while not codes:
            try:
                result = await call("read_file", path="growing.log")
            except SourceError as fault:
                codes.append(fault.code)
            else:
                assert result["size"] == len(result["content"]) <= 200_000
        assert codes == ["result_too_large"]
    finally:
        ended.set()
        writer.join()
    found = await call("search_content", content_pattern="x", max_results=1_000)
    assert found["skipped"]["too_large"] == 1


async def test_a_pipe_is_not_opened_so_nobody_at_its_other_end_wakes(call: Caller, shelves: Shelves) -> None:
    os.mkfifo(shelves.own / "pipe")
    assert (await call.refused("read_file", path="pipe")).code == "source_denied"
    with pytest.raises(OSError, match="No such device or address"):
        os.open(shelves.own / "pipe", os.O_WRONLY | os.O_NONBLOCK)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
async def test_a_device_is_not_opened(call: Caller, shelves: Shelves) -> None:
    try:
        os.mknod(shelves.own / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this machine lets nobody make devices")
    assert (await call.refused("read_file", path="zero")).code == "source_denied"


async def test_a_cancelled_search_ends_in_its_thread(call: Caller, shelves: Shelves) -> None:
    for number in range(200):
        (shelves.own / f"{number}.txt").write_bytes(b"a line that does not match\n" * 10_000)
    search = asyncio.create_task(call.outcome("search_content", content_pattern="(?i)never here"))
    await asyncio.sleep(0)
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    # Both of the tenant's places are free again: a place is given back when the thread is done.
    first, second = await asyncio.gather(call("list_directory"), call("list_directory"))
    assert first == second


async def test_a_team_that_keeps_its_places_leaves_those_of_others() -> None:
    threads = Threads("test-files", threads=3, at_once=2)
    release = threading.Event()
    stop = Stop(60)
    stuck = [asyncio.create_task(threads.run(1, stop, release.wait)) for _ in range(10)]
    try:
        assert await asyncio.wait_for(threads.run(2, stop, lambda: "done"), timeout=60) == "done"
        assert not any(task.done() for task in stuck)
    finally:
        release.set()
        await asyncio.gather(*stuck)
        threads.close()


async def test_teams_whose_disks_hang_leave_the_threads_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.execution.folders.threads.HUNG_SECONDS", 0.05)
    threads = Threads("test-files", threads=4, at_once=2, most=9)
    release = threading.Event()
    hung = [
        asyncio.create_task(threads.run(team, Stop(60), release.wait))
        for team in (1, 2, 3, 4)
        for _ in range(3)
    ]
    try:
        done = [threads.run(team, Stop(60), lambda: "done") for team in range(5, 25)]
        assert await asyncio.wait_for(asyncio.gather(*done), timeout=60) == ["done"] * 20
        assert not any(task.done() for task in hung)
    finally:
        release.set()
        await asyncio.gather(*hung)
    assert await threads.run(1, Stop(60), lambda: "again") == "again"
    threads.close()


async def test_work_that_goes_on_keeps_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    hung_seconds = 1.5
    monkeypatch.setattr("servers.execution.folders.threads.HUNG_SECONDS", hung_seconds)
    threads = Threads("test-files", threads=1)
    loop, passed, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    ended: list[str] = []

    def busy() -> None:
        begun = monotonic()
        while not release.is_set():
            stop.check()
            if monotonic() - begun > 2 * hung_seconds:
                loop.call_soon_threadsafe(passed.set)
        ended.append("busy")

    stop = Stop(60)
    working = asyncio.create_task(threads.run(1, stop, busy))
    other = asyncio.create_task(threads.run(2, Stop(60), lambda: ended.append("other")))
    await passed.wait()
    assert not other.done()
    release.set()
    await asyncio.gather(working, other)
    assert ended == ["busy", "other"]
    threads.close()


async def test_a_place_is_taken_until_the_work_ends_not_until_its_caller_goes() -> None:
    threads = Threads("test-files", threads=4, at_once=1)
    release = threading.Event()
    stop = Stop(60)
    left = asyncio.create_task(threads.run(1, stop, release.wait))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    waiting = asyncio.create_task(threads.run(1, stop, lambda: "done"))
    await asyncio.sleep(0)
    assert not waiting.done()
    release.set()
    assert await waiting == "done"
    threads.close()


async def test_no_line_makes_an_expression_slow(call: Caller, shelves: Shelves) -> None:
    (shelves.own / "slow.txt").write_bytes(b"a" * 9_000_000)
    found = await call("search_content", content_pattern="(a|aa)+$b|(a*)*c", file_pattern="slow.txt")
    assert found["matches"] == []
