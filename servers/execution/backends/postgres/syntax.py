"""Calls PostgreSQL's own parser and scanner so that no text exhausts a stack or takes long; judges no SQL.

Every use of pglast's parser and scanner is here. Four things in them need a guard:

- Building the tree recurses once for each level, without a check: deep enough text ends the process.
- The scanner goes back to the start of a run of operator signs for each ``/*``, ``+`` or ``-`` in it.
- Each place in a text that is not ASCII is looked up by counting from the text's end.
- Each thread that ever called them takes one of the process's 1,024 keys (``pthread_key_create``) for good. With none
  left, the next library that needs one ends the process.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from pglast import parse_sql
from pglast.parser import ParseError, parse_sql_protobuf, scan

from servers.execution.sql.reading import AT_ONCE

_STACK_BYTES: Final = 16 * 1024 * 1024
"""Stack of the thread that parses. What ``parse_sql_protobuf`` lets through needs less than a fifth of it,
whatever the stack of the caller's thread and the limits of the process."""
_THREADS: Final = 2
"""For short texts, and as many for long ones, so that whoever reads a short one on an event loop waits for no long one.
They are kept: others never call the parser, nor the scanner."""

_SIGN_RUN: Final = re.compile(r"[-+*/<>=~!@#%^&|`?]{64,}")
_MOST_SIGN_WORK: Final = 20_000_000
"""Steps back in runs of signs; about 50 ms. One run of 4,000 plus signs, or 6,000 signs of comments."""
_MOST_LOOKUP_WORK: Final = 2_000_000
"""Characters beyond ASCII in names, times tokens: at most some 0.4 s. Ordinary queries stay far below 100,000."""

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_COMMENTS: Final = frozenset({"C_COMMENT", "SQL_COMMENT"})
_OPAQUE_TOKENS: Final = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", *_COMMENTS})
_VALUES: Final = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST"})
_NEAR: Final = re.compile(r'(.* at or near ")(.*)"', re.DOTALL)
_NESTING_FAULTS: Final = ("memory exhausted", "stack depth limit", "parse tree is nested too deeply")

_Result = TypeVar("_Result")


