"""An API on loopback, sources of the kind ``http`` that point to it, and what runs their tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import orjson
import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Operation, Outcome, Source
from servers.execution.engine import Engine
from tests.farside import Asked, FarSide, Send, far_side, reply

Call = Callable[..., Awaitable[Outcome]]
Refused = Callable[..., Awaitable[SourceError | InvalidInput]]


def as_json(value: Any, **more: Any) -> bytes:
    return reply(orjson.dumps(value), kind="application/json", **more)


def give_back(asked: Asked, send: Send) -> None:
    """Answers with the request itself."""
    send(
        as_json(
            {
                "method": asked.method,
                "target": asked.target,
                "headers": dict(asked.headers),
                "body": asked.body.decode(),
            }
        )
    )


@pytest.fixture
def api() -> Iterator[FarSide]:
    with far_side() as side:
        yield side


@pytest.fixture
def source(api: FarSide) -> Callable[..., Source]:
    def make(**settings: Any) -> Source:
        return Source(uuid4(), 1, "shop", "http", 1, {"base_url": f"{api.origin}/v1", **settings})

    return make


@pytest.fixture
def call(engine: Engine, source: Callable[..., Source]) -> Call:
    """Runs a ready-made tool on one source; keywords of the source's settings go in ``settings``."""
    sources: dict[str, Source] = {}

    async def run(
        tool: str, *, settings: dict[str, Any] | None = None, timeout: float = 20, **arguments: Any
    ) -> Outcome:
        on = sources.setdefault(repr(settings), source(**(settings or {})))
        return await engine.execute(on, Operation(tool, {}), arguments, timeout=timeout)

    return run


@pytest.fixture
def refused(call: Call) -> Refused:
    """Runs a tool that must fail, and gives the error."""

    async def run(tool: str, **arguments: Any) -> SourceError | InvalidInput:
        with pytest.raises((SourceError, InvalidInput)) as caught:
            await call(tool, **arguments)
        error = caught.value
        assert isinstance(error, SourceError | InvalidInput)
        return error

    return run
