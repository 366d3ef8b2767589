"""Says in words why a request of an HTTP source is not made, or came to nothing. No secret, nothing of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn
from urllib.parse import urlsplit

from core.errors import InvalidInput, SourceError
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


def refuse(path: str, message: str) -> NoReturn:
    """Raise ``InvalidInput``: of this argument no request is made. A client that reads one line is told which, too."""
    raise InvalidInput(f"{path}: {message}" if path else message, errors=[{"path": path, "message": message}])


def host_of(url: str) -> str:
    """Host and port of an address that was checked when it was entered."""
    return urlsplit(url).netloc


def fault_of(
    refused: OutboundRefused, url: str, *, what: str = "API", repeatable: bool = True
) -> SourceError:
    """The error for a request that was not answered. ``repeatable``: sending it again does no harm."""
    following = _NEXT.get(refused.reason, "")
    return SourceError(
        f"The {what} at {host_of(url)} was asked, but {refused}.{' ' if following else ''}{following}",
        code=_CODES[refused.reason],
        data={"reason": refused.reason},
        retryable=refused.reason in {"unresolved", "crowded", "unreachable", "timeout", "broken"}
        and (repeatable or refused.unsent),
    )
