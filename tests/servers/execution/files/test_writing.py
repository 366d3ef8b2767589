"""Files are written whole or not at all, and only where the settings of the source allow it."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable

import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.engine import Engine
from tests.servers.execution.files.conftest import TENANT, Caller, Shelves, source_of

pytestmark = pytest.mark.anyio


async def test_a_file_is_written_and_read_again(writing: Caller, shelves: Shelves) -> None:
    made = await writing("write_file", path="new.txt", content="größe\r\n")
    assert (made["created"], made["size"], made["mime_type"]) == (True, 9, "text/plain")
    read = await writing("read_file", path="new.txt")
    assert (read["content"], read["sha256"]) == ("größe\r\n", made["sha256"])
    again = await writing("write_file", path="new.txt", content="")
    assert (again["created"], again["size"]) == (False, 0)
    assert (shelves.own / "new.txt").read_bytes() == b""


async def test_bytes_are_written_as_base64(writing: Caller, shelves: Shelves) -> None:
    content = bytes(range(256))
    await writing("write_file", path="b.bin", content=base64.b64encode(content).decode(), encoding="base64")
    assert (shelves.own / "b.bin").read_bytes() == content
    fault = await writing.refused("write_file", path="b.bin", content="no base64!", encoding="base64")
    assert isinstance(fault, InvalidInput)
    assert (shelves.own / "b.bin").read_bytes() == content


async def test_folders_above_a_file_are_made_when_asked(writing: Caller, shelves: Shelves) -> None:
    fault = await writing.refused("write_file", path="a/b/c.txt", content="deep")
    assert fault.code == "source_missing"
    assert "create_dirs" in fault.message
    assert not (shelves.own / "a").exists()
    await writing("write_file", path="a/b/c.txt", content="deep", create_dirs=True)
    assert (shelves.own / "a" / "b" / "c.txt").read_text() == "deep"


async def test_a_folder_is_made_once(writing: Caller, shelves: Shelves) -> None:
    assert (await writing("create_directory", path="x/y/z"))["created"] is True
    assert (await writing("create_directory", path="x/y/z"))["created"] is False
    assert (shelves.own / "x" / "y" / "z").is_dir()
    assert (await writing.refused("create_directory", path="notes.txt")).code == "source_denied"
    assert (await writing.refused("create_directory", path="notes.txt/below")).code == "source_denied"


async def test_a_replaced_file_keeps_its_rights(writing: Caller, shelves: Shelves) -> None:
    (shelves.own / "notes.txt").chmod(0o640)
    await writing("write_file", path="notes.txt", content="new")
    assert (shelves.own / "notes.txt").stat().st_mode & 0o777 == 0o640


async def test_readers_see_the_old_file_or_the_new_one(writing: Caller, shelves: Shelves) -> None:
    path = shelves.own / "swapped.txt"
    versions = [letter * 300_000 for letter in "ab"]
    path.write_text(versions[0])
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.add(path.read_text())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for turn in range(40):
            await writing("write_file", path="swapped.txt", content=versions[turn % 2])
    finally:
        ended.set()
        watcher.join()
    assert seen <= set(versions)
    assert not list(shelves.own.glob(".marina-*"))


async def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside(
    writing: Caller, shelves: Shelves
) -> None:
    before = sorted(shelves.own.iterdir())
    for path, content in (
        ("docs", "over a folder"),
        ("notes.txt/x", "below a file"),
        (".marina-x", "kept name"),
    ):
        await writing.refused("write_file", path=path, content=content)
    await writing.refused("write_file", path="new.txt", content="half \ud800")
    assert sorted(shelves.own.iterdir()) == before
    assert sorted(each.name for each in (shelves.own / "docs").iterdir()) == ["deep", "guide.md"]


async def test_what_is_larger_than_the_source_takes_is_not_written(
    caller_of: Callable[..., Caller], shelves: Shelves
) -> None:
    writing = caller_of(allow_writes=True, max_size=10)
    assert isinstance(await writing.refused("write_file", path="x.txt", content="ü" * 6), InvalidInput)
    assert not (shelves.own / "x.txt").exists()


async def test_a_source_for_reading_brings_no_tool_that_writes_and_runs_none(
    call: Caller, writing: Caller, shelves: Shelves
) -> None:
    assert set(writing.tools) - set(call.tools) == {"write_file", "create_directory"}
    for tool, arguments in (("write_file", {"content": "x"}), ("create_directory", {})):
        # As after the settings were changed, and before the source was refreshed.
        fault = await call.refused(tool, path="new", **arguments)
        assert isinstance(fault, SourceError)
        assert fault.code == "source_denied"
    assert not (shelves.own / "new").exists()


async def test_what_killed_writes_left_is_swept_and_nothing_else(
    writing: Caller, call: Caller, files: Engine, shelves: Shelves
) -> None:
    old, ended = 1_600_000_000, ".marina-" + "0a" * 16
    kept = (".marina-" + "0b" * 16, ".marina-notes", ".noted")
    for folder in (shelves.own, shelves.own / "docs"):
        for name in (ended, *kept):
            (folder / name).write_bytes(b"half")
            os.utime(folder / name, (old, old))
    os.utime(shelves.own / kept[0])
    os.utime(shelves.own / "docs" / kept[0])
    (shelves.own / "linked").hardlink_to(shelves.own / ended)
    assert len((await call("list_directory", recursive=True))["entries"]) > 2
    assert (shelves.own / "docs" / ended).exists()
    assert (await files.check(source_of(allow_writes=True))).state == "healthy"
    # One that has another name belongs to somebody.
    assert (shelves.own / ended).exists()
    (shelves.own / "linked").unlink()
    assert (await files.check(source_of(allow_writes=True))).state == "healthy"
    assert not (shelves.own / ended).exists()
    assert (shelves.own / "docs" / ended).exists()
    await writing("list_directory", recursive=True)
    for folder in (shelves.own, shelves.own / "docs"):
        assert not (folder / ended).exists()
        assert {each.name for each in folder.iterdir()} >= set(kept)


async def test_hints_say_what_reads_and_what_writes(writing: Caller) -> None:
    hints = {name: tool.annotations for name, tool in writing.tools.items()}
    assert {name for name, hint in hints.items() if not hint["readOnlyHint"]} == {
        "write_file",
        "create_directory",
    }
    assert hints["write_file"]["destructiveHint"] is True


async def test_a_source_that_may_not_write_says_so_when_checked(files: Engine, shelves: Shelves) -> None:
    assert (await files.check(source_of(allow_writes=True))).state == "healthy"
    if os.geteuid() == 0:
        return  # root may write everywhere
    (shelves.allowed / str(TENANT)).chmod(0o500)
    health = await files.check(source_of(allow_writes=True))
    assert (health.state, health.code) == ("unhealthy", "source_denied")
