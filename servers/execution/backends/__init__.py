"""Every kind of data source, one line a kind, and what plugins bring. Kinds know nothing of each other."""

from __future__ import annotations

from core.outbound import AllowAddress
from servers.execution.backends.code import CodeBackend
from servers.execution.backends.flows import FlowsBackend
from servers.execution.backends.http import HttpBackend
from servers.execution.backends.plugins import load_plugins
from servers.execution.backends.postgres import PostgresBackend
from servers.execution.contract import Backend


def build_backends(*, allow_address: AllowAddress) -> dict[str, Backend]:
    """A fresh object of each kind, by its name."""
    backends: list[Backend] = [
        CodeBackend(),
        FlowsBackend(),
        PostgresBackend(allow_address=allow_address),
        HttpBackend(allow_address=allow_address),
    ]
    own = {backend.kind: backend for backend in backends}
    return {**own, **{backend.kind: backend for backend in load_plugins(taken=own)}}
