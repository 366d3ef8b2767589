"""Every kind of data source, one line a kind, and what plugins bring. Kinds know nothing of each other.

A kind is imported when it is first asked for, so that a process holds no parser, driver or sandbox that no team uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from core.outbound import AllowAddress
from marina import ENTRY_POINTS
from servers.execution.contract import Backend, NoteSlow

Maker = Callable[[], Backend]


def list_makers(
    *,
    allow_address: AllowAddress,
    files_roots: Sequence[Path] = (),
    note_slow: NoteSlow | None = None,
) -> dict[str, Maker]:
    """What makes each kind, by its name. ``files_roots``: folders of this machine that the operator allows."""
    own = {
        "code": _maker("code", "CodeBackend"),
        "files": _maker("files", "FilesBackend", allow_address=allow_address, roots=files_roots),
        "flows": _maker("flows", "FlowsBackend"),
        "handmade": _maker("handmade", "HandmadeBackend"),
        "http": _maker("http", "HttpBackend", allow_address=allow_address),
        "mcp": _maker("mcp", "McpBackend", allow_address=allow_address),
        "postgres": _maker("postgres", "PostgresBackend", allow_address=allow_address, note_slow=note_slow),
        "sqlite": _maker("sqlite", "SqliteBackend", roots=files_roots, note_slow=note_slow),
        "toolkit": _maker("toolkit", "ToolkitBackend", allow_address=allow_address),
    }
    return {**own, **_list_brought(own)}


def _maker(folder: str, name: str, **given: object) -> Maker:
    def make() -> Backend:
        return cast("Backend", getattr(import_module(f"{__name__}.{folder}"), name)(**given))

    return make


def _list_brought(own: dict[str, Maker]) -> dict[str, Maker]:
    """The kinds of plugins. Which there are only the plugins themselves can say."""
    if not entry_points(group=ENTRY_POINTS):
        return {}
    from servers.execution.backends.plugins import load_plugins

    return {brought.kind: lambda brought=brought: brought for brought in load_plugins(taken=own)}  # type: ignore[misc]
