"""The settings that sources of every kind of database have: their schemas, and how they are read. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from servers.execution.parameters import Faults

LIMITS: Final[Mapping[str, Mapping[str, Any]]] = {
    "statement_timeout": {
        "type": "number",
        "title": "Time limit of a query, seconds",
        "minimum": 5,
        "maximum": 30,
        "default": 10,
    },
    "slow_query_seconds": {
        "type": "number",
        "title": "A query is slow from, seconds",
        "description": "Slow queries are shown on the source's page, without values.",
        "minimum": 0.05,
        "maximum": 30,
        "default": 1,
    },
    "row_limit": {
        "type": "integer",
        "title": "Most rows in one result",
        "minimum": 1,
        "maximum": 1_000,
        "default": 1_000,
    },
    "max_bytes": {
        "type": "integer",
        "title": "Most bytes in one result",
        "minimum": 1_024,
        "maximum": 4_194_304,
        "default": 1_048_576,
    },
}
"""What bounds a query and its result."""


def masks_schema(form: str) -> dict[str, Any]:
    """JSON Schema of ``masks``, whose keys are written as ``form``."""
    return {
        "type": "object",
        "title": "Masked columns",
        "description": f"{form}: hidden (always NULL), or partial (a text with at most the last four characters).",
        "additionalProperties": {"enum": ["hidden", "partial"]},
        "maxProperties": 200,
    }


def refuse_unknown(settings: Mapping[str, Any], properties: Mapping[str, Any]) -> Faults:
    """A fault for each setting that there is not."""
    return [
        {"path": str(name), "message": "There is no such setting."}
        for name in settings
        if name not in properties
    ]


def read_names(
    settings: Mapping[str, Any], key: str, rule: Mapping[str, Any], faults: Faults
) -> tuple[str, ...]:
    """A list of names, each once. ``rule`` is its schema."""
    given = settings.get(key) or []
    if not isinstance(given, list | tuple) or len(given) > rule["maxItems"]:
        faults.append({"path": key, "message": f"Give a list of at most {rule['maxItems']} names."})
        return ()
    names = []
    for index, name in enumerate(given):
        if not isinstance(name, str) or not 0 < len(name) <= rule["items"]["maxLength"] or "\x00" in name:
            faults.append({"path": f"{key}.{index}", "message": "Give a name."})
        else:
            names.append(name)
    return tuple(dict.fromkeys(names))


def read_masks(
    settings: Mapping[str, Any], rule: Mapping[str, Any], column: re.Pattern[str], form: str, faults: Faults
) -> Iterator[tuple[tuple[str, ...], str]]:
    """The parts of each masked column's name, as ``column`` finds them, and how it is shown."""
    given = settings.get("masks") or {}
    most = rule["maxProperties"]
    if not isinstance(given, Mapping) or len(given) > most:
        message = f"Give an object of at most {most} columns, each with hidden or partial."
        faults.append({"path": "masks", "message": message})
        return
    for name, how in given.items():
        found = column.fullmatch(str(name))
        if found is None:
            message = f"Write the column as {form}, without quotes."
        elif how not in ("hidden", "partial"):
            message = "Say hidden or partial."
        else:
            yield found.groups(), how
            continue
        faults.append({"path": f"masks.{name}", "message": message})
