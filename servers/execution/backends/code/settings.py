"""The settings of a source of code: how long its tools may compute, and in how much memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from core.errors import InvalidInput
from servers.execution.parameters import Faults
from servers.execution.settings import read_number

MAX_SECONDS: Final = 20
MAX_MEMORY_MB: Final = 256

SETTINGS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "max_seconds": {
            "type": "number",
            "title": "Time limit, seconds",
            "description": "How long one run may compute. Waiting for other tools does not count.",
            "minimum": 0.1,
            "maximum": MAX_SECONDS,
            "default": 5,
        },
        "max_memory_mb": {
            "type": "integer",
            "title": "Memory limit, MB",
            "description": "How much one run may hold.",
            "minimum": 1,
            "maximum": MAX_MEMORY_MB,
            "default": 64,
        },
    },
}


@dataclass(frozen=True, slots=True)
class CodeSettings:
    """The bounds of one run: seconds of computing, and megabytes."""

    max_seconds: float
    max_memory_mb: int


def clean_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with what was left out. Raises ``InvalidInput`` with a path a fault."""
    known: Mapping[str, Mapping[str, Any]] = SETTINGS_SCHEMA["properties"]
    errors: Faults = [
        {"path": str(name), "message": "There is no such setting."} for name in settings.keys() - known.keys()
    ]
    cleaned = {name: read_number(settings, name, rule, errors) for name, rule in known.items()}
    if errors:
        raise InvalidInput("The settings are not valid.", errors=errors)
    return cleaned


def read_settings(settings: Mapping[str, Any]) -> CodeSettings:
    """Settings that were cleaned."""
    return CodeSettings(float(settings["max_seconds"]), int(settings["max_memory_mb"]))
