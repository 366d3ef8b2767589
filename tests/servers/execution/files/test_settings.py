"""What settings of a files source may be, where its root is, and what its health says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.env import BadEnvironment, parse_env
from core.errors import InvalidInput
from servers.execution.backends.files import FilesBackend
from servers.execution.backends.files.settings import BLOCKED
from servers.execution.engine import Engine
from servers.execution.folders import beneath
from tests.servers.execution.files.conftest import OTHER, Shelves, source_of

pytestmark = pytest.mark.anyio


def faults(backend: FilesBackend, **settings: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        backend.clean_settings(settings)
    return {fault["path"]: fault["message"] for fault in caught.value.errors}


def test_settings_are_stored_with_every_default(shelves: Shelves) -> None:
    backend = FilesBackend(roots=[shelves.allowed])
    assert backend.clean_settings({"root": "./docs//deep/"}) == {
        "root": "docs/deep",
        "allow_writes": False,
        "max_size": 10_485_760,
        "max_bytes": 1_048_576,
        "blocked_extensions": sorted(BLOCKED),
    }
    assert backend.clean_settings({"root": ".", "blocked_extensions": ["EXE", ".Bak"]})[
        "blocked_extensions"
    ] == [
        ".bak",
        ".exe",
    ]
    assert backend.clean_settings({"root": f"{shelves.own}/docs"})["root"] == f"{shelves.own}/docs"


def test_every_fault_of_settings_is_named_by_its_path(shelves: Shelves) -> None:
    backend = FilesBackend(roots=[shelves.allowed])
    found = faults(
        backend,
        root="../8",
        allow_writes="yes",
        max_size=10_485_761,
        max_bytes=True,
        blocked_extensions=["ok", "a/b"],
        more=1,
    )
    assert set(found) == {"root", "allow_writes", "max_size", "max_bytes", "blocked_extensions.1", "more"}


async def test_a_stored_source_whose_writes_have_their_former_name_still_writes(
    files: Engine, shelves: Shelves
) -> None:
    backend = FilesBackend(roots=[shelves.allowed])
    formerly = {"root": ".", "writable": True}
    assert [tool.name for tool in backend.offered(formerly).tools][-2:] == ["write_file", "create_directory"]
    assert backend.clean_settings(formerly)["allow_writes"] is True
    assert "writable" not in backend.clean_settings(formerly)
    assert set(faults(backend, root=".", writable="yes")) == {"allow_writes"}
    assert set(faults(backend, **formerly, allow_writes=False)) == {"writable"}


@pytest.mark.parametrize("root", [None, 7, "/", "/etc", "..", "a/../b", "a\\b", "a\x00b", "a" * 1_025])
def test_a_root_that_is_no_folder_of_a_team_is_refused(shelves: Shelves, root: object) -> None:
    assert "root" in faults(FilesBackend(roots=[shelves.allowed]), root=root)


def test_the_allowed_folder_itself_is_no_teams_root(shelves: Shelves) -> None:
    backend = FilesBackend(roots=[shelves.allowed])
    for root in (str(shelves.allowed), f"{shelves.allowed}/docs", f"{shelves.allowed}x/7"):
        assert "root" in faults(backend, root=root)


def test_without_folders_of_the_operators_there_are_no_local_files() -> None:
    assert "MARINA_FILES_ROOTS" in faults(FilesBackend(), root=".")["root"]


async def test_without_openat2_the_kind_says_so_and_stays_off(shelves: Shelves) -> None:
    backend = FilesBackend(roots=[shelves.allowed], supported=False)
    assert "openat2" in faults(backend, root=".")["root"]
    health = await backend.check(source_of())
    assert (health.state, health.code) == ("unhealthy", "source_denied")
    assert "openat2" in health.reason


def test_this_machine_has_openat2() -> None:
    assert beneath.is_supported()


async def test_health_says_what_is_wrong_with_a_root(files: Engine, shelves: Shelves) -> None:
    assert (await files.check(source_of())).state == "healthy"
    missing = await files.check(source_of(root="nowhere"))
    assert (missing.state, missing.code) == ("unhealthy", "source_missing")
    assert "nowhere (in the folder of team number 7)" in missing.reason
    foreign = await files.check(source_of(OTHER, root=str(shelves.own)))
    assert (foreign.state, foreign.code) == ("unhealthy", "source_denied")
    assert str(shelves.allowed) not in missing.reason
    # It is in what they entered themselves, once.
    assert foreign.reason.count(str(shelves.allowed)) == 1


async def test_a_teams_folder_is_made_when_it_is_first_wanted(files: Engine, shelves: Shelves) -> None:
    assert (await files.check(source_of(12))).state == "healthy"
    assert (shelves.allowed / "12").is_dir()
    assert (shelves.allowed / "12").stat().st_mode & 0o777 == 0o700


async def test_the_root_of_a_source_that_may_be_written_is_made(files: Engine, shelves: Shelves) -> None:
    assert (await files.check(source_of(12, root="new/inbox", allow_writes=True))).state == "healthy"
    assert (shelves.allowed / "12" / "new" / "inbox").is_dir()
    (shelves.own / "linked").symlink_to(shelves.outside)
    before = shelves.checksum_of_the_rest()
    refused = await files.check(source_of(root="linked/inbox", allow_writes=True))
    assert (refused.state, refused.code) == ("unhealthy", "source_missing")
    assert shelves.checksum_of_the_rest() == before


async def test_an_allowed_folder_that_is_gone_is_told_to_the_operator_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(files_roots=(tmp_path / "gone",))
    health = await engine.check(source_of())
    assert (health.state, health.code) == ("unhealthy", "source_unreachable")
    assert str(tmp_path) not in health.reason
    assert getattr(caplog.records[-1], "folder", "") == str(tmp_path / "gone")


@pytest.mark.parametrize(
    "roots",
    [
        "relative",
        "/srv/../etc",
        "/",
        "{home}",
        "{parent}",
        "{parent}/a:{parent}/a/b",
        "{parent}/a:{parent}/a",
    ],
)
def test_folders_that_would_mix_teams_or_offer_marinas_own_stop_the_start(tmp_path: Path, roots: str) -> None:
    home = tmp_path / "home"
    given = {
        "MARINA_HOME": str(home),
        "MARINA_MASTER_KEY": "A" * 43,
        "DATABASE_URL": "postgres://localhost/x",
        "REDIS_URL": "redis://localhost",
        "MARINA_FILES_ROOTS": roots.format(home=home, parent=tmp_path),
    }
    with pytest.raises(BadEnvironment, match="MARINA_FILES_ROOTS"):
        parse_env(given)
    given["MARINA_FILES_ROOTS"] = f"{tmp_path}/a:{tmp_path}/ab:{home}/files"
    assert parse_env(given).files_roots == (tmp_path / "a", tmp_path / "ab", home / "files")
