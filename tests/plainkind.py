"""What the tests' kinds of data source begin with: any settings, none of them secret, and always healthy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from servers.execution.backends import Maker
from servers.execution.contract import Backend, Health, Offered, Offering, Source
from servers.execution.engine import Engine
from servers.services.runtime import get_runtime


class PlainKind(Backend):
    """A kind that offers nothing. Those who inherit say what it is called, and run its operations."""

    settings_schema: Mapping[str, Any] = {"type": "object"}
    secret_settings: frozenset[str] = frozenset()

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return dict(settings)

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering()

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        raise NotImplementedError("nobody defines tools on it")

    async def check(self, source: Source) -> Health:
        return Health("healthy")


def add_kinds(*kinds: Backend) -> None:
    """Give this process these kinds, where it has them not yet, beside Marina's own and other tests'."""
    runtime = get_runtime()
    if added := [kind for kind in kinds if kind.kind not in runtime.engine.kinds]:
        runtime.engine = engine_with(*added)


def engine_with(*kinds: Backend) -> Engine:
    """An engine of these, beside those that this process has."""
    engine = get_runtime().engine
    present = {kind: partial(engine.backend, kind) for kind in engine.kinds}
    made = Engine(makers={**present, **only(*kinds)})
    for kind in tuple(engine._backends):
        # What these opened is closed with the engine that is left.
        made.backend(kind)
    return made


def only(*kinds: Backend) -> dict[str, Maker]:
    """The ``makers`` of an engine that has these."""
    return {kind.kind: partial(_same, kind) for kind in kinds}


def _same(kind: Backend) -> Backend:
    return kind
