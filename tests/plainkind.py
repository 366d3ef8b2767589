"""What the tests' kinds of data source begin with: any settings, none of them secret, and always healthy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.execution.contract import Backend, Health, Offered, Offering, Source


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
