"""Finds lines that match an expression in bytes that come piece by piece, in linear time. Reads no file.

A block of lines is asked at once, and each line by itself only where something in it may match.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import re2

from servers.execution.folders.paths import refuse

MAX_EXPRESSION: Final = 1_000
LINE_BYTES: Final = 64 * 1024
"""A longer line is searched in pieces of so many bytes; they overlap by ``OVERLAP_BYTES``."""
OVERLAP_BYTES: Final = 1_024
_EXPRESSION_MEMORY: Final = 512 * 1024
"""Bytes. The library keeps the last 128 expressions, whosever they were."""
_FALSE_HITS: Final = 16
_LINES_A_TURN: Final = 256


def compile_expression(given: object) -> LineExpression:
    """An expression of RE2. Raises ``InvalidInput``."""
    if not isinstance(given, str) or not 0 < len(given) <= MAX_EXPRESSION:
        refuse("content_pattern", f"Give an expression of at most {MAX_EXPRESSION} characters.")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _EXPRESSION_MEMORY
    try:
        return LineExpression(given, options)
    except (re2.error, UnicodeEncodeError):
        refuse(
            "content_pattern",
            "This expression cannot be read, or is too large. Expressions are those of RE2, without look-around and "
            "back-references; put a backslash before characters such as ( that are meant as they stand.",
        )


class LineExpression:
    """An expression that is matched against lines."""

    def __init__(self, pattern: str, options: re2.Options) -> None:
        self._line = re2.compile(pattern, options)
        # No line matches where the block of them has no match, unless the expression can tell a block from a line.
        self._block = None
        if "(?" not in pattern and "\\A" not in pattern and "\\z" not in pattern:
            self._block = re2.compile(f"(?m:{pattern})", options)

    @property
    def knows_blocks(self) -> bool:
        """Whether a block of lines can be asked at once, which is much faster than asking for each line."""
        return self._block is not None

    def next_hit(self, block: bytes, start: int) -> int | None:
        """Where something begins that may be a match in a line of the block."""
        found = None if self._block is None else self._block.search(block, start)
        return None if found is None else int(found.start())

    def find(self, line: bytes) -> int | None:
        """Where in the line the first match begins."""
        found = self._line.search(line)
        return None if found is None else int(found.start())


class LineScanner:
    """Takes a file's bytes piece by piece, and hands on each line that matches: its number, its text, the place."""

    def __init__(
        self,
        expression: LineExpression,
        matched: Callable[[int, bytes, int], bool],
        check: Callable[[], None],
    ) -> None:
        self._expression = expression
        self._matched = matched
        self._check = check
        self._number = 1
        self._rest = b""
        self._told = False
        """Whether the line that ``rest`` is the end of was handed on already."""
        self.binary = False
        self.bytes = 0

    def take(self, piece: bytes) -> bool:
        """Search one more piece. ``False`` where no more is wanted."""
        self._check()
        if not self.bytes and b"\x00" in piece[:8_192]:
            self.binary = True
            return False
        self.bytes += len(piece)
        block = (self._rest + piece).replace(b"\r\n", b"\n")
        end = block.rfind(b"\n") + 1
        self._rest = block[end:]
        if end and not self._search(block[:end]):
            return False
        if len(self._rest) > LINE_BYTES:
            return self._search_long()
        return True

    def end(self) -> None:
        """Search what has no line break after it."""
        if self._rest and not self.binary:
            self._look(self._rest)

    def _search(self, block: bytes) -> bool:
        start = self._skip_to_hits(block) if self._expression.knows_blocks else 0
        if start is None:
            return False
        for place, line in enumerate(block[start:].split(b"\n")[:-1]):
            if place % _LINES_A_TURN == 0:
                self._check()
            if not self._look(line):
                return False
            self._pass(1)
        return True

    def _skip_to_hits(self, block: bytes) -> int | None:
        """Look at the lines alone in which something may match. Gives from where on each line has to be looked at.

        That is the end unless hits were false again and again: each may have cost a search through the whole block.
        """
        start = false_hits = 0
        while start < len(block) and false_hits < _FALSE_HITS:
            hit = self._expression.next_hit(block, start)
            if hit is None or hit >= len(block):
                self._pass(block.count(b"\n", start))
                return len(block)
            begin = max(start, block.rfind(b"\n", 0, hit) + 1)
            end = block.find(b"\n", hit)
            self._pass(block.count(b"\n", start, begin))
            told = self._told
            if not self._look(block[begin:end]):
                return None
            false_hits += self._told == told
            self._pass(1)
            start = end + 1
        return start

    def _pass(self, lines: int) -> None:
        self._number += lines
        if lines:
            self._told = False

    def _search_long(self) -> bool:
        if not self._look(self._rest):
            return False
        self._rest = self._rest[-OVERLAP_BYTES:]
        return True

    def _look(self, line: bytes) -> bool:
        if self._told:
            return True
        place = self._expression.find(line)
        if place is None:
            return True
        self._told = True
        return self._matched(self._number, line, place)
