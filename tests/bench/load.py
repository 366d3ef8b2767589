"""Runs wrk on one prepared request and reads what it measured. Starts no server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.works import Prepared

_SCRIPT: Final = Path(__file__).with_name("load.lua")
_GRACE_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Load:
    """One run: requests a second, latency percentiles, and how many answers were wrong or missing.

    ``cpu_us`` is the processor time that the server spent a request: it hardly moves with other load.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    requests: int
    cpu_us: float = 0.0


def find_wrk() -> str:
    """The load generator. Ends the program with what to install where it is missing."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit(
            "make bench needs the load generator wrk (4.1 or newer), and it is not on the PATH.\n"
            "Debian and Ubuntu: apt-get install wrk. Fedora: dnf install wrk. macOS: brew install wrk."
        )
    return program


def run_load(
    program: str, request: Prepared, *, connections: int, seconds: int, wanted: str, checks_all: bool
) -> Load:
    """Send the request from this many connections, each one's next when its last was answered."""
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    if checks_all:
        environment["BENCH_CHECK"] = "1"
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        for name, content in (
            ("first", request.first),
            ("last", request.last),
            ("wanted", wanted.encode()),
        ):
            (Path(folder) / name).write_bytes(content)
        command = [
            *(program, "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
            *("--timeout", "10s", "--script", str(_SCRIPT), request.url, "--", folder),
        ]
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _GRACE_SECONDS,
        )
    if done.returncode != 0:
        raise SystemExit(f"wrk failed:\n{done.stdout}{done.stderr}")
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    # A wrong status is a wrong answer too where bodies are read: count it once.
    errors = max(seen["wrong"], seen["status"]) + seen["socket"]
    return Load(seen["requests"] / seen["seconds"], seen["p50_ms"], seen["p99_ms"], errors, seen["requests"])
