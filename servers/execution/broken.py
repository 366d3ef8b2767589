"""A kind of data source that cannot be used here, a plugin's or one of Marina's own, and says why. It runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from core.errors import InvalidInput, SourceError
from servers.execution.contract import (
    Backend,
    Completion,
    Context,
    Health,
    Offered,
    Offering,
    Operation,
    Outcome,
    Source,
)

CODE = "plugin_broken"


class BrokenBackend(Backend):
    """See ``contract.Backend``. ``reason`` is a sentence on what is wrong and who can mend it."""

    settings_schema: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    secret_settings: frozenset[str] = frozenset()

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        self.title = f"{kind} (not usable)"
        self.reason = reason

    def clean_settings(self, settings: Mapping[str, Any]) -> NoReturn:
        raise InvalidInput(self.reason, errors=[{"path": "kind", "message": self.reason}], code=CODE)

    def describe_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        # Which of them are secret is not known any more.
        return {}

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        raise self._error()

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        raise InvalidInput(self.reason, errors=[{"path": "source", "message": self.reason}], code=CODE)

    async def check(self, source: Source) -> Health:
        return Health("unhealthy", self.reason, CODE)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        raise self._error()

    async def complete(
        self,
        source: Source,
        operation: Operation,
        argument: str,
        value: str,
        given: Mapping[str, str],
        *,
        timeout: float,
        context: Context,
    ) -> Completion:
        raise self._error()

    def _error(self) -> SourceError:
        return SourceError(self.reason, code=CODE)
