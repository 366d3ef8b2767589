"""Who may have a source's tools called or described otherwise than their server does, and by which names.

Whichever way it is asked for: a tool by another name is taken over as it is now, with whatever changed of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from servers.execution.contract import Backend
from servers.models import DataSource
from servers.services.likeness import require_unlike
from tenants.access import Caller
from tenants.roles import Action

SETTING: Final = "overrides"


def require_naming(
    source: DataSource,
    backend: Backend,
    settings: Mapping[str, Any],
    *,
    caller: Caller,
    before: Mapping[str, Any],
) -> None:
    """Raise ``Forbidden`` or ``Conflict`` unless the caller may have tools called as these settings say, in place of
    those ``before``. In the open scope."""
    overrides = settings.get(SETTING) or {}
    moved = overrides != (before.get(SETTING) or {})
    if not moved:
        moved = (settings.get("prefix") or "") != (before.get("prefix") or "") and source.tools.exists()
    if backend.describes_itself and moved:
        caller.require(Action.SOURCES_APPROVE)
        require_new_names(source, overrides)


def require_new_names(source: DataSource, overrides: Mapping[str, Any]) -> None:
    """Raise ``Conflict`` where a new name is one that another source's tool has, or reads like it."""
    names = [source.tool_prefix + each["name"] for each in overrides.values() if "name" in each]
    require_unlike(names, besides=source.id)
