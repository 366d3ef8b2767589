"""Where the files of exports lie: a folder a team, and in it names that begin with the export's id. Decides nothing.

An export's file has the fence of who wrote it in its name, so that a worker that lost its lease does not touch its
successor's. Beside a finished one lies its manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import UUID

from django.conf import settings

MANIFEST: Final = ".manifest.json"


def home() -> Path:
    """The folder that an export's ``path`` starts from."""
    found: Path = settings.ENV.home
    return found


def folder_of(tenant_id: int) -> Path:
    """Where a team's files are. It need not be there."""
    return home() / "exports" / str(tenant_id)


def files_of(tenant_id: int, export_id: UUID) -> list[Path]:
    """All that lies there of one export: finished, begun or left behind."""
    return sorted(folder_of(tenant_id).glob(f"{export_id}.*"))


def remove_files(tenant_id: int, export_id: UUID, *, keep: Iterable[Path] = ()) -> None:
    """Delete what lies there of one export. Raises ``OSError``."""
    kept = set(keep)
    for path in files_of(tenant_id, export_id):
        if path not in kept:
            path.unlink(missing_ok=True)


def manifest_of(path: Path) -> Path:
    """The manifest that lies beside an export's file."""
    return path.with_suffix(MANIFEST)


def private(path: str, flags: int) -> int:
    """An opener: nobody but Marina reads what it makes."""
    return os.open(path, flags, 0o600)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
