"""Takes away what killed writes left: old files under their temporary names, where one is met, and nothing else."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from time import time
from typing import Final

from servers.execution.backends.files.storage import TEMPORARY
from servers.execution.folders import beneath

OLD_SECONDS: Final = 3_600.0
"""No write takes so long."""

_NAME: Final = re.compile(re.escape(TEMPORARY) + r"[0-9a-f]{32}")


def new_name() -> str:
    """What a file is called while it is written."""
    return f"{TEMPORARY}{secrets.token_hex(16)}"


def sweep_entry(folder: int, name: str) -> None:
    """Take the entry of a folder away where it is what a killed write left."""
    if not _NAME.fullmatch(name):
        return
    with suppress(OSError):  # it was taken away meanwhile, or may not be
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if beneath.is_plain(found) and time() - found.st_mtime > OLD_SECONDS:
            os.unlink(name, dir_fd=folder)
