"""What of a text its reader does not see: found where it may not be, written out where it is told of. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_PERHAPS_HIDDEN: Final = re.compile(r"[^\n -~]")
_NOT_PLAIN: Final = re.compile(r"[^ -~]")
_BLANKS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffc")
"""Letters and signs by their category that nevertheless leave nothing on a page."""
_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_JOINERS: Final = frozenset("\u200c\u200d")
"""Invisible, yet needed to write Persian, Hindi and composed emoji; they change no reading order."""
_MARKS: Final = frozenset({"Mn", "Me"})


def hidden_in(text: str, *, lines: bool = False) -> str:
    """The first invisible or direction-changing character of a text in any script; ``lines``: it may have several."""
    for found in _PERHAPS_HIDDEN.finditer(text) if lines else _NOT_PLAIN.finditer(text):
        letter = found[0]
        if unicodedata.category(letter) not in _REFUSED or letter in _JOINERS:
            continue
        if not (lines and letter in "\r\t"):
            return letter
    return ""


def readable(text: str, most: int) -> str:
    """The text as a reader can see it: what is hidden, turns the order or stands over other letters is written out.

    ``read\\u202eelif`` stays these characters, rather than reading backwards. Beyond ``most`` characters it is cut.
    """
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    shown = _PERHAPS_HIDDEN.sub(_written, text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _written(found: re.Match[str]) -> str:
    letter = found[0]
    if letter.isprintable() and letter not in _BLANKS and unicodedata.category(letter) not in _MARKS:
        return letter
    return ascii(letter)[1:-1]
