"""``analyze_structure``: what a JSON value is made of, field by field. Judges nothing and converts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from servers.execution.backends.toolkit.pace import Pace
from servers.execution.backends.toolkit.values import MAX_ROWS, kind_of, refuse

MAX_PATHS: Final = 500
MAX_DEPTH: Final = 64
MAX_DISTINCT: Final = 100
MAX_EXAMPLES: Final = 3

_EXAMPLE_CHARACTERS: Final = 60
_NAME_CHARACTERS: Final = 200


class _Place:
    """What stands at one path. ``distinct`` is ``None`` once there are too many values to count."""

    __slots__ = ("distinct", "examples", "parent", "present", "types")

    def __init__(self, parent: _Place | None) -> None:
        self.parent = parent
        self.present = 0
        self.types: dict[str, int] = {}
        self.distinct: set[tuple[str, Any]] | None = set()
        self.examples: list[Any] = []

    def take(self, value: Any, kind: str) -> None:
        self.present += 1
        self.types[kind] = self.types.get(kind, 0) + 1
        if kind in {"object", "array", "null"}:
            return
        if self.distinct is not None:
            self.distinct.add((kind, value[:_NAME_CHARACTERS] if isinstance(value, str) else value))
            if len(self.distinct) > MAX_DISTINCT:
                self.distinct = None
        if len(self.examples) < MAX_EXAMPLES:
            example = value[:_EXAMPLE_CHARACTERS] if isinstance(value, str) else value
            if example not in self.examples:
                self.examples.append(example)

    def shown(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {"path": path, "types": self.types, "present": self.present}
        if self.parent is not None and not path.endswith("[]"):
            found["missing"] = self.parent.types.get("object", 0) - self.present
        if self.distinct:
            found["distinct"] = len(self.distinct)
        if self.examples:
            found["examples"] = self.examples
        return found


def analyze_structure(arguments: Mapping[str, Any], pace: Pace) -> dict[str, Any]:
    """The type, the size, the depth, and the fields by path: ``[]`` stands for every item of an array."""
    if "data" not in arguments:
        refuse("data", "Give any JSON value.")
    data = arguments["data"]
    if isinstance(data, list) and len(data) > MAX_ROWS:
        refuse("data", f"There are {len(data)} items; at most {MAX_ROWS} are taken.")
    places: dict[str, _Place] = {"": _Place(None)}
    deepest, values, more = 0, 0, False
    waiting: list[tuple[str, Any, int]] = [("", data, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        values += 1
        if values % 64 == 0:
            pace.breathe()
        deepest = max(deepest, depth)
        if depth > MAX_DEPTH:
            refuse("data", f"It nests deeper than {MAX_DEPTH} levels.")
        kind = kind_of(value)
        place = places[path]
        place.take(value, kind)
        for below, item in _below(path, value):
            if below not in places:
                if len(places) > MAX_PATHS:
                    more = True
                    continue
                places[below] = _Place(place)
            waiting.append((below, item, depth + 1))
    top = places.pop("")
    found: dict[str, Any] = {"type": kind_of(data), "depth": deepest, "values": values}
    if isinstance(data, list | dict):
        found["length"] = len(data)
    elif top.distinct:
        found["examples"] = top.examples
    shown = [place.shown(path) for path, place in places.items()]
    return {**found, "fields": shown, "truncated": more}


def _below(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, list):
        return [(f"{path}[]", item) for item in reversed(value)]
    if isinstance(value, Mapping):
        before = f"{path}." if path else ""
        return [(f"{before}{name[:_NAME_CHARACTERS]}", item) for name, item in value.items()]
    return []
