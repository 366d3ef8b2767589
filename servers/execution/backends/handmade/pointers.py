"""JSON Pointers (RFC 6901): into a value, and into the schema of one that there is not yet. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from servers.execution.schemas import Steps, schema_at

MAX_POINTER: Final = 500

_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*){0,32}")
_PLACE: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def is_pointer(text: str) -> bool:
    """Whether it is one: empty for the whole, else each step after a slash."""
    return len(text) <= MAX_POINTER and _POINTER.fullmatch(text) is not None


def find_at(value: Any, pointer: str) -> Any:
    """What stands there. Raises ``LookupError``."""
    for step in _steps(pointer):
        if isinstance(value, Mapping):
            value = value[step]
        elif isinstance(value, list | tuple) and _PLACE.fullmatch(step):
            value = value[int(step)]
        else:
            raise LookupError(step)
    return value


def schema_of(schema: Mapping[str, Any] | None, pointer: str) -> Mapping[str, Any] | None:
    """The schema of what stands there, where that can be known."""
    return schema_at(schema, _as_places(schema, pointer))


def missing_step(schema: Mapping[str, Any] | None, pointer: str) -> str | None:
    """The first step to a member that no value of this schema has; ``None`` where there may be all."""
    steps = _as_places(schema, pointer)
    for number, step in enumerate(steps):
        around = schema_at(schema, steps[:number])
        if around is None:
            return None
        closed = around.get("additionalProperties") is False and "patternProperties" not in around
        if closed and isinstance(step, str) and step not in around.get("properties", {}):
            return step
    return None


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _as_places(schema: Mapping[str, Any] | None, pointer: str) -> Steps:
    """The steps, with numbers for places in lists where the schema has a list there."""
    places: Steps = ()
    for step in _steps(pointer):
        around = schema_at(schema, places)
        in_list = around is not None and "items" in around and _PLACE.fullmatch(step)
        places = (*places, int(step) if in_list else step)
    return places
