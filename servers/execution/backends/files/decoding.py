"""Tells text from bytes, and cuts text so that reading can go on where it ended. Pure."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

from servers.execution.folders.paths import refuse

ENCODINGS: Final = (
    "utf-8",
    "ascii",
    "iso-8859-1",
    "iso-8859-15",
    "windows-1252",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "shift_jis",
    "euc-jp",
    "gb18030",
    "big5",
    "koi8-r",
)
BINARY: Final = "binary"

_MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_UTF8_MARK: Final = codecs.BOM_UTF8


@dataclass(frozen=True, slots=True)
class Text:
    """Decoded text; ``taken`` bytes of what was given are in it, a byte order mark with them."""

    text: str
    taken: int
    encoding: str


def decode(data: bytes, encoding: str | None, *, begins: bool, ends: bool) -> Text | None:
    """The text that the bytes are; ``None`` where they are not text, and ``encoding`` was left to Marina.

    ``begins``, ``ends``: whether they are the file's first and its last ones. A character that is cut off at the end is
    left for the next piece. Raises ``InvalidInput`` where they are not what ``encoding`` says.
    """
    codec, mark = _codec(data, encoding, begins=begins)
    if encoding is None and b"\x00" in data:
        return None
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        text = decoder.decode(data[mark:], final=ends)
        left = len(decoder.getstate()[0])
    except UnicodeDecodeError as fault:
        if encoding is None:
            return None
        refuse(
            "encoding",
            f"The file is not {encoding}: what begins at byte {fault.start + mark} of this part is none of its "
            "characters. Give another encoding, or binary.",
        )
    if left > _LONGEST_CHARACTER:
        return None
    return Text(text, len(data) - left, codec)


_LONGEST_CHARACTER: Final = 4


def _codec(data: bytes, encoding: str | None, *, begins: bool) -> tuple[str, int]:
    """The encoding that is in the bytes, and how long its mark is."""
    if encoding in (None, "utf-8"):
        return "utf-8", len(_UTF8_MARK) if begins and data.startswith(_UTF8_MARK) else 0
    if encoding != "utf-16":
        return encoding or "utf-8", 0
    if not begins:
        refuse("encoding", "Only a file's beginning says which UTF-16 it is. Give utf-16-le or utf-16-be.")
    return _MARKS.get(data[:2], "utf-16-le"), 2 if data[:2] in _MARKS else 0


def first_lines(found: Text, most: int) -> Text:
    """The first lines of a text, with their ends."""
    end = 0
    for _ in range(most):
        end = found.text.find("\n", end) + 1
        if not end:
            return found
    kept = found.text[:end]
    dropped = len(found.text[end:].encode(found.encoding))
    return Text(kept, found.taken - dropped, found.encoding)
