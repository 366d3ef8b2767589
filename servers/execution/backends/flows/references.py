"""Values with references in them: ``$name`` and ``${name.path[0]}``. Reads and fills them; calls nothing.

A text that is one reference and nothing else stands for the value itself, whatever it is; within a text its value is
written: a text as it is, anything else as JSON. ``$$`` is a dollar. Nothing is evaluated: a reference names a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from servers.execution.schemas import Steps

MAX_DEPTH: Final = 32
"""Lists and objects within each other in a value that is written in a definition."""

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
_WHOLE: Final = re.compile(rf"\$({_NAME})")
_REFERENCE: Final = re.compile(
    rf"\$(?:(?P<dollar>\$)|\{{(?P<name>{_NAME})(?P<path>(?:\.[^.\[\]{{}}\s$]{{1,128}}|\[\d{{1,9}}\]){{0,32}})\}}|(?P<open>\{{))"
)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class BadReference(Exception):
    """What is written is no reference. ``str`` says what to write, ``place`` where it stands below the value."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.place = place


class Missing(Exception):
    """A reference names what is not there. ``str`` says which, and how far it led."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A variable by name, and the way into its value."""

    name: str
    path: Steps = ()

    def __str__(self) -> str:
        steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        return f"${{{self.name}{steps}}}"

    def find(self, variables: Mapping[str, Any]) -> Any:
        """Its value. Raises ``Missing``."""
        if self.name not in variables:
            raise Missing(f"{self} has no value: nothing has set {self.name} yet")
        value = variables[self.name]
        for number, step in enumerate(self.path):
            try:
                value = _enter(value, step)
            except LookupError:
                so_far = Reference(self.name, self.path[:number])
                raise Missing(f"{self} is not there: {so_far} has no {_shown(step)}") from None
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A text with references in it."""

    parts: tuple[str | Reference, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list in which something is a reference."""

    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Members:
    """An object in which something is a reference."""

    members: Mapping[str, Any]


Value = Any
"""What ``read_value`` makes: a ``Reference``, ``Text``, ``Items``, ``Members``, or plain JSON without references."""


def read_value(written: Any, *, place: str = "", depth: int = 0) -> Value:
    """Find the references in a value as it is written. Raises ``BadReference``."""
    if depth > MAX_DEPTH:
        raise BadReference(f"Values may be {MAX_DEPTH} levels deep.", place)
    if isinstance(written, str):
        return _read_text(written, place)
    if isinstance(written, Mapping):
        members = {
            str(key): read_value(each, place=f"{place}.{key}", depth=depth + 1)
            for key, each in written.items()
        }
        return Members(members) if any(map(_refers, members.values())) else dict(written)
    if isinstance(written, list | tuple):
        items = tuple(
            read_value(each, place=f"{place}[{number}]", depth=depth + 1)
            for number, each in enumerate(written)
        )
        return Items(items) if any(map(_refers, items)) else list(written)
    return written


def fill(value: Value, variables: Mapping[str, Any]) -> Any:
    """The value with every reference replaced. Raises ``Missing``."""
    match value:
        case Reference():
            return value.find(variables)
        case Text():
            return "".join(
                part if isinstance(part, str) else _written(part.find(variables)) for part in value.parts
            )
        case Items():
            return [fill(each, variables) for each in value.items]
        case Members():
            return {name: fill(each, variables) for name, each in value.members.items()}
    return value


def references_in(value: Value, place: Steps = ()) -> Iterator[tuple[Steps, Reference]]:
    """Every reference with where it stands in the value."""
    match value:
        case Reference():
            yield place, value
        case Text():
            for part in value.parts:
                if isinstance(part, Reference):
                    yield place, part
        case Items():
            for number, each in enumerate(value.items):
                yield from references_in(each, (*place, number))
        case Members():
            for name, each in value.members.items():
                yield from references_in(each, (*place, name))


def place_below(place: str, steps: Iterable[str | int]) -> str:
    """The place, as faults name it, that these steps lead to from another."""
    return place + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in steps)


def _read_text(written: str, place: str) -> Value:
    if "$" not in written:
        return written
    whole = _WHOLE.fullmatch(written)
    if whole is not None:
        return Reference(whole[1])
    parts: list[str | Reference] = []
    end = 0
    for found in _REFERENCE.finditer(written):
        if found["open"]:
            near = written[found.start() : found.start() + 40]
            raise BadReference(
                f"{near!r} is no reference: write ${{name}}, ${{name.member}} or ${{name[0]}}.", place
            )
        parts.append(written[end : found.start()])
        parts.append("$" if found["dollar"] else Reference(found["name"], _read_path(found["path"])))
        end = found.end()
    parts.append(written[end:])
    parts = [part for part in parts if part != ""]
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return parts[0]
    if not any(isinstance(part, Reference) for part in parts):
        return "".join(str(part) for part in parts)
    return Text(tuple(parts))


def _read_path(written: str) -> Steps:
    return tuple(int(found[2]) if found[2] else found[1] for found in _STEP.finditer(written))


def _refers(value: Value) -> bool:
    return isinstance(value, Reference | Text | Items | Members)


def _enter(value: Any, step: str | int) -> Any:
    if isinstance(step, int):
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return value[step]
        raise LookupError
    if isinstance(value, Mapping):
        return value[step]
    raise LookupError


def _shown(step: str | int) -> str:
    return f"item {step}" if isinstance(step, int) else f"member {step}"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
