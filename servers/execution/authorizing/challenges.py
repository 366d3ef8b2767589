"""What a server says by ``WWW-Authenticate`` of how to sign in (RFC 6750, section 3; RFC 9728, section 5.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_HEADER: Final = 8_192
MAX_SCOPES: Final = 100
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a pattern
_SCHEME: Final = re.compile(rf"({_TOKEN})(?:\s+|$|(?=,))")
_TOKEN68: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))")
_PARAMETER: Final = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_GAP: Final = re.compile(r"[\s,]*")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")
"""RFC 6749, section 3.3."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A server's refusal of a request. ``scopes`` are those that it names, ``metadata`` the address of its own
    metadata; ``error`` is a word of RFC 6750. All may be empty. ``bearer``: it takes bearer tokens at all.
    """

    status: int
    bearer: bool = False
    metadata: str = ""
    error: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def wants_more(self) -> bool:
        """Whether the token is good, and has too little scope."""
        return self.status == 403 and self.error == "insufficient_scope"


def read_challenge(status: int, header: str) -> Challenge:
    """The challenge for bearer tokens among those of a header; an empty one where there is none, or it is garbled."""
    if not header or len(header) > MAX_HEADER:
        return Challenge(status)
    for scheme, parameters in _challenges(header):
        if scheme == "bearer":
            return Challenge(
                status,
                True,
                parameters.get("resource_metadata", ""),
                parameters.get("error", ""),
                read_scopes(parameters.get("scope", "")),
            )
    return Challenge(status)


def read_scopes(given: object) -> tuple[str, ...]:
    """The scopes of a text or a list, each once, in order; those that are none are left out."""
    words: Iterable[object] = (
        given.split(" ") if isinstance(given, str) else given if isinstance(given, list) else ()
    )
    found = {word: None for word in words if isinstance(word, str) and _SCOPE.fullmatch(word)}
    return tuple(found)[:MAX_SCOPES]


def joined(*several: Iterable[str]) -> tuple[str, ...]:
    """The union of scopes, in the order in which they first come."""
    return tuple({scope: None for scopes in several for scope in scopes})[:MAX_SCOPES]


def _challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(header):
        gap = _GAP.match(header, at)
        at = gap.end() if gap else at
        parameter = _PARAMETER.match(header, at)
        if parameter is not None and found:
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1].setdefault(name.lower(), value)
            at = parameter.end()
            continue
        if found and not found[-1][1] and (one := _TOKEN68.match(header, at)) and "=" in one[0]:
            at = one.end()
            continue
        scheme = _SCHEME.match(header, at)
        if scheme is None:
            # What cannot be read ends it: what was read before stands.
            break
        found.append((scheme[1].lower(), {}))
        at = scheme.end()
    return found
