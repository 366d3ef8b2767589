"""How scopes that narrow are written. Pure."""

from __future__ import annotations

import re
from typing import Final

NARROWED_TOOL: Final = re.compile(r"tool:[A-Za-z0-9_.-]{1,64}")
_NARROWED_SERVER: Final = re.compile(r"server:[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


def is_narrowing(scope: str) -> bool:
    """Whether a scope is a sound one that narrows to a tool or a server."""
    return any(pattern.fullmatch(scope) for pattern in (NARROWED_TOOL, _NARROWED_SERVER))
