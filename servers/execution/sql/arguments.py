"""Takes the arguments of the tools that come with a source; what is wrong with one is said with its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from core.errors import InvalidInput


def take_text(arguments: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    """A text; ``None`` where it was not given and need not be. Raises ``InvalidInput``."""
    value = arguments.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value:
        refuse_argument(name, "Give a text.")
    return value


def take_count(arguments: Mapping[str, Any], name: str, *, most: int, default: int) -> int:
    """A whole number from 1; one above ``most`` is taken for it. Raises ``InvalidInput``."""
    value = arguments.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        refuse_argument(name, f"Give a whole number from 1 to {most}.")
    return min(value, most)


def refuse_argument(path: str, message: str) -> NoReturn:
    """Raise ``InvalidInput`` about one argument."""
    raise InvalidInput(message, errors=[{"path": path, "message": message}])


def read_params(given: Any, path: str) -> tuple[tuple[str, ...] | None, dict[str | int, Any]]:
    """The names of parameters, ``None`` where they are numbered, and their values. Raises ``InvalidInput``."""
    if isinstance(given, Mapping):
        return tuple(sorted(str(name) for name in given)), {str(name): each for name, each in given.items()}
    if isinstance(given, list | tuple):
        return None, dict(enumerate(given))
    if given is not None:
        refuse_argument(path, "Give an object for :name placeholders, or an array for $1, $2 …")
    return None, {}


def refuse_spare(values: Mapping[str | int, Any], used: set[str | int], path: str) -> None:
    """Raise ``InvalidInput`` for a value that no placeholder takes."""
    spare = [str(key) for key in values if key not in used]
    if spare:
        refuse_argument(f"{path}.{spare[0]}", "The query does not use this parameter.")
