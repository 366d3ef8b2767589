"""Makes characters visible that a text hides, or by which it changes the direction of reading. Pure.

What a model is given of a stranger's server has to be what a person saw who let it in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS: Final = frozenset("\u200c\u200d")
"""Needed to write Persian, Hindi and composed emoji; they change no reading order."""
_LINES: Final = frozenset("\n\r\t")
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f\ufffc")
"""Letters, marks and symbols by category, and yet nothing is seen of them."""
_WORDS: Final = frozenset({"description", "title", "$comment"})


def mark_hidden(text: str, *, lines: bool = True) -> str:
    """The text with each hidden character as ``[U+202E]``; ``lines`` allows line breaks and tabs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"[U+{ord(each):04X}]" if _hides(each, lines=lines) else each for each in text)


def has_hidden(text: str) -> bool:
    """Whether something of the text is not seen."""
    return mark_hidden(text) != text


def mark_schema(schema: Any) -> Any:
    """A schema with the hidden characters of its descriptions and titles marked, at any depth."""
    if isinstance(schema, list):
        return [mark_schema(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        name: mark_hidden(value) if name in _WORDS and isinstance(value, str) else mark_schema(value)
        for name, value in schema.items()
    }


def _hides(character: str, *, lines: bool) -> bool:
    if character in _JOINERS or (lines and character in _LINES):
        return False
    if character in _FILLERS or 0xFE00 <= ord(character) <= 0xFE0E or 0xE0100 <= ord(character) <= 0xE01EF:
        return True
    return unicodedata.category(character) in _HIDDEN
