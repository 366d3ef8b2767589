"""What a process keeps while it serves, and that it lets go of it."""

from __future__ import annotations

import psutil
import pytest
from django.conf import settings
from redis.asyncio.connection import parse_url

from core.loop import run_async
from servers.services.runtime import Runtime


def _to_redis(port: int) -> set[int]:
    """The local ports of this process's connections to Redis."""
    return {
        held.laddr.port
        for held in psutil.Process().net_connections("tcp")
        if held.status == psutil.CONN_ESTABLISHED and held.raddr.port == port
    }


@pytest.mark.usefixtures("database")
def test_one_that_was_never_started_lets_go_of_its_connections_all_the_same() -> None:
    """REST counts wrong keys on the background loop: a server that starts later has a loop of its own."""
    runtime, port = Runtime(), parse_url(settings.ENV.redis_url)["port"]
    before = _to_redis(port)
    run_async(runtime.lockout.check("203.0.113.9"), timeout=20)
    run_async(runtime.bus.publish("nobody-listens", b""), timeout=20)
    opened = _to_redis(port) - before
    assert len(opened) >= 2
    run_async(runtime.stop(), timeout=20)
    assert not opened & _to_redis(port)
