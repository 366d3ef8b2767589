"""What a browser has begun and comes back for: kept in its session, a few at a time, for a while. Says no more
of what came back than whether it can be read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpRequest

MOST: Final = 5
"""Of a kind, in one browser; the oldest makes room."""

SECONDS: Final = 600

_LONGEST: Final = 8_192
_RETURNED: Final = ("state", "code", "iss", "error")


def awaited(request: HttpRequest, kind: str) -> dict[str, Mapping[str, Any]]:
    """What is not too old, by its number. ``kind`` is the session's key."""
    oldest = time.time() - SECONDS
    kept = request.session.get(kind, {})
    return {number: each for number, each in kept.items() if each["at"] > oldest}


def keep(request: HttpRequest, kind: str, number: str, begun: Mapping[str, Any]) -> None:
    """Keep one more, under a number that nobody can guess."""
    everything = {**awaited(request, kind), number: {**begun, "at": time.time()}}
    request.session[kind] = dict(list(everything.items())[-MOST:])


def finish(request: HttpRequest, kind: str, number: str) -> None:
    """Keep it no longer: it was answered."""
    request.session[kind] = {other: each for other, each in awaited(request, kind).items() if other != number}


def take(request: HttpRequest, kind: str, number: str) -> Mapping[str, Any] | None:
    """What was kept under this number, which is kept no longer; ``None`` where nothing is."""
    kept = awaited(request, kind).get(number)
    if kept is not None:
        finish(request, kind, number)
    return kept


def read_return(request: HttpRequest) -> dict[str, str] | None:
    """What an authorization server sent a browser back with: each once, or nobody knows which counts, and ``None``."""
    found = {}
    for name in _RETURNED:
        values = request.GET.getlist(name)
        if len(values) > 1 or any(len(value) > _LONGEST or "\x00" in value for value in values):
            return None
        if values:
            found[name] = values[0]
    return found
