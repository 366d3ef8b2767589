"""Turns ``:name`` placeholders into PostgreSQL's ``$n`` with its own scanner; knows no catalog and runs nothing.

The scanner leaves strings, comments, dollar quotes, ``::type`` and ``:=`` alone, so only what PostgreSQL
would read as a lone colon and a name becomes a placeholder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from servers.execution.backends.postgres.syntax import scan_tokens

_COLON: Final = "ASCII_58"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One ``:name`` in the caller's text: ``start`` is the colon's offset, ``end`` is exclusive."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """SQL with ``$n``, and the way back to the caller's own offsets.

    ``numbers`` holds, an occurrence, the ``n`` it became. ``starts`` are the offsets of the replacements.
    """

    sql: str
    numbers: tuple[int, ...]
    starts: tuple[int, ...]
    occurrences: tuple[Occurrence, ...]

    def original_offset(self, offset: int) -> int:
        """The 0-based offset in the caller's text of a 0-based offset in ``sql``."""
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            return offset
        occurrence = self.occurrences[index]
        inside = offset - self.starts[index]
        width = len(f"${self.numbers[index]}")
        if inside < width:
            return occurrence.start
        return occurrence.end + inside - width


def find_placeholders(sql: str, *, declared: Collection[str] | None = None) -> list[Occurrence]:
    """Every ``:name`` in the text; with ``declared``, only those (``a[1:n]`` is a slice, not a placeholder).

    Raises ``Unreadable`` when the text cannot even be scanned.
    """
    found = []
    previous_end = None
    for token in scan_tokens(sql):
        if token.name == _COLON:
            previous_end = token.end
            continue
        if previous_end is not None and token.start == previous_end + 1:
            name = sql[token.start : token.end + 1]
            if name.isidentifier() and (declared is None or name in declared):
                found.append(Occurrence(name, previous_end, token.end + 1))
        previous_end = None
    return found


def rewrite(sql: str, occurrences: Sequence[Occurrence], number: Callable[[int], int]) -> Rewritten:
    """Replace each occurrence by ``$n``; ``number`` says which n the i-th occurrence gets."""
    parts: list[str] = []
    starts: list[int] = []
    numbers: list[int] = []
    length = position = 0
    for index, occurrence in enumerate(occurrences):
        before = sql[position : occurrence.start]
        starts.append(length + len(before))
        numbers.append(number(index))
        mark = f"${numbers[-1]}"
        # ``:a`` directly before a digit or a letter cannot occur (the scanner would have taken it along).
        parts += (before, mark)
        length += len(before) + len(mark)
        position = occurrence.end
    parts.append(sql[position:])
    return Rewritten("".join(parts), tuple(numbers), tuple(starts), tuple(occurrences))
