"""The settings of a source of flows: there are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.errors import InvalidInput

SETTINGS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}


def clean_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing. Raises ``InvalidInput`` for anything else."""
    errors = [
        {"path": str(name), "message": "Pipelines and workflows have no settings."} for name in settings
    ]
    if errors:
        raise InvalidInput(errors[0]["message"], errors=errors)
    return {}
