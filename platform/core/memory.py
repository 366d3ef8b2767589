"""What a process has of memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """That are in memory just now; 0 where there is no such process, or no ``/proc``.

    Not what ``getrusage`` says, which on Linux is at least what whoever started the process had
    (``proc_pid_statm(5)``, ``getrusage(2)``).
    """
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
