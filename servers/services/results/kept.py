"""One result as it is kept: bytes that nobody can change, of which each call gets a copy of its own. Keeps nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from core.fitting import fitted
from servers.execution.contract import Outcome

_OVERHEAD_BYTES: Final = 600
"""Of an entry, beside its texts: measured."""

_FORM: Final = 1
"""Counts up when the form below changes: a process takes nothing that one of another release wrote otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A result. ``structured`` and ``content`` are JSON, where there is any."""

    structured: bytes | None
    content: bytes | None
    text: str
    rows: int | None
    size: int

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        parts = (self.structured, self.content, self.text)
        return _OVERHEAD_BYTES + sum(sys.getsizeof(part) for part in parts if part)

    def outcome(self) -> Outcome:
        """The result, as if it had just been made."""
        return Outcome(
            None if self.structured is None else orjson.loads(self.structured),
            self.text,
            rows=self.rows,
            size=self.size,
            content=None if self.content is None else orjson.loads(self.content),
        )

    def encode(self) -> bytes:
        """As one string of bytes, for another process."""
        structured, content = self.structured or b"", self.content or b""
        head = [_FORM, len(structured), len(content), self.rows, self.size]
        return b"".join((orjson.dumps(head), b"\n", structured, content, self.text.encode()))


def keep(outcome: Outcome) -> Kept | None:
    """The result to be kept; ``None`` for one that may not be, or that cannot be written down exactly.

    A failure may be gone the next time; and what of a result was cut off may depend on the moment.
    """
    if outcome.failed or outcome.truncated or outcome.meta is not None:
        # What a server says in ``_meta`` is of that one answer.
        return None
    try:
        outcome.text.encode()
        return Kept(
            # As the surfaces write what JSON has no word for.
            structured=None
            if outcome.structured is None
            else fitted(orjson.dumps(outcome.structured, default=str)),
            content=None if outcome.content is None else fitted(orjson.dumps(_plain(outcome.content))),
            text=outcome.text,
            rows=outcome.rows,
            size=outcome.size,
        )
    except (TypeError, ValueError, RecursionError):
        return None


def decode(encoded: bytes) -> Kept | None:
    """The other direction of ``encode``; ``None`` for another form."""
    head, _, rest = encoded.partition(b"\n")
    try:
        form, structured, content, rows, size = orjson.loads(head)
        if form != _FORM:
            return None
        return Kept(
            structured=rest[:structured] or None,
            content=rest[structured : structured + content] or None,
            text=rest[structured + content :].decode(),
            rows=rows,
            size=size,
        )
    except (TypeError, ValueError):
        return None


def _plain(content: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(block) for block in content]
