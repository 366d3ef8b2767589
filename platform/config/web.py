"""``python -m config.web [APPLICATION]``: the web process, or as many as WEB_CONCURRENCY says. Holds no route.

Every way to run Marina's web side goes through here, so that all of them have the same limits and end alike.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import signal
import socket
import sys
import time
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final

import uvicorn

from config.compiled import use_compiled
from config.env import Env, get_env
from config.local.process import end_with_parent
from config.protocol import SPARE_CONNECTIONS, WebConfig, sweep_connections
from config.sockets import LingeringSocket
from core.shutdown import begin_drain

APPLICATION: Final = "config.asgi:application"

OTHER_FILES: Final = 256
"""File descriptors that a process keeps for what is not a client: databases, Redis, code."""

RESTART_SECONDS: Final = 1.0
"""How soon a process that died is followed by another."""

_LOOK_SECONDS: Final = 0.2
"""How soon a signal is noticed."""

START_FAILED: Final = 3
"""uvicorn's exit code of a process that could not start: its follower could not either."""

_TICKS_A_SWEEP: Final = 10
"""uvicorn ticks ten times a second."""


class WebServer(uvicorn.Server):
    """uvicorn's server: it sweeps its connections, and tells the process when it begins to end."""

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SWEEP == 0:
            sweep_connections(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # No longer listening comes first: who is sent away now must not come back here.
        for server in self.servers:
            server.close()
        begin_drain()
        await super().shutdown(sockets)


def make_server(app: Any, env: Env, *, kind: type[WebServer] = WebServer, **options: Any) -> WebServer:
    """A server of ``app`` as the environment wants it. ``options`` are uvicorn's, for one that is embedded."""
    most = _raise_file_limit() - OTHER_FILES - SPARE_CONNECTIONS
    web = replace(env.web, max_connections=max(16, min(env.web.max_connections, most)))
    given: dict[str, Any] = {
        "host": env.host,
        "port": env.port,
        "loop": "uvloop",
        "access_log": False,
        # uvicorn's own would write the texts of exceptions; ours is set up with Django.
        "log_config": None,
        "server_header": False,
        # What a proxy says of its client is judged where it matters (core.clientaddress).
        "proxy_headers": False,
        "ws": LingeringSocket,
        "ws_max_size": env.max_body_bytes,
        **options,
    }
    return kind(WebConfig(app, web, **given))


def serve(app: str, sockets: list[socket.socket] | None = None) -> None:
    """Serve in this process until a signal ends it."""
    env = get_env()
    if env.compiled:
        # Before the application is imported.
        use_compiled()
    server = make_server(app, env)
    server.run(sockets)
    if not server.started:
        sys.exit(START_FAILED)


def serve_in_many(app: str, env: Env) -> int:
    """Serve from ``env.web.processes`` processes on one socket until a signal ends them. The exit code."""
    with _listen(env) as listening:
        processes = Processes(app, listening, env.web.processes)
        signal.signal(signal.SIGTERM, processes.note_wish)
        signal.signal(signal.SIGINT, processes.note_wish)
        processes.start()
        return processes.watch()


@dataclass(slots=True)
class Processes:
    """Web processes that share a socket. One that dies is followed by another."""

    app: str
    listening: socket.socket
    count: int
    _running: list[SpawnProcess] = field(default_factory=list)
    _ending: bool = False

    def note_wish(self, number: int, frame: object) -> None:
        """A signal's handler: end."""
        self._ending = True

    def start(self) -> None:
        """Start as many as are missing."""
        context = multiprocessing.get_context("spawn")
        while len(self._running) < self.count and not self._ending:
            process = context.Process(target=_serve_beside, args=(self.app, self.listening))
            process.start()
            self._running.append(process)

    def watch(self) -> int:
        """Until we are to end, or no process can start. The exit code."""
        code = 0
        while not self._ending:
            wait([process.sentinel for process in self._running], timeout=_LOOK_SECONDS)
            dead = [process for process in self._running if process.exitcode is not None]
            self._running = [process for process in self._running if process not in dead]
            if any(process.exitcode == START_FAILED for process in dead):
                code = START_FAILED
                break
            if dead and not self._ending:
                time.sleep(RESTART_SECONDS)
                self.start()
        # The children's copies are closed by themselves: then nobody listens any more.
        self.listening.close()
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.join()
        return code


def _serve_beside(app: str, listening: socket.socket) -> None:
    end_with_parent(signal.SIGTERM)
    serve(app, [listening])


def _listen(env: Env) -> socket.socket:
    family = socket.AF_INET6 if ":" in env.host else socket.AF_INET
    listening = socket.create_server((env.host, env.port), family=family, backlog=2048)
    listening.set_inheritable(True)
    return listening


def _raise_file_limit() -> int:
    """As many open files as the system lets us have. How many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def main() -> int:
    """The exit code. Raises ``BadEnvironment``, which ends the process with its own line."""
    app = sys.argv[1] if len(sys.argv) > 1 else APPLICATION
    env = get_env()
    run = partial(serve, app) if env.web.processes == 1 else partial(serve_in_many, app, env)
    return run() or 0


if __name__ == "__main__":
    sys.exit(main())
