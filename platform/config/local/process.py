"""Starts and ends operating-system processes so that none outlives us. Knows nothing of what they run."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
_POLL_SECONDS: Final = 0.02
_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Identity:
    """The system user that a process runs as."""

    uid: int
    gid: int


def find_unprivileged_identity() -> Identity | None:
    """Whom to become where we are root and a program (PostgreSQL) refuses to be; None where we are not."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Identity(entry.pw_uid, entry.pw_gid)


def end_with_parent(stop_signal: signal.Signals) -> None:
    """Have the kernel send ``stop_signal`` to this process when its parent dies. Nothing but on Linux."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)


def start_process(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stop_signal: signal.Signals = signal.SIGTERM,
    identity: Identity | None = None,
    output: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start ``command`` in a session of its own, both outputs into ``output``.

    The terminal's Ctrl-C does not reach it: whoever starts it ends it. On Linux it gets ``stop_signal``
    when our process dies by whatever means; call this from the main thread, since the kernel watches the
    thread that forked.
    """
    ours = os.getpid()

    def in_child() -> None:
        # The kernel forgets the death signal when the user changes, so this comes after setuid (it does:
        # subprocess runs it last). Our death before this line would go unseen; hence the second look.
        end_with_parent(stop_signal)
        if os.getppid() != ours:
            os._exit(1)

    prepare: Callable[[], None] | None = in_child if _libc is not None else None
    return subprocess.Popen(
        list(command),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=[] if identity else None,
        preexec_fn=prepare,  # noqa: PLW1509 - forked from a process with one thread
    )


def stop_processes(
    processes: Iterable[tuple[subprocess.Popen[bytes], signal.Signals]],
    *,
    seconds: float,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Ask every process to end, and after ``seconds`` end whatever is left, with all of its descendants.

    ``meanwhile`` runs again and again while we wait (to drain their output, so none blocks on a full pipe).
    """
    pairs = list(processes)
    for process, stop_signal in pairs:
        if process.poll() is None:
            process.send_signal(stop_signal)
    deadline = time.monotonic() + seconds
    while any(process.poll() is None for process, _ in pairs) and time.monotonic() < deadline:
        if meanwhile is not None:
            meanwhile()
        else:
            time.sleep(_POLL_SECONDS)
    for process, _ in pairs:
        kill_group(process.pid)
        process.wait()


def kill_group(group: int) -> None:
    """End at once what is left of a process group that ``start_process`` made. None left is fine."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # macOS answers EPERM for a group that holds only zombies.
        return


def describe_exit(code: int) -> str:
    """``exit code 3`` or ``SIGKILL``, from subprocess's return code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
