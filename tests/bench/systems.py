"""Starts what is measured, each as one process on its own core (two: ``start_pair``), and ends it. Measures nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from config.local.embedded import ensure_master_key, make_home, place_postgres, place_redis
from config.local.options import ROOT, LocalOptions
from config.local.plan import CELERY, child_environment, make_plan
from config.local.ports import LOOPBACK, find_free_port
from config.local.postgres import POSTGRES_ENVIRONMENT, STOP_SIGNAL
from config.local.process import Identity, describe_exit, start_process, stop_processes
from config.web import APPLICATION
from tests.bench.machine import Cores, starting_on, stay_on
from tests.bench.offered import BAD_TEAM, MANY_TEAM, ROW_TABLE
from tests.bench.works import WORKS, Target, Work, open_session

PAIR_WORKS: Final = frozenset({"call", "list-50"})
PAIR_CONNECTIONS: Final = 64
"""What Marina with two processes is measured at: where one process has all it can do."""

DATABASE: Final = "marina_bench"
_ITEMS: Final = "bench_items"
"""Database and role of the SQL work (Marina refuses roles that are called like its own)."""
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 8.0
_opener: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))

_IN_PLACE_OF: Final = {APPLICATION: "tests.bench.marina_app:application", CELERY: "tests.bench.marina_worker"}


@dataclass(slots=True)
class System:
    """A measured server and where it does each work. A work that it does not do is not in ``targets``."""

    name: str
    targets: dict[str, Target] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    connections: frozenset[int] | None = None
    """The only numbers of connections that it is measured with; ``None``: all."""

    def does(self, work: str, connections: int) -> bool:
        """Whether it is measured at this."""
        return work in self.targets and (self.connections is None or connections in self.connections)

    def rss_mb(self, work: str) -> float:
        """Resident memory of the process that does this work and of its children, in MB (10^6 bytes)."""
        return sum(float(process.memory_info().rss) for process in self._family(work)) / 1e6

    def cpu_seconds(self, work: str) -> float:
        """Processor time of those processes since they started."""
        spent = [process.cpu_times() for process in self._family(work)]
        return sum(float(times.user + times.system) for times in spent)

    def _family(self, work: str) -> list[psutil.Process]:
        process = psutil.Process(self.pids[work])
        return [process, *process.children(recursive=True)]


@dataclass(frozen=True, slots=True)
class Doors:
    """Where streams can be opened: the endpoint, several credentials for it, and the process behind it."""

    url: str
    keys: list[str]
    pid: int


class Stage:
    """All processes of one bench, ended by ``close`` whatever happened. One thread only."""

    def __init__(self, home: Path, cores: Cores, environ: Mapping[str, str], options: LocalOptions) -> None:
        self._logs = home / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._cores = cores
        self._environ = environ
        self._options = replace(options, home=home / "state", port=find_free_port())
        self._running: list[tuple[subprocess.Popen[bytes], signal.Signals]] = []
        self._keys: dict[str, list[str]] = {}
        self._upstream: tuple[str, int] | None = None
        """Of the server that Marina calls: its URL and its process."""
        self.import_seconds = 0.0
        """How long it took until the tools of a document of a thousand operations were stored."""
        stay_on(cores.rest)

    def close(self) -> None:
        """End everything, the servers before what they store in."""
        while self._running:
            stop_processes([self._running.pop()], seconds=_STOP_SECONDS)

    def start_storage(self) -> dict[str, str]:
        """PostgreSQL and Redis (embedded, or those of the environment), a new database, and the environment."""
        options = self._options
        given = options.database_url
        if given and not options.master_key:
            raise SystemExit(
                "DATABASE_URL is set, so MARINA_MASTER_KEY must be too: the passwords of the cluster's roles "
                "are derived from it, and the bench would set them anew."
            )
        make_home(options.home)
        master_key = ensure_master_key(options)
        database_url = given or self._start_postgres()
        redis_url = options.redis_url or self._start_redis()
        database_url = _make_database(database_url, DATABASE)
        base_url = f"http://{LOOPBACK}:{options.port}"
        self._options = options = replace(options, host=LOOPBACK, base_url=base_url)
        environment = child_environment(
            self._environ, options, master_key=master_key, database_url=database_url, redis_url=redis_url
        )
        run_step([sys.executable, str(ROOT / "manage.py"), "setup_database"], environment, "setup")
        return environment

    def start_marina(self, environment: Mapping[str, str]) -> System:
        """The product as ``make run`` starts it, but for one kind of data source that echoes."""
        items = _make_items(environment["DATABASE_URL"])
        self._upstream = self._serve_sdk("upstream", 50, items, cores=(self._cores.rest,))
        made = run_step(
            [sys.executable, "-m", "tests.bench.prepare", items, self._upstream[0]], environment, "prepare"
        )
        told = json.loads(made.splitlines()[-1])
        self._keys, self.import_seconds = told["keys"], told["import_seconds"]
        if environment["MARINA_HEAVY_SOCKET"]:
            self._start("heavy", self._command("heavy"), environment, signal.SIGTERM)
        pid = self._serve("marina", self._command("web"), environment, self._options.port)
        self.start_runner(environment)
        system = System("marina")
        many_url, many_pid = self._start_beside("marina-many", environment, processes=1)
        for work in WORKS:
            if work.team == MANY_TEAM:
                _add(system, work, self._target(work, many_url), many_pid)
            else:
                _add(system, work, self._target(work, self._options.base_url), pid)
        return system

    def start_pair(self, environment: Mapping[str, str]) -> System:
        """Marina with two web processes, beside ``start_marina``'s and over the same database."""
        base_url, pid = self._start_beside("marina-2", environment, processes=2)
        system = System("marina-2", connections=frozenset({PAIR_CONNECTIONS}))
        for work in WORKS:
            if work.name in PAIR_WORKS:
                _add(system, work, self._target(work, base_url), pid)
        return system

    def start_for_streams(self, environment: Mapping[str, str]) -> Doors:
        """One more Marina that has served nothing yet, for streams to be opened at."""
        base_url, pid = self._start_beside("marina-streams", environment, processes=1)
        return Doors(f"{base_url}/mcp/bench-50", self._keys["bench-50"], pid)

    def start_for_long_work(self, environment: Mapping[str, str], number: int) -> tuple[str, int]:
        """A web process, where it is and its process's id."""
        return self._start_beside(f"marina-long-{number}", environment, processes=1)

    def start_runner(self, environment: Mapping[str, str]) -> int:
        """The worker that runs tasks: its process's id."""
        return self._start("runner", self._command("runner"), environment, signal.SIGTERM).pid

    def _start_beside(self, name: str, environment: Mapping[str, str], *, processes: int) -> tuple[str, int]:
        port = find_free_port()
        base_url = f"http://{LOOPBACK}:{port}"
        own = {"PORT": str(port), "MARINA_BASE_URL": base_url, "WEB_CONCURRENCY": str(processes)}
        cores = (self._cores.server,) if processes == 1 else self._cores.pair
        return base_url, self._serve(name, self._command("web"), {**environment, **own}, port, cores=cores)

    def _command(self, name: str) -> list[str]:
        """A process of ``make run``, with the bench's own application in it."""
        plan = {command.name: command.argv for command in make_plan(self._options).services}
        return [_IN_PLACE_OF.get(word, word) for word in plan[name]]

    def _target(self, work: Work, base_url: str) -> Target:
        return Target(f"{base_url}/mcp/{work.team}", {"Authorization": f"Bearer {self._keys[work.team][0]}"})

    @contextmanager
    def neighbour(self) -> Iterator[None]:
        """Inside, another team sends Marina what no server should be sent."""
        mcp, rest = self._keys[BAD_TEAM]
        environment = {**self._environ, "BENCH_KEYS": json.dumps({"mcp": mcp, "rest": rest})}
        command = [sys.executable, "-m", "tests.bench.neighbour", self._options.base_url or ""]
        process = self._start("neighbour", command, environment, signal.SIGTERM)
        try:
            yield
            if process.poll() is not None:
                raise SystemExit(f"The bad neighbour ended by itself; see {self._logs / 'neighbour'}.log")
        finally:
            self._running.remove((process, signal.SIGTERM))
            stop_processes([(process, signal.SIGTERM)], seconds=_STOP_SECONDS)

    def start_sdk(self, environment: Mapping[str, str]) -> System:
        """The official SDK's server: one process with 50 tools and one with 500, of which one works at a time.

        The work of an upstream is that of the one that Marina calls, asked without Marina.
        """
        system = System("sdk")
        if self._upstream is not None:
            system.targets["upstream"], system.pids["upstream"] = Target(self._upstream[0]), self._upstream[1]
        items = _items_url(environment["DATABASE_URL"])
        for count in (50, 500):
            url, pid = self._serve_sdk(f"sdk-{count}", count, items)
            for work in WORKS:
                if not work.alone and (work.name == "list-500") == (count == 500):
                    _add(system, work, Target(url), pid)
        return system

    def _serve_sdk(
        self, name: str, tools: int, items: str, *, cores: Sequence[int | None] | None = None
    ) -> tuple[str, int]:
        port = find_free_port()
        variables = {**self._environ, "BENCH_TOOLS": str(tools), "BENCH_DSN": items}
        pid = self._serve(name, _uvicorn("sdk_app", port), variables, port, cores=cores)
        return f"http://{LOOPBACK}:{port}/mcp", pid

    def start_limit(self, sizes: Mapping[str, int]) -> System:
        """The bare application, its answers as long as ``sizes`` says."""
        system = System("limit")
        port = find_free_port()
        variables = {**self._environ, "BENCH_SIZES": json.dumps(sizes)}
        command = [*_uvicorn("limit_app", port), "--lifespan", "off"]
        pid = self._serve("limit", command, variables, port)
        for work in WORKS:
            if not work.alone:
                system.targets[work.name] = Target(f"http://{LOOPBACK}:{port}/{work.name}")
                system.pids[work.name] = pid
        return system

    def _serve(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        port: int,
        *,
        cores: Sequence[int | None] | None = None,
    ) -> int:
        with starting_on(*((self._cores.server,) if cores is None else cores), back_to=self._cores.rest):
            process = self._start(name, command, environment, signal.SIGTERM)
        deadline = time.monotonic() + _START_SECONDS
        while not _is_healthy(f"http://{LOOPBACK}:{port}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start; see {self._logs / name}.log")
            time.sleep(0.05)
        return process.pid

    def _start(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        stop_signal: signal.Signals,
        *,
        cwd: Path = ROOT,
        identity: Identity | None = None,
    ) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("wb") as output:
            process = start_process(
                command, env=environment, cwd=cwd, stop_signal=stop_signal, identity=identity, output=output
            )
        self._running.append((process, stop_signal))
        return process

    def _start_postgres(self) -> str:
        cluster = place_postgres(self._options)
        process = self._start(
            "postgres",
            list(cluster.command),
            POSTGRES_ENVIRONMENT,
            STOP_SIGNAL,
            cwd=cluster.data.parent,
            identity=cluster.identity,
        )
        self._wait(cluster.is_ready, process, "postgres")
        return cluster.url("postgres")

    def _start_redis(self) -> str:
        server = place_redis(self._options)
        process = self._start(
            "redis", list(server.command), POSTGRES_ENVIRONMENT, signal.SIGTERM, cwd=server.directory
        )
        self._wait(server.is_ready, process, "redis")
        return server.url

    def _wait(self, is_ready: object, process: subprocess.Popen[bytes], name: str) -> None:
        assert callable(is_ready)
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start; see {self._logs / name}.log")
            time.sleep(0.02)


