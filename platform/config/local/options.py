"""What the environment asks of a local run. Settings that every server needs are ``config.env``'s."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.env import BadEnvironment
from config.handover import LONGEST_PATH

ROOT: Final = Path(__file__).resolve().parents[3]
"""The checkout: where manage.py is."""


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """The variables of a local run. None means: Marina chooses."""

    home: Path
    host: str
    port: int
    base_url: str
    web_processes: int
    worker_processes: int
    task_slots: int
    database_url: str | None
    postgres_port: int | None
    redis_url: str | None
    redis_port: int | None
    master_key: str | None
    heavy_socket: str
    """Where the web process hands large requests over; empty where it answers them itself."""


def read_options(environ: Mapping[str, str]) -> LocalOptions:
    """Raises ``BadEnvironment`` with the variable's name and what it must be."""
    port = _read_number(environ, "PORT", high=65535) or 8000
    home = Path(environ.get("MARINA_HOME") or ROOT / ".marina").absolute()
    return LocalOptions(
        home=home,
        host=environ.get("HOST") or "127.0.0.1",
        port=port,
        base_url=(environ.get("MARINA_BASE_URL") or f"http://127.0.0.1:{port}").rstrip("/"),
        web_processes=_read_number(environ, "WEB_CONCURRENCY", high=256) or 1,
        worker_processes=_read_number(environ, "WORKER_CONCURRENCY", high=256) or 2,
        task_slots=_read_number(environ, "MARINA_TASK_SLOTS", high=1_000) or 16,
        database_url=environ.get("DATABASE_URL") or None,
        postgres_port=_read_number(environ, "MARINA_PG_PORT", high=65535),
        redis_url=environ.get("REDIS_URL") or None,
        redis_port=_read_number(environ, "MARINA_REDIS_PORT", high=65535),
        master_key=environ.get("MARINA_MASTER_KEY") or None,
        heavy_socket=environ.get("MARINA_HEAVY_SOCKET", _fitting(home / "heavy.sock")),
    )


def _fitting(path: Path) -> str:
    """A socket's path; empty where none can have such a long one."""
    return str(path) if len(os.fsencode(path)) <= LONGEST_PATH else ""


def _read_number(environ: Mapping[str, str], name: str, *, high: int) -> int | None:
    text = environ.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= high:
        raise BadEnvironment(f"{name} is {text!r}: it must be a whole number from 1 to {high}.")
    return int(text)
