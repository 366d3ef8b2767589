"""The types that cross between services and execution backends. Plain data: no Django, no MCP wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from uuid import UUID

HealthState = Literal["unknown", "healthy", "degraded", "unhealthy"]


@dataclass(frozen=True, slots=True)
class Source:
    """A data source as execution sees it.

    ``settings`` is complete, with its secrets in clear: it lives in memory only, is never logged, and
    ``repr`` leaves it out. ``version`` grows with each change, so pools keyed by (id, version) go stale.
    """

    id: UUID
    tenant_id: int
    name: str
    kind: str
    version: int
    settings: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a tool does on its source: one of the kind's own operations, or a tenant's definition."""

    kind: str
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool that a source of some kind brings along, ready to be stored as version 1.

    ``input_schema`` and ``output_schema`` are JSON Schema 2020-12; ``annotations`` are MCP's tool hints.
    """

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    annotations: Mapping[str, Any]
    operation: Operation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call produced. ``structured`` is a JSON object; ``rows`` and ``size`` (bytes) feed the record."""

    structured: Mapping[str, Any] | None
    text: str
    rows: int | None = None
    size: int = 0
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """The result of a check: ``reason`` is a sentence for a person, empty when healthy."""

    state: HealthState
    reason: str = ""
    code: str = ""
    latency_ms: float | None = None


class Backend(Protocol):
    """A kind of data source. One object a process; it owns the pools of its kind, on one event loop."""

    kind: str
    title: str
    settings_schema: Mapping[str, Any]
    """JSON Schema 2020-12 of the settings that an admin enters."""
    secret_settings: frozenset[str]
    """Names of settings that are sealed at rest and never shown again."""

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Check and normalise settings. Runs no I/O. Raises ``InvalidInput`` with a path a fault."""
        ...

    def describe_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The part of the settings that may be shown (host, database, user …), without any secret."""
        ...

    def offered(self, settings: Mapping[str, Any]) -> Sequence[Offered]:
        """The tools that come with a source of this kind."""
        ...

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        """Check a tenant's own tool definition and derive its schemas. Raises ``InvalidInput``."""
        ...

    async def check(self, source: Source) -> Health:
        """Connect once, outside the pool, and say in words what is wrong. Never raises for a bad source."""
        ...

    async def execute(
        self, source: Source, operation: Operation, arguments: Mapping[str, Any], *, timeout: float
    ) -> Outcome:
        """Run one operation. ``timeout`` in seconds. Raises ``SourceError`` or ``InvalidInput``."""
        ...

    async def close(self) -> None:
        """Close every pool. The backend may be used again afterwards."""
        ...
