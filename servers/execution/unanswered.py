"""Says what is told of a request to a source by HTTP that was not answered, and what to do next. Knows no kind."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from core.errors import SourceError
from core.outbound_http import OutboundRefused, Reason

_CODES: Final[Mapping[Reason, str]] = {
    "address": "request_invalid",
    "unresolved": "source_missing",
    "denied": "source_denied",
    "crowded": "source_unreachable",
    "unreachable": "source_unreachable",
    "certificate": "source_unreachable",
    "timeout": "source_timeout",
    "broken": "source_failed",
    "encoding": "source_failed",
    "too_large": "result_too_large",
}
_NEXT: Final[Mapping[Reason, str]] = {
    "unresolved": "Check its spelling in the settings of the data source.",
    "denied": "Ask the operator to allow the address, or use another host.",
    "unreachable": "Check host and port, and whether it is running.",
    "certificate": "Check the host name, and who issued its certificate.",
    "timeout": "Try again, or let an admin raise the time limit.",
    "too_large": "Ask for less, or let an admin raise max_bytes.",
}
_PASSING: Final = frozenset[Reason]({"unresolved", "crowded", "unreachable", "timeout", "broken"})
_NOTHING_MORE: Final[Mapping[Reason, str]] = MappingProxyType({})


def host_of(url: str) -> str:
    """Host and port of an address that was checked when it was entered."""
    return urlsplit(url).netloc


def unanswered(
    refused: OutboundRefused,
    asked: str,
    *,
    repeatable: bool = True,
    following: Mapping[Reason, str] = _NOTHING_MORE,
) -> SourceError:
    """The error for a request that was not answered. ``repeatable``: sending it again does no harm.

    ``asked`` is who did not, and begins the sentence.
    ``following`` are sentences on what to do next that hold for this one, in place of those for every source.
    """
    sentence = following.get(refused.reason, _NEXT.get(refused.reason, ""))
    return SourceError(
        f"{asked} was asked, but {refused}.{' ' if sentence else ''}{sentence}",
        code=_CODES[refused.reason],
        data={"reason": refused.reason},
        retryable=refused.reason in _PASSING and (repeatable or refused.unsent),
    )
