"""The settings of what is made by hand: there are none. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.errors import InvalidInput

SETTINGS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {},
}


def clean_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing. Raises ``InvalidInput`` for each setting that is given."""
    faults = [{"path": str(name), "message": "What is made by hand has no settings."} for name in settings]
    if faults:
        raise InvalidInput("What is made by hand has no settings: leave them out.", errors=faults)
    return {}
