"""One request with everything that its handler may need, and what the endpoint keeps for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from servers.endpoint.channel import Channel
from servers.endpoint.guard import Guard
from servers.endpoint.questions import Questions
from servers.endpoint.sessions import Session, Sessions
from servers.endpoint.subscribers import Hub
from servers.endpoint.view import View, Views
from servers.services.runtime import Runtime
from servers.services.surfaces import Surface
from tenants.access import Caller


@dataclass(frozen=True, slots=True)
class Parts:
    """What the endpoint keeps while it serves. One object a process."""

    runtime: Runtime
    views: Views
    sessions: Sessions
    hub: Hub
    guard: Guard


@dataclass(slots=True)
class Incoming:
    """One request. ``channel`` is called when something must be said before the result, and only then."""

    method: str
    params: dict[str, Any]
    rpc_id: str | int
    version: str
    modern: bool
    seconds: float
    """How long a call may take."""
    caller: Caller
    surface: Surface
    view: View
    parts: Parts
    headers: dict[bytes, bytes]
    request_id: str
    channel: Callable[[], Channel]
    check_again: Callable[[], Awaitable[None]]
    """Raises ``MarinaError`` when the caller may not be served any more: for what stays open."""
    session: Session | None = None
    questions: Questions | None = None
    begin: Callable[[Session], None] | None = None
    """Takes the session that ``initialize`` began."""
    framed: bool = True
    """Whether the request came with headers of its own, which must repeat what it says."""

    @property
    def runtime(self) -> Runtime:
        """The process's runtime."""
        return self.parts.runtime

    @property
    def log_level(self) -> str:
        """The least severe log message that a legacy client wants."""
        return "info" if self.session is None else self.session.log_level

    async def announce_resource(self, uri: str) -> None:
        """Tell the subscribers of one of this tenant's resources that it changed."""
        await self.parts.hub.announce_resource(self.caller.tenant_id, uri)


Handler = Callable[[Incoming], Awaitable[bytes]]
"""Gives the JSON of a method's result. Raises ``RpcError`` and ``MarinaError``."""
