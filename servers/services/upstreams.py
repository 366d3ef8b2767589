"""The servers behind a data source: what the last check found of each, and which of them are asked just now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from core.loop import run_async
from servers.models import DataSource
from servers.services.kinds import backend_of, find_kind
from servers.services.runtime import get_runtime
from servers.services.sources import get_source
from servers.services.upstream_states import KeptState
from tenants.access import Caller

_WORST_FIRST: Final = ("open", "half_open", "closed")


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """What a check found of one server."""

    state: str
    reason: str
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server behind a source. ``health`` is of the last check, where it looked at several.

    ``state`` is the worst that any process found; ``processes`` are those that found something.
    """

    number: int
    url: str
    health: UpstreamHealth | None
    processes: Sequence[KeptState]

    @property
    def state(self) -> str:
        """Whether it is asked: ``closed``, ``half_open`` or ``open``."""
        worst = self.worst
        return "closed" if worst is None else worst.state

    @property
    def worst(self) -> KeptState | None:
        """What the process found that thinks worst of it; of those that agree the first."""
        return min(self.processes, key=lambda each: _WORST_FIRST.index(each.state), default=None)


def list_upstreams(source_id: UUID, *, caller: Caller) -> Sequence[Upstream]:
    """The servers behind a source; none of a kind that does not say which it asks.

    Raises ``NotFound``, and ``Unavailable`` while Redis is away.
    """
    row = get_source(source_id, caller=caller)
    urls = _urls(row)
    if not urls:
        return ()
    found = run_async(get_runtime().upstream_states.read(caller.tenant_id, row.id, row.version))
    parts = {each["url"]: _health(each) for each in row.health_parts}
    return [
        Upstream(number, url, parts.get(url), [each for each in found if each.number == number])
        for number, url in enumerate(urls)
    ]


def _urls(row: DataSource) -> Sequence[str]:
    return () if find_kind(row.kind) is None else backend_of(row.kind).servers_behind(row.settings)


def _health(kept: dict[str, Any]) -> UpstreamHealth:
    return UpstreamHealth(kept["state"], kept["reason"], kept["latency_ms"])
