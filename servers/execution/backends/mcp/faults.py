"""Says in words why an upstream MCP server could not be asked, or what of its answer cannot be used. No secret.

Nothing of what it said is quoted here: its words are content, and go where content goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from core.errors import SourceError
from core.outbound_http import OutboundRefused, Reason
from servers.execution.authorizing.challenges import Challenge, read_challenge
from servers.execution.backends.mcp.wire import NotMcp
from servers.execution.unanswered import host_of, unanswered

HOSTED: Final = "command"
"""The scheme of what stands for an address where there is a command."""


class Challenged(SourceError):
    """The upstream refused to be asked so, by 401 or 403. It did nothing with the request."""

    def __init__(self, message: str, challenge: Challenge) -> None:
        super().__init__(message, code="source_auth", data={"status": challenge.status})
        self.challenge = challenge


class Unsigned(SourceError):
    """There was no token to ask the upstream by, for this reason: the upstream itself was not asked."""

    def __init__(self, fault: SourceError) -> None:
        super().__init__(fault.message, code=fault.code, data=dict(fault.data), retryable=fault.retryable)


class Abandoned(SourceError):
    """A request is given up here in the middle of its work, of which the upstream is told."""


class Untaken(Abandoned):
    """The upstream refused the answer to what it asked in the middle of a request: it waits for it in vain."""

    def __init__(self, url: str, refusal: SourceError) -> None:
        status = refusal.data.get("status")
        said = "" if status is None else f" (status {status})"
        super().__init__(
            f"{named(url)} did not take the answer to what it asked{said}. It may have begun the work: check that "
            "before you call again.",
            code="source_failed",
            data={} if status is None else {"status": status},
        )


class SessionLost(Exception):
    """The upstream does not know the session: it did nothing with the request."""


def named(url: str) -> str:
    """What an upstream is called in a sentence."""
    scheme, _, command = url.partition("://")
    return f"The hosted MCP server {command}" if scheme == HOSTED else f"The MCP server at {host_of(url)}"


def refused_fault(refused: OutboundRefused, url: str, *, repeatable: bool = True) -> SourceError:
    """The error for a request that was not answered. ``repeatable``: sending it again does no harm."""
    following: dict[Reason, str] = {
        "address": "Check its address and headers in the settings of the data source."
    }
    if not repeatable:
        following["broken"] = "It may have begun the work: check that before you call again."
    return unanswered(refused, named(url), repeatable=repeatable, following=following)


@contextmanager
def in_words(url: str) -> Iterator[None]:
    """What goes wrong in a conversation, as a ``SourceError``. An upstream's own errors stay ``RpcError``."""
    try:
        yield
    except OutboundRefused as refused:
        raise refused_fault(refused, url) from None
    except NotMcp as unlike:
        raise unlike_mcp(url, unlike) from None
    except SessionLost:
        raise unlike_mcp(url, "it does not know the session that it began") from None


def status_fault(status: int, url: str, challenge: str = "") -> SourceError:
    """The error for an answer with a status that is no success, and no message of MCP in it.

    ``challenge`` is its header ``WWW-Authenticate``.
    """
    host = host_of(url)
    if status in (401, 403):
        said = read_challenge(status, challenge)
        following = (
            "People sign in to it by a browser: set auth to oauth in the settings of the data source."
            if said.metadata
            else "Check the token or headers in the settings of the data source."
        )
        return Challenged(f"{named(url)} refuses how Marina signs in (status {status}). {following}", said)
    if 300 <= status < 400:
        return SourceError(
            f"{named(url)} leads to another address (status {status}), which is not followed. Give that "
            "address in the settings of the data source, if it is the right one.",
            code="source_redirect",
            data={"status": status},
        )
    if status in (404, 405):
        return SourceError(
            f"There is no MCP endpoint at the address on {host} (status {status}). Check its path: often it ends with "
            "/mcp, or with /sse where a server has only the former HTTP+SSE transport.",
            code="source_missing",
            data={"status": status},
        )
    if status == 429:
        return SourceError(
            f"{named(url)} is asked too often just now (status 429). Try again later.",
            code="source_busy",
            data={"status": status},
            retryable=True,
        )
    return SourceError(
        f"{named(url)} answered with status {status}. Ask whoever runs it.",
        code="source_failed",
        data={"status": status},
        retryable=status in (502, 503, 504),
    )


def unlike_mcp(url: str, why: object) -> SourceError:
    """The error for an answer that is no message of MCP, or not the one that was asked for."""
    hosted = url.startswith(f"{HOSTED}://")
    return SourceError(
        f"{named(url) if hosted else f'The server at {host_of(url)}'} was asked as an MCP server, but {why}. Check the "
        f"{'command' if hosted else 'address'} in the settings of the data source.",
        code="source_not_mcp",
    )


def late_fault(url: str, seconds: float) -> SourceError:
    """The error for a call that took too long, and was given up there too."""
    return SourceError(
        f"{named(url)} did not answer within {seconds:g} s, and was told that the call is cancelled.",
        code="source_timeout",
        data={"seconds": seconds},
        retryable=True,
    )