def run_step(
    command: Sequence[str], environment: Mapping[str, str], name: str, *, seconds: float | None = None
) -> str:
    """Run a program of the bench's to its end: what it printed. Ends the bench where it fails."""
    done = subprocess.run(
        command, env=dict(environment), cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds
    )
    if done.returncode != 0:
        raise SystemExit(
            f"The step {name} failed ({describe_exit(done.returncode)}):\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def _uvicorn(module: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", f"tests.bench.{module}:application"),
        *("--host", LOOPBACK, "--port", str(port), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--no-server-header", "--no-proxy-headers", "--log-level", "warning"),
    ]


def _add(system: System, work: Work, target: Target, pid: int) -> None:
    system.targets[work.name] = open_session(target) if work.name == "call-session" else target
    system.pids[work.name] = pid


def _is_healthy(url: str) -> bool:
    try:
        with _opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _make_database(bootstrap: str, name: str) -> str:
    """A new, empty database in the cluster of ``bootstrap``; an old one of that name goes."""
    with psycopg.connect(bootstrap, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlsplit(bootstrap)._replace(path=f"/{name}").geturl()


def _make_items(database_url: str) -> str:
    """The table of the SQL work in a database of its own, and the URL of a role that may only read it."""
    url = _make_database(database_url, _ITEMS)
    role = sql.Identifier(_ITEMS)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ROW_TABLE.encode())
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [_ITEMS]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        # A password that only this machine's bench uses, for a table that anyone may know.
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(_ITEMS)))
        connection.execute(sql.SQL("GRANT SELECT ON items TO {}").format(role))
    return _items_url(database_url)


def _items_url(database_url: str) -> str:
    parts = urlsplit(database_url)
    address = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{_ITEMS}:{_ITEMS}@{address}", path=f"/{_ITEMS}").geturl()


def inherited_environment() -> dict[str, str]:
    """What every process inherits: ours, with both source roots, whether or not Marina is installed."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
    }
