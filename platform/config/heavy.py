"""``python -m config.heavy [APPLICATION]``: a web process of low priority for what would hold others up.

One large body, or a document that thousands of tools are made of, costs a process's interpreter a tenth of a second and
more, in which all who call it wait. Web processes hand the connections of such requests to this one, at
``MARINA_HEAVY_SOCKET``: it is a web process like the others, that listens to nobody else (docs/adr/0029). Without it
they answer by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, cast

from config.compiled import use_compiled
from config.env import BadEnvironment, get_env
from config.handover import Takeover
from config.protocol import TakenOver, WebConfig
from config.web import APPLICATION, START_FAILED, WebServer, make_server
from core.resting import stay_awake
from core.turns import take_long_turns

NICENESS: Final = 5
"""It gets a quarter of a processor that another wants, too, and all of one that nobody wants. At 10 it was a tenth:
where all processors had much to do, documents were not read in time."""

logger = logging.getLogger(__name__)


class HeavyServer(WebServer):
    """Serves the connections that others hand over."""

    def __init__(self, config: WebConfig) -> None:
        super().__init__(config)
        self._takeover = Takeover(Path(config.web.heavy_socket), self._take)
        self._adopting: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        try:
            self._takeover.open()
        except OSError as fault:
            path = cast("WebConfig", self.config).web.heavy_socket
            logger.critical("nobody can hand requests over at %s: %s", path, fault.strerror)
            await self.lifespan.shutdown()
            sys.exit(START_FAILED)
        logger.info(
            "heavy process takes requests", extra={"path": cast("WebConfig", self.config).web.heavy_socket}
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._takeover.close()
        if self._adopting:
            # What was handed over last is answered, too.
            await asyncio.wait(self._adopting)
        await super().shutdown(sockets)

    def _take(self, client: socket.socket, read: bytes) -> None:
        config = cast("WebConfig", self.config)
        make = partial(TakenOver, config, self.server_state, self.lifespan.state, read=read)
        task = asyncio.get_running_loop().create_task(_adopt(client, make))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)


async def _adopt(client: socket.socket, make: Callable[[], TakenOver]) -> None:
    try:
        await asyncio.get_running_loop().connect_accepted_socket(make, client)
    except Exception:
        logger.exception("a connection that was handed over is lost")
        client.close()


def give_way() -> None:
    """Have other processes of this machine run first.

    Where Linux groups processes by sessions (sched_autogroup_enabled, sched(7)), how nice one is counts within its
    session alone: the session has to be. Not one that others began, and are in.
    """
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS))
    # How nice it is says how much it gets, not how soon who wakes up does.
    take_long_turns()


def main() -> None:
    """Serve until a signal ends it. Raises ``BadEnvironment``, which ends the process with its own line."""
    env = get_env()
    if not env.web.heavy_socket:
        raise BadEnvironment(
            "MARINA_HEAVY_SOCKET is not set: it must say where web processes hand requests over."
        )
    give_way()
    stay_awake()
    if env.compiled:
        # Before the application is imported.
        use_compiled()
    app = sys.argv[1] if len(sys.argv) > 1 else APPLICATION
    server = make_server(app, env, kind=HeavyServer)
    server.run([])
    if not server.started:
        sys.exit(START_FAILED)


if __name__ == "__main__":
    main()
