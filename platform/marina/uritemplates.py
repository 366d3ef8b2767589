"""Matches URIs against RFC 6570 URI templates, in linear time. Decides nothing about who may read what.

Understood are ``{name}``, ``{+path}`` and, at the end, ``{?first,second}``. Values come out percent-decoded once.
A value is refused, so that the template does not match, where it could reach beyond its place: a plain variable
never holds a slash, nor anything that decodes to one, and no part of a path is ``.`` or ``..``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import re2

MAX_URI: Final = 2_048
"""Characters of the longest URI that is looked at."""

MAX_VARIABLES: Final = 20

_EXPRESSION: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_PLAIN: Final = r"([^/?#\\]+)"
_RESERVED: Final = r"([^?#\\]+)"


class BadTemplate(ValueError):
    """Not a template that Marina can match; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class UriTemplate:
    """A template ready for matching. ``query`` are the variables of ``{?…}``; each may be left out of a URI."""

    text: str
    variables: tuple[str, ...]
    query: tuple[str, ...]
    _reserved: frozenset[str] = field(repr=False)
    _pattern: Any = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """All variables, in their order."""
        return (*self.variables, *self.query)

    def match(self, uri: str) -> Mapping[str, str] | None:
        """The values of the variables, or ``None`` where the URI does not fit."""
        if len(uri) > MAX_URI or not _printable(uri):
            return None
        path, asked, query = uri.partition("?") if self.query else (uri, "", "")
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        values: dict[str, str] = {}
        for name, raw in zip(self.variables, found.groups(), strict=False):
            value = _decode(raw)
            if value is None or not _stays(value, slashes=name in self._reserved):
                return None
            values[name] = value
        if asked:
            for name, raw in _pairs(query):
                value = _decode(raw)
                # What the template does not name, or names once, must not be dropped without a word.
                if name not in self.query or name in values or value is None or "#" in raw:
                    return None
                values[name] = value
        return values


@lru_cache(maxsize=4_096)
def compile_template(text: str) -> UriTemplate:
    """The template ready for matching; the same object for all who ask for it. Raises ``BadTemplate``."""
    if len(text) > MAX_URI or not _printable(text):
        raise BadTemplate(f"It is longer than {MAX_URI} characters, or holds a space or control character.")
    variables: list[str] = []
    reserved: set[str] = set()
    query: tuple[str, ...] = ()
    pattern, end, adjacent = "", 0, False
    for found in _EXPRESSION.finditer(text):
        literal = text[end : found.start()]
        if query:
            raise BadTemplate("Nothing may follow {?…}.")
        pattern += re2.escape(_literal(literal))
        operator, names = _parse(found[1])
        end = found.end()
        if operator == "?":
            query = tuple(names)
            continue
        if adjacent and not literal:
            raise BadTemplate("Two expressions stand side by side, so their values could not be told apart.")
        adjacent = True
        if len(names) > 1:
            raise BadTemplate(f"{{{found[1]}}} names several variables. Give each an expression of its own.")
        if operator == "+":
            reserved.update(names)
        variables += names
        pattern += _RESERVED if operator else _PLAIN
    pattern += re2.escape(_literal(text[end:]))
    if query and (text[end:] or "?" in text[: text.rindex("{")]):
        raise BadTemplate("{?…} must be the template's end, and its only question mark.")
    every = [*variables, *query]
    if not every or len(every) > MAX_VARIABLES:
        raise BadTemplate(f"A template has 1 to {MAX_VARIABLES} variables; this one has {len(every)}.")
    if len(set(every)) < len(every):
        raise BadTemplate("A variable stands in it twice.")
    return UriTemplate(text, tuple(variables), query, frozenset(reserved), re2.compile(pattern))


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise BadTemplate("A brace has no partner.")
    return text


def _parse(body: str) -> tuple[str, list[str]]:
    operator = body[:1] if body[:1] in "+?" else ""
    names = body[len(operator) :].split(",")
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadTemplate(
                f"{{{body}}} is not supported. Use {{name}}, {{+path}} or, at the end, {{?name}}."
            )
    return operator, names


def _printable(text: str) -> bool:
    """No control character, space or half of a surrogate pair, none of which a URI holds."""
    return text.isprintable() and " " not in text


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for part in query.split("&"):
        name, _, raw = part.partition("=")
        yield name, raw


def _decode(raw: str) -> str | None:
    """Percent-decoded once; ``None`` for a broken escape, for bytes that are not UTF-8, and for NUL."""
    if _ESCAPE.search(raw):
        return None
    try:
        value = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in value else value


def _stays(value: str, *, slashes: bool) -> bool:
    """Whether a value keeps to its place in a path, however a tool goes on to use it."""
    if "\\" in value or (not slashes and ("/" in value or ".." in value)):
        return False
    return not any(part in {".", ".."} for part in value.split("/"))
