"""How urgent a task is among its team's, in words and as its turn has it. Never among those of other teams."""

from __future__ import annotations

from typing import Final

from core.errors import Forbidden
from tenants.access import Caller
from tenants.roles import Action

NUMBERS: Final = {"low": -1, "normal": 0, "high": 1}
"""What each of them is in the line: a higher one comes first."""

PRIORITIES: Final = tuple(NUMBERS)
NORMAL: Final = "normal"

_WORDS: Final = {number: word for word, number in NUMBERS.items()}


def word_of(number: int) -> str:
    """The priority in words."""
    return _WORDS[number]


def require_priority(caller: Caller, usual: int, wanted: int | None) -> None:
    """Raise ``Forbidden`` where the caller may not have a call before others. ``usual`` is that of the tool's calls."""
    if wanted is None or wanted <= max(usual, 0) or caller.may(Action.TASKS_MANAGE):
        return
    raise Forbidden(
        "A high priority takes the right to manage tasks: the roles owner, admin and editor have it, and keys with the "
        "scope tasks:manage. Call with normal or low, or ask for that right.",
        rule="priority:high",
        code="priority_not_allowed",
        data={"priority": word_of(wanted)},
    )
