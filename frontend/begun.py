"""What a browser has begun and comes back for: kept in its session, a few at a time, for a while. Checks no answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpRequest

MOST: Final = 5
"""Of a kind, in one browser; the oldest makes room."""

SECONDS: Final = 600


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
