"""What a local run consists of: which commands, in which order, with which environment. Runs none of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.local.options import ROOT, LocalOptions

CELERY: Final = "config.celery"
"""The Celery application that workers and scheduler load."""

_NO_WARNING: Final = "ignore:You're running the worker with superuser privileges"
"""Celery's warning against root is for servers; here root is who ran `make run` (in a container, say)."""


@dataclass(frozen=True, slots=True)
class Command:
    """One child: the name before its output, and what runs."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps one after the other, then services together, then, while they start, the steps that need them.

    ``demo`` is where a step leaves the demo tenant's names and keys, for the last one and for ``demo.json``.
    """

    before: tuple[Command, ...]
    services: tuple[Command, ...]
    after: tuple[Command, ...]
    demo: Path
    cwd: Path


def make_plan(options: LocalOptions) -> Plan:
    """Marina's own plan. No argument holds a secret: other users of the machine can read arguments."""
    python = sys.executable
    manage = str(ROOT / "manage.py")
    demo = options.home / "demo-tenant.json"
    web = (python, "-m", "config.web", "config.asgi:application")
    heavy = (Command("heavy", (python, "-m", "config.heavy", "config.asgi:application")),)
    celery = (python, "-m", "celery", "-A", CELERY, "--quiet")
    # They have nothing to gossip about, and asking takes a second of every start.
    consume = (*celery, "worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
    worker = (*consume, "--queues", "celery", "--concurrency", str(options.worker_processes))
    exporter = (*consume, "--queues", "exports", "--concurrency", "1", "--hostname", "exports@%h")
    runner = (
        *(*consume, "--queues", "tasks", "--pool", "threads"),
        *("--concurrency", str(options.task_slots), "--hostname", "tasks@%h"),
    )
    beat = (
        *(*celery, "beat", "--loglevel", "INFO", "--pidfile="),
        *("--schedule", str(options.home / "celerybeat-schedule")),
    )
    return Plan(
        before=(Command("setup", (python, manage, "setup_database")),),
        services=(
            Command("web", web),
            *(heavy if options.heavy_socket else ()),
            Command("worker", worker),
            Command("exporter", exporter),
            Command("runner", runner),
            Command("beat", beat),
        ),
        after=(
            Command("demo", (python, manage, "load_demo", "--json-out", str(demo))),
            Command("call", (python, "-m", "config.local.first_call", str(demo), _local_url(options))),
        ),
        demo=demo,
        cwd=ROOT,
    )


def child_environment(
    inherited: Mapping[str, str], options: LocalOptions, *, master_key: str, database_url: str, redis_url: str
) -> dict[str, str]:
    """The environment of every process that runs Marina's code."""
    return {
        **inherited,
        # Celery would import every page and API view in the worker and in beat, only to check them.
        "CELERY_SKIP_CHECKS": "1",
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "HOST": options.host,
        "MARINA_BASE_URL": options.base_url,
        # On this machine, until another place is named: what only shows to others what is kept by others.
        "MARINA_CHECKPOINTS": inherited.get("MARINA_CHECKPOINTS", (options.home / "checkpoints").as_uri()),
        # A run ends within ten seconds, storage included, whatever is in flight.
        "MARINA_DRAIN_SECONDS": "4",
        # Each team's files lie in a folder of its own there.
        "MARINA_FILES_ROOTS": inherited.get("MARINA_FILES_ROOTS") or str(options.home / "files"),
        "MARINA_HEAVY_SOCKET": options.heavy_socket,
        "MARINA_HOME": str(options.home),
        "MARINA_MASTER_KEY": master_key,
        # The demo's database is on this machine, and so is most of what a local run is tried with.
        "MARINA_OUTBOUND_ALLOW": inherited.get("MARINA_OUTBOUND_ALLOW") or "127.0.0.0/8 ::1",
        "PORT": str(options.port),
        "PYTHONWARNINGS": ",".join(filter(None, (inherited.get("PYTHONWARNINGS"), _NO_WARNING))),
        # Lines appear when they are written, though the output is a pipe.
        "PYTHONUNBUFFERED": "1",
        "REDIS_URL": redis_url,
        "WEB_CONCURRENCY": str(options.web_processes),
    }


def _local_url(options: LocalOptions) -> str:
    """Where this machine reaches the web process, whatever its public name is."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)  # noqa: S104 - compared only
    return f"http://{host}:{options.port}"
