"""What one attempt of the check is: a request, and the one whose answer it is held against. Makes and sends none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

NO_TEAM: Final = "isolation-check-nobody"
UNKNOWN_UUID: Final = "6f1c1c9e-0000-4000-8000-000000000000"


class UncoveredRoute(Exception):
    """A route has a parameter that the check has no value for, or is one that nobody says what to ask of."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``body`` is sent as JSON, ``form`` as a form, with its CSRF token where there is a session."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    session: str = field(default="", repr=False)
    body: Any = None
    form: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """``asked`` must be answered as ``like`` is (where there is one), and must show none of ``hidden``."""

    name: str
    asked: Request
    like: Request | None
    hidden: Sequence[str]
    words: Sequence[tuple[str, str]] = ()
    """What may differ between the two answers: the words of the request itself, and what they become."""
    expects: int = 0
    """The status that it must have, where it is a team's own request: that what was tried elsewhere is sound at home,
    and still is."""
