"""No path leads out of a source's root, and nothing but regular files is ever opened: a corpus of attempts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from core.errors import MarinaError
from tests.corpora.paths import ABSOLUTE, BACKSLASHES, CASES, CONTROLS, DISGUISED, LINKS, LONG, UPWARDS
from tests.servers.execution.files.conftest import OTHER, TENANT, Caller, Shelves

pytestmark = pytest.mark.anyio


@pytest.fixture
def trapped(shelves: Shelves) -> Shelves:
    """Whatever lies in a folder that leads elsewhere, as somebody with a shell there may have laid it."""
    own = shelves.own
    (own / "to-file").symlink_to(shelves.outside / "secret.txt")
    (own / "to-folder").symlink_to(shelves.outside)
    (own / "to-own").symlink_to("notes.txt")
    (own / "to-itself").symlink_to("to-itself")
    (own / "to-proc").symlink_to("/proc/self")
    (own / "to-root").symlink_to("/")
    (own / "docs" / "up").symlink_to("../..")
    (own / "chain").symlink_to("to-folder")
    (own / "hard.txt").hardlink_to(shelves.outside / "secret.txt")
    os.mkfifo(own / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(own, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    return shelves


def placed(path: str, shelves: Shelves) -> str:
    if not path.startswith("{"):
        return path
    return path.format(outside=shelves.outside, other=shelves.other, own=shelves.own)


def test_the_corpus_has_more_than_fifty_cases() -> None:
    assert len(CASES) == len(set(CASES)) >= 50


async def test_no_path_of_the_corpus_is_read_or_listed(call: Caller, trapped: Shelves) -> None:
    before = trapped.checksum_of_the_rest()
    for attempt in CASES:
        path = placed(attempt, trapped)
        for tool, arguments in (
            ("read_file", {"path": path}),
            ("read_file", {"path": path, "offset": 0, "length": 8}),
            ("list_directory", {"path": path}),
            ("search_files", {"directory": path, "pattern": "*"}),
            ("search_content", {"directory": path, "content_pattern": "."}),
        ):
            fault = await call.refused(tool, **arguments)
            assert isinstance(fault, MarinaError), attempt
            assert fault.code in {"invalid_input", "source_missing", "source_denied"}, attempt
            assert str(trapped.allowed) not in fault.message.replace(path, ""), attempt
    assert trapped.checksum_of_the_rest() == before


async def test_no_path_of_the_corpus_is_written_elsewhere(writing: Caller, trapped: Shelves) -> None:
    before = trapped.checksum_of_the_rest()
    inside = {path: path.read_bytes() for path in trapped.own.rglob("*.*") if path.is_file()}
    for attempt in (*UPWARDS, *ABSOLUTE, *BACKSLASHES, *CONTROLS, *LONG, *LINKS):
        path = placed(attempt, trapped)
        for create_dirs in (False, True):
            await writing.refused("write_file", path=path, content="overwritten", create_dirs=create_dirs)
        if attempt not in ("hard.txt", "pipe", "socket"):
            await writing.refused("create_directory", path=path)
        await writing.refused("create_directory", path=f"{path}/below")
    for attempt in DISGUISED:
        # As names these are as good as others: what matters is where they end up.
        with_folders = placed(attempt, trapped)
        await writing("write_file", path=with_folders, content="odd", create_dirs=True)
    assert trapped.checksum_of_the_rest() == before
    assert {path: path.read_bytes() for path in inside} == inside


async def test_what_is_never_opened_is_listed_as_such_and_not_searched(
    call: Caller, trapped: Shelves
) -> None:
    listed = await call("list_directory", recursive=True)
    kinds = {entry["path"]: (entry["type"], entry["size"]) for entry in listed["entries"]}
    for name in (
        "to-file",
        "to-folder",
        "to-proc",
        "to-root",
        "docs/up",
        "hard.txt",
        "pipe",
        "socket",
        "chain",
    ):
        assert kinds[name] == ("other", None)
    assert not any(path.startswith(("to-folder/", "to-root/", "docs/up/")) for path in kinds)
    assert (await call("search_content", content_pattern="secret"))["matches"] == []
    assert (await call("search_files", pattern="secret*"))["files"] == []


async def test_a_team_gets_nothing_of_another_teams_folder(
    caller_of: Callable[..., Caller], shelves: Shelves
) -> None:
    stranger = caller_of(OTHER)
    assert [entry["path"] for entry in (await stranger("list_directory"))["entries"]] == ["secret.txt"]
    for root in (
        str(shelves.own),
        str(shelves.own / "docs"),
        str(shelves.allowed),
        "/",
        str(shelves.outside),
    ):
        fault = await caller_of(OTHER, root=root).refused("list_directory")
        assert fault.code == "source_denied"
        assert "guide" not in fault.message


async def test_a_root_that_is_a_link_is_refused(caller_of: Callable[..., Caller], shelves: Shelves) -> None:
    (shelves.own / "linked").symlink_to(shelves.outside)
    (shelves.allowed / "9").symlink_to(shelves.outside)
    assert (await caller_of(root="linked").refused("list_directory")).code == "source_missing"
    assert (await caller_of(9).refused("list_directory")).code == "source_missing"
    assert (await caller_of(9).refused("read_file", path="secret.txt")).code == "source_missing"


@pytest.mark.parametrize("name", ["run.sh", "RUN.SH", "a.tar.exe", "key.pem. ", "x.Dll...", ".pem"])
async def test_blocked_extensions_are_neither_read_nor_written_nor_searched(
    writing: Caller, shelves: Shelves, name: str
) -> None:
    (shelves.own / name).write_text("blocked words")
    for tool, arguments in (("read_file", {}), ("write_file", {"content": "new"})):
        fault = await writing.refused(tool, path=name, **arguments)
        assert fault.code == "source_denied"
        assert "blocked" in fault.message
    result = await writing("search_content", content_pattern="blocked words")
    assert result["matches"] == []
    assert result["skipped"]["blocked"] == (0 if name.startswith(".") else 1)
    assert (shelves.own / name).read_text() == "blocked words"


def test_the_tenants_of_these_tests_are_two() -> None:
    assert TENANT != OTHER
