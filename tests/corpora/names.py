"""Names that are too long, look like other names or hide characters. None may become the name of anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

LONG: Final[Mapping[str, str]] = {
    "ten thousand letters": "a" * 10_000,
    "ten thousand wide letters": "\u6f22" * 10_000,
    "ten thousand hidden characters": "\u200b" * 10_000,
    "one letter too many": "a" * 1_025,
}
LOOKALIKES: Final[Mapping[str, str]] = {
    "Cyrillic a": "p\u0430ypal",
    "all Cyrillic": "\u0440\u0443\u0440\u0430\u0443",
    "Greek o": "g\u03bf\u03bfgle",
    "Armenian o": "g\u0585\u0585gle",
    "Cherokee": "\u13da\u13a6s",
    "full-width": "\uff41\uff44\uff4d\uff49\uff4e",
    "mathematical": "\U0001d41a\U0001d41d\U0001d426\U0001d422\U0001d427",
    "circled": "\u24d0\u24d3\u24dc\u24d8\u24dd",
    "ligature": "\ufb01nd",
    "dotless i": "adm\u0131n",
    "roman numeral": "\u217ceft",
    "combining": "a\u0308dmin",
    "combining hundredfold": "a" + "\u0301" * 100,
    "composed": "\u00e4dmin",
    "en dash": "read\u2013file",
    "fraction slash": "a\u2044b",
    "one dot leader": "a\u2024b",
    "full-width underscore": "read\uff3ffile",
    "modifier apostrophe": "o\u02bcbrien",
}
HIDDEN: Final[Mapping[str, str]] = {
    "zero width space": "read\u200bfile",
    "zero width joiner": "read\u200dfile",
    "zero width non-joiner": "read\u200cfile",
    "word joiner": "read\u2060file",
    "byte order mark": "\ufeffread",
    "soft hyphen": "read\u00adfile",
    "variation selector": "read\ufe0ffile",
    "hangul filler": "read\u3164file",
    "braille blank": "read\u2800file",
    "invisible times": "read\u2062file",
    "tags": "read\U000e0061\U000e0062",
    "right-to-left override": "read\u202eelif",
    "left-to-right isolate": "\u2066read\u2069",
    "right-to-left mark": "read\u200f",
    "right-to-left embedding": "\u202bread\u202c",
    "NUL": "read\x00file",
    "only NUL": "\x00",
    "escape sequence": "\x1b[31mread\x1b[0m",
    "bell": "read\x07",
    "backspace": "read\x08",
    "delete": "read\x7f",
    "next line": "read\x85file",
    "line break": "read\nfile",
    "carriage return": "read\rfile",
    "line separator": "read\u2028file",
    "tab": "read\tfile",
    "no-break space": "read\u00a0file",
    "ideographic space": "read\u3000file",
    "private use": "read\ue000",
    "unassigned": "read\U000e0fff",
    "noncharacter": "read\uffff",
    "object replacement": "read\ufffc",
    "half a pair": "read\ud800",
}
MARKUP: Final[Mapping[str, str]] = {
    "script": "<script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)',
    "template": "{{7*7}}",
    "way up": "../admin",
    "nothing": "",
    "blank": " ",
}

NOWHERE: Final = (
    "zero width space",
    "word joiner",
    "byte order mark",
    "soft hyphen",
    "invisible times",
    "tags",
    "right-to-left override",
    "left-to-right isolate",
    "right-to-left mark",
    "right-to-left embedding",
    "NUL",
    "only NUL",
    "escape sequence",
    "bell",
    "backspace",
    "delete",
    "next line",
    "half a pair",
)
"""Of ``HIDDEN``, what titles and descriptions do not hold either, which may be of any script."""

CASES: Final[Mapping[str, str]] = {**LONG, **LOOKALIKES, **HIDDEN, **MARKUP}


_KEYS: Final = re.compile("[0-9#*]\ufe0f\u20e3")
_CHOOSING: Final = re.compile("[\u034f\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_WRITING: Final = re.compile("(?:p|bm{0,3}|us?j?(?:ms?j?){0,3})*")
"""Whole texts: a sign; a letter with its marks; and one of a script, or an emoji, with joiners too."""


def is_plain(text: str) -> bool:
    """Whether a page and a terminal show all of a text: no hidden character in it, and nothing that turns its order.

    Marks stand over letters, and not in towers; joiners stand where scripts and emoji have them.
    """
    return _WRITING.fullmatch("".join(map(_part_of, _KEYS.sub("1", text)))) is not None


def _part_of(letter: str) -> str:
    category = unicodedata.category(letter)
    if letter in "\u200c\u200d":
        return "j"
    if _CHOOSING.match(letter):
        return "s"
    if category in {"Mn", "Me"}:
        return "m"
    if letter in "\u3164\u2800\ufffc\u115f\u1160\uffa0" or not (letter == "\n" or letter.isprintable()):
        return "hidden"
    if letter in "\u2139\u203c\u2049\u3030":
        return "u"
    if letter.isascii() or category in {"Lu", "Ll", "Lt"} or category[0] == "N":
        return "b" if category[0] in "LNS" else "p"
    return "u" if category[0] in "LS" or category == "Mc" else "p"
