"""What a request to an upstream that went wrong says of it, and when the request may be made again. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from core.errors import SourceError
from core.outbound_http import OutboundRefused, Reason
from servers.execution.backends.mcp.faults import Unsigned

FIRST_BACKOFF: Final = 0.1
LAST_BACKOFF: Final = 2.0
"""Seconds, of which each wait is a part by chance: full jitter, so that calls that failed together come apart."""
TRIES: Final = 3
"""Of one call at one upstream. Where there are others, each of them is tried before one is tried again."""

Fault = OutboundRefused | SourceError

_ABSENT: Final = frozenset[Reason](
    {"unresolved", "unreachable", "certificate", "timeout", "broken", "unanswered"}
)
"""Reasons for which nobody serves, as far as can be seen from here."""
_PASSING: Final = frozenset[Reason]({"crowded", "unreachable", "broken"})
"""Reasons for which the same upstream may answer a moment later. What was waited for in vain had its time."""
_PASSING_STATUSES: Final = frozenset({429, 502, 503, 504})
_DOWN_STATUSES: Final = frozenset({502, 503, 504})
"""What is answered in place of a server that is not there, or by one that takes no work at all."""
_ELSEWHERE: Final = frozenset(
    {"source_missing", "source_not_mcp", "source_redirect", "source_version", "source_failed", "source_busy"}
)


def backoff(tried: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after this many tries."""
    return min(LAST_BACKOFF, FIRST_BACKOFF * 2.0 ** (tried - 1)) * chance()


def is_down(fault: Fault) -> bool:
    """Whether nobody serves there. Whoever refuses what was asked, or how, or fails at it, is there."""
    if isinstance(fault, OutboundRefused):
        return fault.reason in _ABSENT
    if isinstance(fault, Unsigned):
        return False
    return (
        fault.code == "source_timeout"
        or fault.data.get("reason") in _ABSENT
        or fault.data.get("status") in _DOWN_STATUSES
    )


def unsent(fault: Fault) -> bool:
    """Whether it is certain that nothing of the request arrived."""
    return isinstance(fault, OutboundRefused) and fault.unsent


def is_passing(fault: Fault) -> bool:
    """Whether the same upstream may be asked again soon."""
    if isinstance(fault, OutboundRefused):
        return fault.reason in _PASSING
    return fault.data.get("status") in _PASSING_STATUSES


def goes_elsewhere(fault: Fault) -> bool:
    """Whether another upstream may answer better. One address that is not allowed is no reason against the next."""
    if isinstance(fault, OutboundRefused):
        return fault.reason not in ("address", "too_large")
    return is_passing(fault) or fault.code in _ELSEWHERE or is_down(fault)
