"""A process that pumps the streams of all teams until it is killed by its test. It says when it has begun."""

from __future__ import annotations

import os

import django

django.setup()

from core.loop import run_async
from tenants.streams import pump as pumping
from tenants.streams.pump import Seat, pump

if __name__ == "__main__":
    # A seat of its own: the one of a process that was killed is held for some seconds more.
    pumping._SEAT = f"marina:streams:pump:{os.getpid()}"  # type: ignore[misc]
    os.write(1, b"pumping\n")
    while True:
        run_async(pump(Seat(), seconds=5), timeout=60)
