"""Says in words why an upstream MCP server could not be asked, or what of its answer cannot be used. No secret.

Nothing of what it said is quoted here: its words are content, and go where content goes.
"""

from __future__ import annotations

from core.errors import SourceError
from core.outbound_http import OutboundRefused, Reason
from servers.execution.unanswered import host_of, unanswered


class SessionLost(Exception):
    """The upstream does not know the session: it did nothing with the request."""


def refused_fault(refused: OutboundRefused, url: str, *, repeatable: bool = True) -> SourceError:
    """The error for a request that was not answered. ``repeatable``: sending it again does no harm."""
    following: dict[Reason, str] = {
        "address": "Check its address and headers in the settings of the data source."
    }
    if not repeatable:
        following["broken"] = "It may have begun the work: check that before you call again."
    return unanswered(
        refused, f"The MCP server at {host_of(url)}", repeatable=repeatable, following=following
    )


def status_fault(status: int, url: str) -> SourceError:
    """The error for an answer with a status that is no success, and no message of MCP in it."""
    host = host_of(url)
    if status in (401, 403):
        return SourceError(
            f"The MCP server at {host} refuses how Marina signs in (status {status}). Check the token or headers in "
            "the settings of the data source.",
            code="source_auth",
            data={"status": status},
        )
    if 300 <= status < 400:
        return SourceError(
            f"The MCP server at {host} leads to another address (status {status}), which is not followed. Give that "
            "address in the settings of the data source, if it is the right one.",
            code="source_redirect",
            data={"status": status},
        )
    if status in (404, 405):
        return SourceError(
            f"There is no MCP endpoint at the address on {host} (status {status}). Check its path: often it ends with "
            "/mcp. A server that has only the older HTTP+SSE transport cannot be connected to yet.",
            code="source_missing",
            data={"status": status},
        )
    if status == 429:
        return SourceError(
            f"The MCP server at {host} is asked too often just now (status 429). Try again later.",
            code="source_busy",
            data={"status": status},
            retryable=True,
        )
    return SourceError(
        f"The MCP server at {host} answered with status {status}. Ask whoever runs it.",
        code="source_failed",
        data={"status": status},
        retryable=status in (502, 503, 504),
    )


def unlike_mcp(url: str, why: object) -> SourceError:
    """The error for an answer that is no message of MCP, or not the one that was asked for."""
    return SourceError(
        f"The server at {host_of(url)} was asked as an MCP server, but {why}. Check the address in the settings of the "
        "data source.",
        code="source_not_mcp",
    )


def late_fault(url: str, seconds: float) -> SourceError:
    """The error for a call that took too long, and was given up there too."""
    return SourceError(
        f"The MCP server at {host_of(url)} did not answer within {seconds:g} s, and was told that the call is "
        "cancelled.",
        code="source_timeout",
        data={"seconds": seconds},
        retryable=True,
    )
