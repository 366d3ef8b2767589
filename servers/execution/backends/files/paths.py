"""What names, patterns of them and kinds of file are: checked and compared as text. Touches no file."""

from __future__ import annotations

import mimetypes
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final

import re2

from servers.execution.folders.paths import refuse

MAX_PATTERN: Final = 500
_PATTERN_MEMORY: Final = 256 * 1024
"""Bytes. The library keeps the last 128 patterns, whosever they were."""

_TYPES: Final = mimetypes.MimeTypes(filenames=())
"""Python's own table: what the machine's says must not change what clients are told."""
for _type, _extension in (
    ("text/markdown", ".md"),
    ("text/yaml", ".yaml"),
    ("text/yaml", ".yml"),
    ("application/toml", ".toml"),
    ("text/plain", ".log"),
    ("application/x-ndjson", ".jsonl"),
):
    _TYPES.add_type(_type, _extension)


def is_sayable(name: str) -> bool:
    """Whether a name that was found can be told to clients, and be asked for by them."""
    if name in ("", ".", "..") or "\\" in name or "/" in name:
        return False
    return name.isprintable() or not any(unicodedata.category(each) in ("Cc", "Cs") for each in name)


def shown_name(name: str) -> str:
    """A name as it can be told: bytes that are no UTF-8, and control characters, as question marks."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join("\ufffd" if unicodedata.category(each) in ("Cc", "Cs") else each for each in text)


def extension_of(path: str) -> str:
    """The extension in lower case, with its dot; of ``.env`` it is ``.env``. Trailing dots and spaces hide none."""
    name = path.rpartition("/")[2].rstrip(". ").casefold()
    return f".{name.rpartition('.')[2]}" if "." in name else ""


def mime_type_of(path: str, *, binary: bool) -> str:
    """The MIME type by the name's extension; else by what is in it."""
    guessed, coding = _TYPES.guess_type(path.rpartition("/")[2], strict=False)
    if guessed is None or coding is not None:
        return "application/octet-stream" if binary or coding is not None else "text/plain"
    return guessed


def compile_glob(pattern: object, argument: str = "pattern") -> Callable[[str, str], bool]:
    """Whether an entry's (name, path below the folder) fits: the path where the pattern holds a slash, else the name.

    ``*`` and ``?`` stand for anything but a slash, ``**`` for slashes as well, ``[a-z]`` for one character of a set.
    Matching takes linear time. Raises ``InvalidInput``.
    """
    if not isinstance(pattern, str) or not 0 < len(pattern) <= MAX_PATTERN or not pattern.isprintable():
        refuse(argument, f"Give a pattern of at most {MAX_PATTERN} printable characters, such as *.txt.")
    try:
        expression = re2.compile(_expression_of(pattern), _quiet())
    except re2.error:
        refuse(argument, "This pattern cannot be read. Use *, ?, ** and [a-z], such as *.txt.")
    if "/" in pattern:
        return lambda name, path: expression.fullmatch(path) is not None
    return lambda name, path: expression.fullmatch(name) is not None


def read_extensions(given: Iterable[str]) -> frozenset[str]:
    """Extensions as they are compared: in lower case, each with one dot before it."""
    return frozenset(f".{each.strip().lstrip('.').casefold()}" for each in given)


def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    options.max_mem = _PATTERN_MEMORY
    return options


def _expression_of(pattern: str) -> str:
    expression, place = "", 0
    while place < len(pattern):
        if pattern.startswith("**/", place):
            expression, place = expression + "(?:.*/)?", place + 3
        elif pattern.startswith("**", place):
            expression, place = expression + ".*", place + 2
        elif pattern[place] == "*":
            expression, place = expression + "[^/]*", place + 1
        elif pattern[place] == "?":
            expression, place = expression + "[^/]", place + 1
        elif pattern[place] == "[" and (end := pattern.find("]", place + 2)) > 0:
            negated = pattern[place + 1] in "!^"
            members = pattern[place + 1 + negated : end]
            inside = "".join(each if each == "-" else re2.escape(each) for each in members)
            expression, place = f"{expression}[{'^/' if negated else ''}{inside}]", end + 1
        else:
            expression, place = expression + re2.escape(pattern[place]), place + 1
    return expression
