"""A Redis that a test may stop, or kill, and start again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from config.local.ports import find_free_port
from config.local.postgres import POSTGRES_ENVIRONMENT
from config.local.process import kill_group, start_process, stop_processes
from config.local.redis import RedisServer, find_redis
from tests.protocol.waiting import wait_for


class StoppableRedis:
    """A Redis of a test's own."""

    def __init__(self, folder: Path) -> None:
        self._server = RedisServer(find_redis(), folder, find_free_port())
        self._log = folder / "redis.log"
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        """One that runs while the block does, or until it is stopped."""
        redis = cls(folder)
        redis.start()
        try:
            yield redis
        finally:
            redis.stop()

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.spawn()
        wait_for(self._server.is_ready, 30)

    def spawn(self) -> None:
        """Start it, with nothing in it, and return at once."""
        with self._log.open("ab") as output:
            self.process = start_process(
                self._server.command, env=POSTGRES_ENVIRONMENT, cwd=self._folder, output=output
            )

    def kill(self) -> None:
        """``kill -9``."""
        assert self.process is not None
        kill_group(self.process.pid)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            stop_processes([(self.process, signal.SIGTERM)], seconds=30)
            self.process = None
