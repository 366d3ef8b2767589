"""What is preloaded into processes so that their clock goes wrong, or their disk is full, when a test says so."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("shim.c")
_WISHES: Final = struct.Struct("<qq")
"""As ``struct wishes`` of shim.c."""


def build_shim(folder: Path) -> Path:
    """Compile it, by the compiler that ``make test`` needs anyway. Gives the library."""
    library = folder / "shim.so"
    command = [
        "cc",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(SOURCE),
        "-ldl",
    ]
    subprocess.run(command, check=True)
    library.chmod(0o755)
    return library


class Wishes:
    """What the processes with this ``environment`` are to meet."""

    def __init__(self, library: Path, name: str) -> None:
        self._path = library.with_name(f"{name}.wishes")
        self.moved_seconds = 0.0
        self.disk_full = False
        self._write()
        # Processes of another user read it, too.
        self._path.chmod(0o644)
        self.environment = {"LD_PRELOAD": str(library), "FAULT_SHIM": str(self._path)}

    def move_clock(self, seconds: float) -> None:
        """Let their time of day be so much later than it is. 0 puts it right."""
        self.moved_seconds = seconds
        self._write()

    def fill_disk(self, full: bool) -> None:
        """Let no file of theirs get another block, or let it have some again."""
        self.disk_full = full
        self._write()

    def _write(self) -> None:
        # In place: they look at the file's own pages.
        mode = "r+b" if self._path.exists() else "wb"
        with self._path.open(mode) as file:
            file.write(_WISHES.pack(round(self.moved_seconds * 1_000_000), int(self.disk_full)))
