"""One local run from the lock to the end of the last process: the order of things, and the exit code."""

from __future__ import annotations

import time
from collections.abc import Mapping
from signal import SIGTERM
from typing import Final

from config.env import parse_env
from config.local.demo_file import describe_demo, read_demo, write_demo_file
from config.local.embedded import (
    ensure_master_key,
    hold_run_lock,
    make_home,
    place_postgres,
    place_redis,
)
from config.local.failure import StartError, StopRequested
from config.local.options import LocalOptions
from config.local.output import Console
from config.local.plan import Command, Plan, child_environment
from config.local.ports import find_free_port, why_port_is_unusable
from config.local.postgres import POSTGRES_ENVIRONMENT, STOP_SIGNAL
from config.local.redis import require_redis
from config.local.supervisor import Supervisor

DATABASE: Final = "marina"
_LEFT_OVER_SECONDS: Final = 10.0
_FOREVER_SECONDS: Final = 60.0


def run_marina(options: LocalOptions, plan: Plan, *, inherited: Mapping[str, str], console: Console) -> int:
    """Start, serve, end. 0 where a signal ended the run, 1 where it could not start or a process died."""
    supervisor = Supervisor(console)
    supervisor.watch_signals()
    try:
        make_home(options.home)
        with hold_run_lock(options.home, url=options.base_url) as last_was_killed:
            try:
                _start(options, plan, inherited, console, supervisor, last_was_killed=last_was_killed)
                while True:
                    supervisor.pump(_FOREVER_SECONDS)
            finally:
                supervisor.stop_all()
    except StopRequested as wish:
        _say_if_heard(console, f"Stopped ({wish}).")
        return 0
    except StartError as refusal:
        _say_if_heard(console, str(refusal))
        return 1


def _start(
    options: LocalOptions,
    plan: Plan,
    inherited: Mapping[str, str],
    console: Console,
    supervisor: Supervisor,
    *,
    last_was_killed: bool,
) -> None:
    started = time.monotonic()
    demo_path = options.home / "demo.json"
    # While it is there, Marina is ready.
    demo_path.unlink(missing_ok=True)
    _require_port(options, supervisor, patience=_LEFT_OVER_SECONDS if last_was_killed else 0)
    master_key = ensure_master_key(options)
    env = child_environment(
        inherited,
        options,
        master_key=master_key,
        database_url=options.database_url or "postgresql://embedded/",
        redis_url=options.redis_url or "redis://embedded/",
    )
    # A bad variable is told before anything is started.
    parse_env(env)
    if options.redis_url:
        require_redis(options.redis_url)
    env["DATABASE_URL"] = options.database_url or _start_postgres(options, supervisor)
    env["REDIS_URL"] = options.redis_url or _start_redis(options, supervisor)
    for step in plan.before:
        supervisor.run_step(step, env=env, cwd=plan.cwd)
    pids = {
        service.name: supervisor.start(service, env=env, cwd=plan.cwd).process.pid
        for service in plan.services
    }
    for step in plan.after:
        supervisor.run_step(step, env=env, cwd=plan.cwd)
    value = write_demo_file(
        demo_path,
        read_demo(plan.demo),
        base_url=options.base_url,
        database_url=env["DATABASE_URL"],
        redis_url=env["REDIS_URL"],
        pids=pids,
    )
    console.say(f"Ready after {time.monotonic() - started:.1f} s.")
    console.block(describe_demo(value, demo_path))


def _require_port(options: LocalOptions, supervisor: Supervisor, *, patience: float) -> None:
    """Raise ``StartError`` unless web can have its port; wait for a killed run's last moments."""
    deadline = time.monotonic() + patience
    while reason := why_port_is_unusable(options.host, options.port):
        if time.monotonic() > deadline:
            raise StartError(
                f"Port {options.port} on {options.host} {reason}. Set PORT to another one, for example: "
                f"PORT={find_free_port()} make run"
            )
        supervisor.pump()


def _start_postgres(options: LocalOptions, supervisor: Supervisor) -> str:
    cluster = place_postgres(options)
    child = supervisor.start(
        Command("postgres", tuple(cluster.command)),
        env=POSTGRES_ENVIRONMENT,
        cwd=cluster.data.parent,
        stop_signal=STOP_SIGNAL,
        identity=cluster.identity,
        is_storage=True,
    )
    supervisor.wait_until(cluster.is_ready, child)
    cluster.create_database(DATABASE)
    return cluster.url(DATABASE)


def _start_redis(options: LocalOptions, supervisor: Supervisor) -> str:
    server = place_redis(options)
    child = supervisor.start(
        Command("redis", tuple(server.command)),
        env=POSTGRES_ENVIRONMENT,
        cwd=server.directory,
        stop_signal=SIGTERM,
        is_storage=True,
    )
    supervisor.wait_until(server.is_ready, child)
    return server.url


def _say_if_heard(console: Console, text: str) -> None:
    try:
        console.say(text)
    except StopRequested:
        return
