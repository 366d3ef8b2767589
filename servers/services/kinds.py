"""The kinds of data source that this installation has. Opens no connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from servers.execution.contract import Backend, Operation, ToolKind
from servers.services.runtime import get_runtime
from tenants.services.inputs import one_of


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of data source as people choose it. ``schema`` is JSON Schema 2020-12 of its settings.

    ``tool_kinds``: the kinds of tools that teams define on it. ``documents``: names of settings that hold one.
    ``summary``: what it is for, in a sentence.
    ``describes_itself``: what it brings is what a stranger says, and may say otherwise tomorrow.
    """

    name: str
    title: str
    schema: Mapping[str, Any]
    secrets: frozenset[str]
    tool_kinds: Mapping[str, ToolKind] = field(default_factory=dict)
    documents: frozenset[str] = frozenset()
    summary: str = ""
    describes_itself: bool = False

    @property
    def ready(self) -> bool:
        """Whether it has no settings, so that there is nothing to fill in."""
        return not self.schema.get("properties")


def list_kinds() -> list[Kind]:
    """Every kind that is installed, by title."""
    engine = get_runtime().engine
    kinds = [_kind(engine.backend(name)) for name in engine.kinds]
    return sorted(kinds, key=lambda kind: (kind.title.lower(), kind.name))


def find_kind(name: str) -> Kind | None:
    """The kind of this name; ``None`` where it is not installed, or not any more."""
    engine = get_runtime().engine
    return _kind(engine.backend(name)) if name in engine.kinds else None


def backend_of(kind: object, path: str = "kind") -> Backend:
    """The backend of a kind. Raises ``InvalidInput`` that lists the known kinds."""
    engine = get_runtime().engine
    return engine.backend(one_of(kind, path, engine.kinds))


def tools_called(kind: str, operation: Operation) -> Sequence[str]:
    """The names of the tools that an operation may call; none of a kind that is not installed any more."""
    engine = get_runtime().engine
    return engine.backend(kind).uses(operation) if kind in engine.kinds else ()


def _kind(backend: Backend) -> Kind:
    return Kind(
        backend.kind,
        backend.title,
        backend.settings_schema,
        backend.secret_settings,
        backend.tool_kinds,
        backend.document_settings,
        backend.summary,
        backend.describes_itself,
    )
