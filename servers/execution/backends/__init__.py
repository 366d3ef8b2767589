"""Every kind of data source, one line a kind, and what plugins bring. Kinds know nothing of each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.outbound import AllowAddress
from servers.execution.backends.code import CodeBackend
from servers.execution.backends.files import FilesBackend
from servers.execution.backends.flows import FlowsBackend
from servers.execution.backends.handmade import HandmadeBackend
from servers.execution.backends.http import HttpBackend
from servers.execution.backends.mcp import McpBackend
from servers.execution.backends.plugins import load_plugins
from servers.execution.backends.postgres import PostgresBackend
from servers.execution.backends.sqlite import SqliteBackend
from servers.execution.backends.toolkit import ToolkitBackend
from servers.execution.contract import Backend, NoteSlow


def build_backends(
    *,
    allow_address: AllowAddress,
    files_roots: Sequence[Path] = (),
    note_slow: NoteSlow | None = None,
) -> dict[str, Backend]:
    """A fresh object of each kind, by its name. ``files_roots``: folders of this machine that the operator allows."""
    backends: list[Backend] = [
        CodeBackend(),
        FilesBackend(allow_address=allow_address, roots=files_roots),
        FlowsBackend(),
        HandmadeBackend(),
        HttpBackend(allow_address=allow_address),
        McpBackend(allow_address=allow_address),
        PostgresBackend(allow_address=allow_address, note_slow=note_slow),
        SqliteBackend(roots=files_roots, note_slow=note_slow),
        ToolkitBackend(allow_address=allow_address),
    ]
    own = {backend.kind: backend for backend in backends}
    return {**own, **{backend.kind: backend for backend in load_plugins(taken=own)}}
