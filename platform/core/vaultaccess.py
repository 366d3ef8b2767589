"""Where a Vault is, and as whom Marina asks there. Plain data: it opens nothing (``core.vault`` does)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class VaultAccess:
    """By ``token``, or by AppRole's ``role_id`` and ``secret_id``. ``url`` has no slash at its end."""

    url: str
    mount: str = "secret"
    """Of the key/value store, version 2."""
    path: str = "marina"
    """Below which each team has a folder of its own, in the mount."""
    namespace: str = ""
    token: str = field(default="", repr=False)
    role_id: str = ""
    secret_id: str = field(default="", repr=False)
    role_mount: str = "approle"


def is_vault_path(path: str) -> bool:
    """Whether these are names of plain characters, a slash between them, that lead nowhere else."""
    return len(path) <= 512 and all(_SEGMENT.fullmatch(each) for each in path.split("/"))
