"""Places the embedded servers and the master key in ``MARINA_HOME`` and remembers where. Starts nothing."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from config.local.failure import StartError
from config.local.options import LocalOptions
from config.local.ports import LOOPBACK, find_free_port, why_port_is_unusable
from config.local.postgres import (
    SYSTEM_STATE,
    PostgresCluster,
    can_enter,
    find_postgres,
    prepare_cluster,
    reachable_install,
)
from config.local.private_files import read_private_file, write_private_file
from config.local.process import Identity, find_unprivileged_identity
from config.local.redis import RedisServer, find_redis


@dataclass(slots=True)
class Placement:
    """What ``services.json`` keeps between runs, so that URLs stay the same."""

    postgres_port: int = 0
    postgres_password: str = field(default="", repr=False)
    postgres_folder: str = ""
    redis_port: int = 0


def make_home(home: Path) -> None:
    """Make ``MARINA_HOME`` where it is missing. What lies in it is private file by file."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.geteuid() == 0:
        # PostgreSQL runs as another user then, and must be able to pass through.
        home.chmod(home.stat().st_mode | 0o011)
    # Django's collected static files, of which a local run has none: WhiteNoise warns where the folder is missing.
    (home / "static").mkdir(exist_ok=True)
    (home / "files").mkdir(exist_ok=True, mode=0o700)


@contextmanager
def hold_run_lock(home: Path, *, url: str) -> Iterator[bool]:
    """Be the only run on this state; says whether the last one was killed. Raises ``StartError``."""
    path = home / "run.lock"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            other = _read_json(stream.read())
            raise StartError(
                f"Marina already runs on {home}: process {other.get('pid', '?')}, "
                f"{other.get('url', 'still starting')}. Use it, stop it with Ctrl-C,"
                " or set MARINA_HOME and PORT for a second one."
            ) from None
        was_killed = bool(stream.read())
        stream.seek(0)
        stream.truncate()
        json.dump({"pid": os.getpid(), "url": url}, stream)
        stream.flush()
        try:
            yield was_killed
        finally:
            # An empty file says that the run ended in order; only the lock itself says that one runs.
            stream.seek(0)
            stream.truncate()


def ensure_master_key(options: LocalOptions) -> str:
    """The master key: from the environment, from ``master.key``, or a new one where there are no data yet."""
    if options.master_key:
        return options.master_key
    path = options.home / "master.key"
    kept = read_private_file(path)
    if kept is not None and kept.strip():
        return kept.strip()
    if options.database_url is None and _read_placement(options.home).postgres_password:
        raise StartError(
            f"{path} is gone, and the database in {options.home} cannot be opened without it. "
            "Put the file back (or set MARINA_MASTER_KEY); "
            "to start anew and lose what is stored, run `make reset`."
        )
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    write_private_file(path, key + "\n")
    return key


def place_postgres(options: LocalOptions) -> PostgresCluster:
    """The embedded cluster, ready to be started. Raises ``StartError``."""
    placement = _read_placement(options.home)
    identity = find_unprivileged_identity()
    install = reachable_install(find_postgres(), identity, copies=SYSTEM_STATE / "programs")
    folder = _choose_postgres_folder(options.home, placement, identity)
    placement.postgres_folder = str(folder)
    placement.postgres_password = placement.postgres_password or secrets.token_urlsafe(24)
    placement.postgres_port = _choose_port("MARINA_PG_PORT", options.postgres_port, placement.postgres_port)
    # Kept before the cluster is made: a cluster whose password nobody knows would be lost.
    _write_placement(options.home, placement)
    return prepare_cluster(
        install=install,
        data=folder / "data",
        port=placement.postgres_port,
        password=placement.postgres_password,
        identity=identity,
    )


def place_redis(options: LocalOptions) -> RedisServer:
    """The embedded Redis, ready to be started. Raises ``StartError``."""
    placement = _read_placement(options.home)
    placement.redis_port = _choose_port("MARINA_REDIS_PORT", options.redis_port, placement.redis_port)
    _write_placement(options.home, placement)
    folder = options.home / "redis"
    folder.mkdir(exist_ok=True, mode=0o700)
    return RedisServer(find_redis(), folder, placement.redis_port)


def erase_home(home: Path) -> None:
    """Remove all state of a local run, a database outside ``MARINA_HOME`` included. Irreversible."""
    if not home.exists():
        return
    with hold_run_lock(home, url=""):
        folder = _read_placement(home).postgres_folder
        if folder and SYSTEM_STATE in Path(folder).parents:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(home)


def _choose_postgres_folder(home: Path, placement: Placement, identity: Identity | None) -> Path:
    """Inside ``MARINA_HOME``, unless PostgreSQL's user cannot get there (a clone in /root, say)."""
    inside = home / "postgres"
    kept = Path(placement.postgres_folder) if placement.postgres_folder else None
    if kept is not None and SYSTEM_STATE in kept.parents:
        if not kept.is_dir():
            raise StartError(
                f"The database of {home} was in {kept}, which is gone. "
                "Put it back; to start anew, run `make reset`."
            )
        return kept
    inside.mkdir(exist_ok=True, mode=0o700)
    if identity is None:
        return inside
    os.chown(inside, identity.uid, identity.gid)
    if can_enter(inside, identity):
        return inside
    if (inside / "data").exists():
        raise StartError(
            f"PostgreSQL does not run as root, and its user cannot reach {inside} any more: "
            "a folder above lost its x permission for others. Give it back (chmod o+x), then start again."
        )
    inside.rmdir()
    outside = SYSTEM_STATE / secrets.token_hex(6)
    outside.mkdir(parents=True, mode=0o755)
    (outside / "belongs-to").write_text(f"{home}\n", encoding="utf-8")
    os.chown(outside, identity.uid, identity.gid)
    if not can_enter(outside, identity):
        shutil.rmtree(outside)
        raise StartError(
            f"PostgreSQL does not run as root, and its user can reach neither {inside} nor {outside}. "
            "Run as an ordinary user, set MARINA_HOME to a folder that others may enter, or set DATABASE_URL."
        )
    return outside


def _choose_port(variable: str, wanted: int | None, kept: int) -> int:
    if wanted is not None:
        reason = why_port_is_unusable(LOOPBACK, wanted)
        if reason:
            raise StartError(f"Port {wanted} {reason}. Set {variable} to another port, or leave it unset.")
        return wanted
    if kept and why_port_is_unusable(LOOPBACK, kept) is None:
        return kept
    return find_free_port()


def _read_placement(home: Path) -> Placement:
    text = read_private_file(home / "services.json")
    kept = _read_json(text or "")
    placement = Placement()
    for name, default in asdict(placement).items():
        value = kept.get(name)
        if isinstance(value, type(default)):
            setattr(placement, name, value)
    return placement


def _write_placement(home: Path, placement: Placement) -> None:
    if placement != _read_placement(home):
        write_private_file(home / "services.json", json.dumps(asdict(placement), indent=2) + "\n")


def _read_json(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
