"""The kinds of data source that this installation has. Opens no connection."""

from __future__ import annotations

from servers.execution.contract import Backend
from servers.services.runtime import get_runtime
from tenants.services.inputs import one_of


def backend_of(kind: object, path: str = "kind") -> Backend:
    """The backend of a kind. Raises ``InvalidInput`` that lists the known kinds."""
    engine = get_runtime().engine
    return engine.backend(one_of(kind, path, engine.kinds))
