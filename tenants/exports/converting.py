"""Has another program make Parquet of a spool, and stops it when the work is not wanted any more."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import orjson

PROGRAM: Final = "tenants.exports.columns"
_FAILED_FILE: Final = 74
_POLL_SECONDS: Final = 0.2


class ConversionFailed(Exception):
    """The program ended without having done its work. Why is on its standard error, which is the worker's."""


def convert(source: Path, target: Path, beat: Callable[[], None]) -> tuple[int, str]:
    """Make ``target`` of ``source``: its size and SHA-256. ``beat`` is called all the while, and may raise.

    Raises ``OSError`` and ``ConversionFailed``.
    """
    # It needs where the modules are, and nothing else of the environment, which holds keys and passwords.
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(  # noqa: S603 - our own program, and paths of ours
        [sys.executable, "-P", "-m", PROGRAM, str(source), str(target)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as program:
        try:
            said = _listen(program.stdout, beat)
        except BaseException:
            program.kill()
            raise
    last = said.rstrip(b"\n").rpartition(b"\n")[2]
    if program.returncode == _FAILED_FILE:
        raise OSError(int(last or 0), "the file could not be written")
    if program.returncode != 0:
        raise ConversionFailed
    result = orjson.loads(last)
    return int(result["size"]), str(result["sha256"])


def _listen(output: IO[bytes] | None, beat: Callable[[], None]) -> bytes:
    """What it says until it ends, its last line at any rate."""
    said = b""
    if output is None:
        return said
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            beat()
            if not selector.select(_POLL_SECONDS):
                continue
            piece = os.read(output.fileno(), 4096)
            if not piece:
                return said
            said = (said + piece)[-4096:]
