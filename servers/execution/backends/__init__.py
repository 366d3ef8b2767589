"""Every kind of data source, one line a kind. Kinds know nothing of each other."""

from __future__ import annotations

from servers.execution.addresses import AllowAddress
from servers.execution.backends.postgres import PostgresBackend
from servers.execution.contract import Backend


def build_backends(*, allow_address: AllowAddress) -> dict[str, Backend]:
    """A fresh object of each kind, by its name."""
    backends: list[Backend] = [
        PostgresBackend(allow_address=allow_address),
    ]
    return {backend.kind: backend for backend in backends}
