"""Upstream MCP servers on loopback, sources of the kind ``mcp`` that point to them, and what runs their tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from servers.execution.backends.mcp import McpBackend
from servers.execution.context import Detached
from servers.execution.contract import LogLevel, Offering, Operation, Outcome, Principal, Source
from servers.execution.engine import Engine
from tests.farside import FarSide, far_side
from tests.marina.harbour import Harbour
from tests.servers.execution.mcp.shipyard import Era, open_shipyard


class Client(Detached):
    """Whoever makes a call: keeps what it is told."""

    def __init__(self, identity: str = "key:1", *, server: str = "default") -> None:
        # The log calls them all the same.
        super().__init__(Principal("key", "team", server, "r", identity))
        self.told: list[Any] = []
        self.wants_progress = True
        self.log_level = "debug"

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        self.told.append((progress, total, message))

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        self.told.append((level, data))


@dataclass
class Ask:
    """Calls tools of sources through an engine."""

    engine: Engine
    sources: dict[str, Source] = field(default_factory=dict)

    @property
    def backend(self) -> McpBackend:
        backend = self.engine.backend("mcp")
        assert isinstance(backend, McpBackend)
        return backend

    def source(self, url: str, **settings: Any) -> Source:
        key = repr((url, settings))
        if key not in self.sources:
            self.sources[key] = Source(uuid4(), 1, "yard", "mcp", 1, {"url": url, **settings})
        return self.sources[key]

    async def offering(self, url: str, **settings: Any) -> Offering:
        fetched = await self.backend.fetch_documents({"url": url, **settings})
        return self.backend.offered(self.backend.clean_settings(fetched))

    async def call(
        self,
        url: str,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        client: Client | None = None,
        timeout: float = 20,
        **definition: Any,
    ) -> Outcome:
        return await self.run(
            url,
            Operation("tool", {"name": tool, **definition}),
            arguments or {},
            settings=settings,
            client=client,
            timeout=timeout,
        )

    async def run(
        self,
        url: str,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        settings: Mapping[str, Any] | None = None,
        client: Client | None = None,
        timeout: float = 20,
    ) -> Outcome:
        return await self.engine.execute(
            self.source(url, **(settings or {})),
            operation,
            arguments,
            timeout=timeout,
            context=client or Client(),
        )


@pytest.fixture
def ask(engine: Engine) -> Ask:
    return Ask(engine)


@pytest.fixture(params=["legacy", "modern"])
def era(request: pytest.FixtureRequest) -> Era:
    found: Era = request.param
    return found


@pytest.fixture
def yard(era: Era) -> Iterator[Harbour]:
    with open_shipyard(era) as harbour:
        yield harbour


@pytest.fixture
def legacy_yard() -> Iterator[Harbour]:
    with open_shipyard("legacy") as harbour:
        yield harbour


@pytest.fixture
def modern_yard() -> Iterator[Harbour]:
    with open_shipyard("modern") as harbour:
        yield harbour


@pytest.fixture
def side() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


Fails = Callable[[Awaitable[Any]], Awaitable[Any]]
