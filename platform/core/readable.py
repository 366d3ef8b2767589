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
_MOST_MARKS: Final = 3
"""Over one letter: a Hebrew or Tibetan one has as many, and of a hundred nobody can read the lines around it."""
_SELECTORS: Final = re.compile("[\u034f\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Marks by their category that leave nothing on a page: they choose the form of the sign before them."""
_EMOJI: Final = frozenset("\u2139\u203c\u2049\u3030")
"""Emoji that are letters and punctuation by their category."""
_CASED: Final = frozenset({"Lu", "Ll", "Lt"})
_LOOSE: Final = "\u200c\u200d\ufe0f"
"""What would join or change the sign of a cut."""
_SHOWN: Final = re.compile("[0-9#*]\ufe0f\u20e3|[^\n -~]+")
"""The emoji of keys; or what has to be looked at."""


def hidden_in(text: str, *, lines: bool = False) -> str:
    """The first invisible or direction-changing character of a text in any script; ``lines``: it may have several."""
    for found in _PERHAPS_HIDDEN.finditer(text) if lines else _NOT_PLAIN.finditer(text):
        letter = found[0]
        if unicodedata.category(letter) not in _REFUSED or letter in _JOINERS:
            continue
        if not (lines and letter in "\r\t"):
            return letter
    return ""


def told_hidden(text: str, *, lines: bool = False) -> str:
    """What is told of the first hidden character of a text, after "It" or a path; empty where there is none."""
    hidden = hidden_in(text, lines=lines)
    return f"contains the invisible character U+{ord(hidden):04X}. Remove it." if hidden else ""


def readable(text: str, most: int) -> str:
    """The text as a reader can see it: what is hidden, turns the order or hangs on nothing is written out.

    ``read\\u202eelif`` stays these characters, rather than reading backwards. What writes a script or an emoji stays:
    marks over letters, a few of them, and joiners where there is something to join. Beyond ``most`` characters it is
    cut.
    """
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    shown = _SHOWN.sub(_written, text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1].rstrip(_LOOSE)}…"


def _written(found: re.Match[str]) -> str:
    if found[0][0] in "0123456789#*":
        return found[0]
    base, marks, unseen = found.string[: found.start()][-1:], 0, ""
    shown = []
    for letter in found[0]:
        category = unicodedata.category(letter)
        selects = _SELECTORS.match(letter) is not None
        if selects or letter in _JOINERS:
            stays = _is_joined(base) and (not unseen or (not selects and unseen not in _JOINERS))
            unseen = letter
        elif category in _MARKS:
            marks += 1
            stays = marks <= _MOST_MARKS and _carries(base)
            unseen = ""
        else:
            stays = letter.isprintable() and letter not in _BLANKS
            base, marks, unseen = letter, 0, ""
        if not stays:
            base = ""
        shown.append(letter if stays else ascii(letter)[1:-1])
    return "".join(shown)


def _carries(base: str) -> bool:
    """Whether a mark over this is part of some writing."""
    return bool(base) and (unicodedata.category(base)[0] in "LNS" or unicodedata.category(base) == "Mc")


def _is_joined(base: str) -> bool:
    """Whether there are forms of this to be joined or chosen from: letters with a case, as Latin ones, have none."""
    if not base or base.isascii():
        return False
    category = unicodedata.category(base)
    return base in _EMOJI or category == "Mc" or (category[0] in "LS" and category not in _CASED)
