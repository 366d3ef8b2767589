"""Names of what Marina's web server gives its own application beyond ASGI. Does nothing."""

from __future__ import annotations

from typing import Final

WHOLE_ANSWER: Final = "marina.whole_answer"
"""In a scope's ``extensions``: ``(status, headers, body) -> bool``, which writes a whole answer in one piece.

False: nothing was written, the answer goes as two messages. ``headers`` are without ``content-length``.
"""
