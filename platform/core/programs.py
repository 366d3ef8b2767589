"""Starts programs of Marina's own beside it: of low priority, and with nothing of its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

_NICELY: Final = (
    "import os, runpy, sys; os.setpriority(os.PRIO_PROCESS, 0, max(5, os.nice(0))); "
    "from core.turns import take_long_turns; take_long_turns(); "
    "runpy.run_module(sys.argv[1], run_name='__main__', alter_sys=True)"
)
"""Whoever is answered by a web process goes first, also while the program is still being imported: a fifth of a second.
Not whoever a heavy process answers: that is as nice as this, and what gave way to both would hardly get a turn."""

_PIPE_BYTES: Final = 256 * 1024


def start_program(
    module: str, *, stdin: int = subprocess.PIPE, stdout: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """Run a module as a program. From a thread that others do not wait for. Raises ``OSError``.

    It has no environment: what Marina has there, its master key among it, is nothing that somebody's input
    should be near.
    """
    environment = {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-c", _NICELY, module],
        bufsize=_PIPE_BYTES,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
    )
