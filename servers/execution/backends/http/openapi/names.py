"""Names of tools and arguments, made of what a document calls its operations and parameters. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import MutableMapping
from hashlib import sha256
from typing import Final

MAX_NAME: Final = 52
"""Of the 64 characters that a name may have: where it is taken, the source's name comes before it."""

MAX_ARGUMENT: Final = 64
_OTHER: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_BRACES: Final = re.compile(r"[{}]")


def tool_name(operation_id: object, method: str, path: str, taken: MutableMapping[str, int]) -> str:
    """The name of an operation's tool: its id's, else its method's and path's. Unique, whatever the case."""
    wanted = _plain(operation_id) if isinstance(operation_id, str) else ""
    wanted = wanted or _plain(f"{method.lower()}_{_BRACES.sub('', path).lstrip('/')}") or "operation"
    return _unique(wanted, taken, MAX_NAME)


def argument_name(wire: str, where: str, taken: MutableMapping[str, int]) -> str:
    """The name of an argument: the parameter's own, else with its place (``header_id``)."""
    wanted = _plain(wire) or where
    if wanted.lower() in taken:
        wanted = f"{where}_{wanted}"
    return _unique(wanted, taken, MAX_ARGUMENT)


def _plain(text: str) -> str:
    """Letters, digits, dots, hyphens and underscores of a text; what looks like them becomes them."""
    plain = unicodedata.normalize("NFKC", text[:1_000])
    return _OTHER.sub("_", plain).strip("_.-")


def _unique(wanted: str, taken: MutableMapping[str, int], most: int) -> str:
    """``taken`` are the names in lower case, each with the number that was last put behind it."""
    first = name = _short(wanted, "", most)
    while name.lower() in taken:
        taken[first.lower()] += 1
        name = _short(wanted, f"_{taken[first.lower()]}", most)
    taken[name.lower()] = 1
    return name


def _short(wanted: str, ending: str, most: int) -> str:
    """The name with its ending, cut to length; what was cut is told by a digest, so that it stays the same."""
    if len(wanted) + len(ending) <= most:
        return wanted + ending
    digest = sha256(wanted.encode()).hexdigest()[:6]
    return f"{wanted[: most - len(ending) - 7]}_{digest}{ending}"
