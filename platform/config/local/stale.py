"""Deals with what a killed PostgreSQL left: processes that still run, or a lock file that names nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from config.local.failure import StartError

_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.02
_PROC: Final = Path("/proc")


def end_stale_postgres(data: Path) -> None:
    """Wait until no earlier server works on ``data``, ending one that does; then drop a misleading lock file.

    The caller holds Marina's own run lock, so a server that still runs here belongs to nobody. The lock file
    goes only when its number was given to some other process since (PostgreSQL would refuse to start); in any
    other case PostgreSQL itself judges it. Raises ``StartError`` where a server does not end.
    """
    lock = data / "postmaster.pid"
    try:
        postmaster = int(lock.read_text().split("\n", 1)[0])
    except FileNotFoundError:
        return
    except ValueError:
        # Cut short while it was written: no server got further than that.
        lock.unlink(missing_ok=True)
        return
    deadline = time.monotonic() + _STOP_SECONDS
    asked = False
    while users := _processes_on(data, postmaster):
        if postmaster in users and not asked:
            os.kill(postmaster, signal.SIGINT)
            asked = True
        if time.monotonic() > deadline:
            pids = " ".join(map(str, sorted(users)))
            raise StartError(
                f"A PostgreSQL of an earlier run still works on {data} and does not end. "
                f"End it with `kill -QUIT {pids}`, then start again."
            )
        time.sleep(_POLL_SECONDS)
    if _runs(postmaster):
        lock.unlink(missing_ok=True)


def _processes_on(data: Path, postmaster: int) -> set[int]:
    """Processes that have ``data`` as their working directory, as every PostgreSQL process has."""
    found: set[int] = set()
    if not (_PROC / "self" / "cwd").exists():
        return {postmaster} if str(data) in _command_line(postmaster) else set()
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            try:
                if Path(os.readlink(entry / "cwd")) == data:  # noqa: PTH115 - the kernel's text, no checks
                    found.add(int(entry.name))
            except OSError:
                # It has ended, or belongs to another user and so is none of ours.
                continue
    return found


def _command_line(pid: int) -> str:
    """A running process's command line on systems without /proc; empty where it does not run."""
    done = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
