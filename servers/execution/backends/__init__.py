"""Every kind of data source, one line a kind, and what plugins bring. Kinds know nothing of each other.

A kind is imported when it is first asked for, so that a process holds no parser, driver or sandbox that no team uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from core.hostedcommands import HostedCommand
from core.outbound import AllowAddress
from core.talks import Talks
from marina import ENTRY_POINTS
from servers.execution.contract import Backend, NoteHosted, NoteSlow, NoteUpstream, SignIns
from servers.execution.notes import NoteChanged

Maker = Callable[[], Backend]


def list_makers(
    *,
    allow_address: AllowAddress,
    files_roots: Sequence[Path] = (),
    hosted_commands: Sequence[HostedCommand] = (),
    note_slow: NoteSlow | None = None,
    note_hosted: NoteHosted | None = None,
    note_upstream: NoteUpstream | None = None,
    note_changed: NoteChanged | None = None,
    talks: Talks | None = None,
    sign_ins: SignIns | None = None,
) -> dict[str, Maker]:
    """What makes each kind, by its name. Of this machine the operator allows ``files_roots``, ``hosted_commands``.

    ``talks``: the way to other processes, for what they hold. ``sign_ins`` has the tokens of those who signed in to
    what a source stands on.
    """
    own = {
        "code": _maker("code", "CodeBackend"),
        "files": _maker("files", "FilesBackend", allow_address=allow_address, roots=files_roots),
        "flows": _maker("flows", "FlowsBackend"),
        "handmade": _maker("handmade", "HandmadeBackend"),
        "http": _maker("http", "HttpBackend", allow_address=allow_address),
        "mcp": _maker(
            "mcp",
            "McpBackend",
            allow_address=allow_address,
            commands=hosted_commands,
            note_hosted=note_hosted,
            note_upstream=note_upstream,
            note_changed=note_changed,
            talks=talks,
            sign_ins=sign_ins,
        ),
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
