"""Plugins of pytest that the whole suite shares, and what is settled before anything of it runs."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

from config.local import ports

# How long one example takes says something of the machine, and nothing of what it is an example for.
settings.register_profile("marina", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("marina")

_WORKERS: Final = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT") or 1)
_OWN: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_find_free_port = ports.find_free_port
_given: set[int] = set()


def _find_own_port(host: str = ports.LOOPBACK) -> int:
    """One that no other test process is given, and this one never again.

    Seconds pass until whoever asked listens there, and it would be free to somebody else as long.
    """
    while True:
        port = _find_free_port(host)
        if port not in _given and port % _WORKERS == _OWN:
            _given.add(port)
            return port


ports.find_free_port = _find_own_port
