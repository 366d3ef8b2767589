"""What Marina's web server gives its own application beyond ASGI. Does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

WHOLE: Final = "marina.whole"
"""In a scope's ``extensions``: a ``Whole``."""


class Whole(Protocol):
    """One request, taken and answered in one piece where that can be."""

    def body(self) -> bytes | None:
        """The body, when all of it is there. ``None``: nothing was taken, it is to be received."""
        ...

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], parts: Sequence[bytes]) -> bool:
        """Write an answer and complete it. False: nothing was written, it is to be sent as two messages.

        ``headers`` are without ``content-length``; the body is all ``parts``, one after the other.
        """
        ...
