"""Splits a text into SQLite's tokens, to know its parameters, its first word and where it ends. Judges no SQL.

SQLite itself reads the statement afterwards; nothing here is what keeps a query from doing harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

# Nothing here goes back: what is not closed is a token up to the end of the text.
Sort = Literal["word", "quoted", "value", "parameter", "sign", "end"]

_TOKEN: Final = re.compile(
    r"""
      (?P<blank>[ \t\n\f\r]+ | --[^\n]* | /\*(?:(?!\*/)[\s\S])*(?:\*/)?)
    | (?P<value>[xX]?'(?:[^']|'')*'? | (?:0[xX][0-9a-fA-F_]+ | (?:[0-9][0-9_]*\.?[0-9_]* | \.[0-9][0-9_]*)
        (?:[eE][+-]?[0-9][0-9_]*)?))
    | (?P<quoted>"(?:[^"]|"")*"? | `(?:[^`]|``)*`? | \[[^\]]*\]?)
    | (?P<parameter>\?[0-9]* | [:@$][\w$\x80-\U0010ffff]+(?:::[\w$]+)*)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    | (?P<end>;)
    | (?P<sign>[\s\S])
    """,
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it begins, in characters. ``sort`` ``end`` is a semicolon."""

    sort: Sort
    text: str
    start: int


def scan_tokens(sql: str) -> Sequence[Token]:
    """The tokens of the text without white space and comments."""
    return list(_scan(sql))


def _scan(sql: str) -> Iterator[Token]:
    for found in _TOKEN.finditer(sql):
        match found.lastgroup:
            case "word" | "quoted" | "value" | "parameter" | "sign" | "end":
                yield Token(found.lastgroup, found[0], found.start())


def without_values(sql: str) -> str:
    """The statement in one line, a question mark for each value in its text, and without comments."""
    parts: list[str] = []
    end = 0
    for token in _scan(sql):
        if parts and token.start > end:
            parts.append(" ")
        # What is in double quotes may be a text, too, where it is the name of nothing.
        parts.append("?" if token.sort == "value" or token.text.startswith('"') else token.text)
        end = token.start + len(token.text)
    return "".join(parts)
