"""Reads YAML strictly: one meaning for every text, or none; and knows the line of each value. Pure, makes no objects.

What comes out is what JSON can say. Scalars are read by the core schema of YAML 1.2, of numbers the decimal ones:
``no`` and ``2026-01-01`` are texts. Refused are tags (they make objects), anchors and aliases (a few lines of them make
billions of values), doubled keys (two readers would see two documents), keys that are no texts, directives, a second
document, numbers that would be rounded, and what is nested deeper or holds more values than the bounds say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 300_000
"""Of one text, keys not counted: they take a second to read."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_CONSTANTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class BadYaml(ValueError):
    """The text is not YAML that can be trusted to mean one thing. ``line`` counts from 1; 0 where none is known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Place:
    """Where a value stands: of an object's member, the line of its name. ``below`` has those of its parts."""

    line: int
    below: dict[str | int, Place] = field(default_factory=dict)

    def line_of(self, steps: Sequence[str | int]) -> int:
        """The line of what these steps lead to, or of the last on the way that is there."""
        place = self
        for step in steps:
            found = place.below.get(step)
            if found is None:
                break
            place = found
        return place.line


@dataclass(frozen=True, slots=True)
class YamlText:
    """What a text says, and where."""

    value: Any
    place: Place


def read_yaml(text: str | bytes) -> YamlText:
    """The value of a YAML (or JSON) text, with its places. Raises ``BadYaml``."""
    try:
        whole = text.decode() if isinstance(text, bytes) else text
        return _Builder().build(yaml.parse(whole.removeprefix("\ufeff"), Loader=yaml.CSafeLoader))
    except UnicodeError:
        raise BadYaml("it is not UTF-8") from None
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        words = str(fault.problem or fault.context or "it is not YAML")[:200]
        raise BadYaml(words, 0 if mark is None else mark.line + 1) from None
    except yaml.YAMLError:
        raise BadYaml("it holds a character that YAML does not allow") from None


class _Builder:
    """Values of the events of one document, without recursion."""

    def __init__(self) -> None:
        self._open: list[tuple[Any, Place]] = []
        self._keys: list[str | None] = []
        """Of each open object the name whose value is awaited."""
        self._root: YamlText | None = None
        self._count = 0

    def build(self, events: Iterator[Any]) -> YamlText:
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.NodeEvent):
                self._add(event, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._open.pop()
                self._keys.pop()
            elif isinstance(event, yaml.DocumentStartEvent):
                if event.version or event.tags:
                    raise BadYaml("it has a directive (%). Leave it out", line)
                if self._root is not None:
                    raise BadYaml("a second document begins here. Give one", line)
        return self._root or YamlText(None, Place(1))

    def _add(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            mark = "*" if isinstance(event, yaml.AliasEvent) else "&"
            raise BadYaml(
                f"{mark}{str(event.anchor)[:40]}: anchors and aliases are not read. Write it out", line
            )
        if event.tag is not None:
            raise BadYaml(f"{str(event.tag)[:60]}: tags are not read. Leave it out", line)
        awaits_key = bool(self._open) and isinstance(self._open[-1][0], dict) and self._keys[-1] is None
        if isinstance(event, yaml.ScalarEvent):
            if awaits_key:
                self._name(event.value, line)
            else:
                self._put(_scalar(event, line), Place(line))
            return
        if awaits_key:
            raise BadYaml("an object or a list stands where a name has to", line)
        if len(self._open) >= MAX_DEPTH:
            raise BadYaml(f"it nests deeper than {MAX_DEPTH} levels", line)
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        place = self._put(value, Place(line))
        self._open.append((value, place))
        self._keys.append(None)

    def _name(self, name: str, line: int) -> None:
        _, place = self._open[-1]
        known = place.below.get(name)
        if known is not None:
            raise BadYaml(f"{name[:80]} stands here twice: in line {known.line}, too", line)
        place.below[name] = Place(line)
        self._keys[-1] = name

    def _put(self, value: Any, place: Place) -> Place:
        """Where the value belongs. Gives its place, which of a member is that of its name."""
        self._count += 1
        if self._count > MAX_VALUES:
            raise BadYaml(f"it holds more than {MAX_VALUES} values", place.line)
        if not self._open:
            self._root = YamlText(value, place)
            return place
        container, around = self._open[-1]
        if isinstance(container, list):
            around.below[len(container)] = place
            container.append(value)
            return place
        name = self._keys[-1] or ""
        self._keys[-1] = None
        container[name] = value
        return around.below[name]


def _scalar(event: Any, line: int) -> Any:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 21 or not -(2**63) <= int(text) < 2**64:
            raise BadYaml("a whole number is beyond 64 bits. Put it into quotes", line)
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text) if len(text) < 400 else math.inf
        if not math.isfinite(number):
            raise BadYaml("a number is out of range. Put it into quotes", line)
        return number
    return text