class Unreadable(Exception):
    """The text is no SQL (``rule`` is None, ``offset`` 0-based in characters), or is more than Marina reads."""

    def __init__(self, message: str, *, offset: int | None = None, rule: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.rule = rule


class _Parsers:
    """The threads that parse and scan, with a deep stack each."""

    def __init__(self) -> None:
        self._begin()
        # A forked process has none of the threads, and may have been forked while they were locked.
        os.register_at_fork(after_in_child=self._begin)

    def run(self, sql: str, work: Callable[[], _Result]) -> _Result:
        """What the work on the text gives, or raises."""
        # The size holds for every thread that starts meanwhile; more stack does those no harm.
        with self._lock:
            before = threading.stack_size(_STACK_BYTES)
            try:
                running = (self._short if len(sql) <= AT_ONCE else self._long).submit(work)
            finally:
                threading.stack_size(before)
        return running.result()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._short = ThreadPoolExecutor(_THREADS, thread_name_prefix="sql-parser")
        self._long = ThreadPoolExecutor(_THREADS, thread_name_prefix="sql-parser-long")


_PARSERS: Final = _Parsers()


def parse_statements(sql: str) -> Sequence[Any]:
    """The trees of the statements in the text. Raises ``Unreadable``.

    Names are as written. In strings and comments, characters beyond ASCII are replaced by letters.
    """
    _bound_signs(sql)
    masked = _mask(sql)
    try:
        return _PARSERS.run(masked, lambda: _parse(masked))
    except ParseError as fault:
        raise _read_fault(fault, sql) from None


def scan_tokens(sql: str) -> Sequence[Any]:
    """The tokens of the text, with offsets in characters. Raises ``Unreadable``."""
    _bound_signs(sql)
    plain = _replace_not_ascii(sql)
    try:
        tokens: Sequence[Any] = _PARSERS.run(plain, lambda: scan(plain))
        return tokens
    except ParseError as fault:
        raise Unreadable(
            _restore(_text(fault), _offset(fault, plain), sql), offset=_offset(fault, plain)
        ) from None


def without_values(sql: str) -> str:
    """The statement in one line, a question mark for each value in its text, and without comments.

    The text may end anywhere: what does not end in it is left out.
    """
    try:
        tokens = scan_tokens(sql)
    except Unreadable as fault:
        begins = fault.offset or 0
        return f"{without_values(sql[:begins])} ?" if 0 < begins < len(sql) else "?"
    parts: list[str] = []
    end = 0
    for token in tokens:
        if token.name in _COMMENTS:
            continue
        if parts and token.start > end:
            parts.append(" ")
        parts.append("?" if token.name in _VALUES else sql[token.start : token.end + 1])
        end = token.end + 1
    return "".join(parts)


def _parse(sql: str) -> Sequence[Any]:
    # This one minds its depth. What it refuses must not reach the other, which does not.
    parse_sql_protobuf(sql)
    trees: Sequence[Any] = parse_sql(sql)
    return trees


def _bound_signs(sql: str) -> None:
    work = sum(
        len(run) * (run.count("/*") + 2 * run.count("+"))  # "--" begins a comment: only "+-" is read as signs
        for run in _SIGN_RUN.findall(sql)
    )
    if work > _MOST_SIGN_WORK:
        raise Unreadable(
            "The query holds very long runs of signs such as +++ or /*/*. Leave them out.", rule="sql.text"
        )


def _replace_not_ascii(sql: str) -> str:
    """The same text, a letter for each character beyond ASCII: PostgreSQL's scanner takes both alike.

    The letter is none that ends an escape, a number or a prefix (``E'…'``, ``0x1``) in another way.
    """
    return sql if sql.isascii() else _NOT_ASCII.sub("z", sql)


def _mask(sql: str) -> str:
    if sql.isascii():
        return sql
    tokens = scan_tokens(sql)
    plain = _replace_not_ascii(sql)
    parts: list[str] = []
    position = 0
    for token in tokens:
        if token.name in _OPAQUE_TOKENS:
            parts += (sql[position : token.start], plain[token.start : token.end + 1])
            position = token.end + 1
    parts.append(sql[position:])
    masked = "".join(parts)
    if len(tokens) * len(_NOT_ASCII.findall(masked)) > _MOST_LOOKUP_WORK:
        raise Unreadable(
            "The query is too long for so many names with letters beyond ASCII. Make it shorter.",
            rule="sql.text",
        )
    return masked


def _read_fault(fault: ParseError, sql: str) -> Unreadable:
    text = _text(fault)
    if text.startswith(_NESTING_FAULTS):
        return Unreadable(text, rule="sql.nesting")
    if sql.isascii():
        return Unreadable(text, offset=_offset(fault, sql))
    # pglast counts wrongly when the place comes after characters beyond ASCII.
    plain = _replace_not_ascii(sql)
    offset = None
    try:
        _PARSERS.run(plain, lambda: parse_sql_protobuf(plain))
    except ParseError as second:
        offset = _offset(second, plain)
    return Unreadable(_restore(text, offset, sql), offset=offset)


def _text(fault: ParseError) -> str:
    return str(fault.args[0])


def _offset(fault: ParseError, ascii_sql: str) -> int | None:
    if _text(fault).endswith("at end of input"):
        return len(ascii_sql)
    offset = fault.args[1] if len(fault.args) > 1 else None
    return offset if isinstance(offset, int) and 0 <= offset <= len(ascii_sql) else None


def _restore(message: str, offset: int | None, sql: str) -> str:
    """The message with the caller's own characters in what it quotes."""
    quoted = _NEAR.fullmatch(message)
    if quoted is None or offset is None:
        return message
    own = sql[offset : offset + len(quoted[2])]
    if _replace_not_ascii(own) != _replace_not_ascii(quoted[2]):
        return message
    return f'{quoted[1]}{own}"'
