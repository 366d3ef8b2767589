"""``${name}`` slots in texts: found and checked when something is saved, filled with values that stay values.

A value is put in once and never read again, so what it holds cannot open another slot; and it is encoded for the place
where the slot stands. There are no expressions, no formats and no attributes. ``$${`` is written for ``${`` itself.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Mapping
from typing import Final
from urllib.parse import quote

import orjson

from servers.execution.backends.handmade.results import is_json

_MARK: Final = re.compile(r"\$\$\{|\$\{([^{}]{0,80})(\}?)")
SLOT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")

Encode = Callable[[str], str]


class BadSlot(ValueError):
    """A slot that cannot be filled; the message says where and why."""


def slots_of(text: str) -> list[tuple[str, int]]:
    """The names of the slots with their columns, counted from 1. Raises ``BadSlot`` for a malformed one."""
    found = []
    for mark in _MARK.finditer(text):
        name: str | None = mark[1]
        if name is None:
            continue
        column = mark.start() + 1
        if not mark[2] or not SLOT_NAME.fullmatch(name):
            raise BadSlot(
                f"The slot at character {column} is not a name in braces, like ${{topic}}. Write $${{ for ${{ itself."
            )
        found.append((name, column))
    return found


def check_slots(text: str, known: Collection[str]) -> None:
    """Raise ``BadSlot`` where a slot is malformed, or none of ``known``."""
    for name, column in slots_of(text):
        if name not in known:
            listed = ", ".join(known) or "none"
            raise BadSlot(f"The slot ${{{name}}} at character {column} is not known. There are: {listed}.")


def holds(text: str, name: str) -> bool:
    """Whether a slot of the text is of this name."""
    return any(mark[1] == name and mark[2] for mark in _MARK.finditer(text))


def only_slot(text: str) -> str | None:
    """The name of the slot that a text is, where it is one and nothing else."""
    mark = _MARK.fullmatch(text)
    return mark[1] if mark is not None and mark[2] else None


def fill(text: str, values: Mapping[str, str], encode: Encode) -> str:
    """The text with each slot's value in its place, encoded; one without a value is empty."""

    def put(mark: re.Match[str]) -> str:
        name: str | None = mark[1]
        return "${" if name is None else encode(values.get(name, ""))

    return _MARK.sub(put, text)


def as_it_is(value: str) -> str:
    """For plain text, which has no characters of its own meaning."""
    return value


def in_uri(value: str) -> str:
    """For a URI (RFC 3986): everything but unreserved characters is percent-encoded, slashes too."""
    return quote(value, safe="")


def in_json(value: str) -> str:
    """For the inside of a JSON string."""
    return orjson.dumps(value)[1:-1].decode()


def in_markup(value: str) -> str:
    """For the text or a quoted attribute of HTML and XML."""
    return html.escape(value, quote=True)


def encoding_for(mime_type: str) -> Encode:
    """How values are encoded in a text of this type."""
    if is_json(mime_type):
        return in_json
    kind = mime_type.partition(";")[0].strip().lower()
    if kind in {"text/html", "text/xml", "application/xml"} or kind.endswith("+xml"):
        return in_markup
    return as_it_is
