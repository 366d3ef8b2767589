"""Marina's application with a meter on its event loop: ``GET /held`` says how long that was held, and begins anew.

``GET /hold`` holds it for 0.3 s of its processor's time.

A timer of a millisecond tells how late it comes. What counts is that time less what other processes of the machine
took of it: less what the loop's thread waited for a processor, and no more than this process computed meanwhile, on
the loop or in a thread that did not let go of the interpreter.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from typing import Any, Final

from config.asgi import application as marina

_TICK_SECONDS: Final = 0.001
_HOLD_SECONDS: Final = 0.3


class Meter:
    """How long a loop was held at most, in seconds, since it was asked last."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._wall = self._computed = self._waited = 0.0
        self._told = -1

    def start(self) -> None:
        """On the loop's thread, which has it to itself."""
        # "scheduler statistics": computed, waited for a processor (both in ns), times that it ran.
        self._told = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        self._begin()
        self._wait()

    def take(self) -> float:
        """The longest of what was held until now."""
        self._look()
        longest, self._longest = self._longest, 0.0
        self._begin()
        return longest

    def _begin(self) -> None:
        self._wall, self._computed, self._waited = (
            time.monotonic(),
            time.process_time(),
            self._wait_of_thread(),
        )

    def _look(self) -> None:
        late = time.monotonic() - self._wall - _TICK_SECONDS
        late -= self._wait_of_thread() - self._waited
        self._longest = max(self._longest, min(late, time.process_time() - self._computed))

    def _wait_of_thread(self) -> float:
        return int(os.pread(self._told, 100, 0).split()[1]) / 1e9

    def _wait(self) -> None:
        asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._look()
        self._begin()
        self._wait()


meter = Meter()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Marina, and two pages more."""
    if scope["type"] == "lifespan":
        meter.start()
    elif scope.get("path") in ("/held", "/hold"):
        if scope["path"] == "/hold":
            until = time.thread_time() + _HOLD_SECONDS
            while time.thread_time() < until:
                pass
            said: dict[str, float] = {}
        else:
            said = {"milliseconds": meter.take() * 1_000}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})
        return
    await marina(scope, receive, send)
