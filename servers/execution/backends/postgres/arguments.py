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
