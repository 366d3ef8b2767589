"""Beginning and keeping up a conversation: ``initialize``, ``ping``, ``logging/setLevel``, ``server/discover``."""

from __future__ import annotations

from typing import Any, Final

import orjson
from redis.exceptions import RedisError

from core.errors import Unavailable
from servers.endpoint.handlers.answers import info_of, invalid, text_of
from servers.endpoint.incoming import Incoming
from servers.endpoint.specification import HANDSHAKE_VERSIONS, LATEST_HANDSHAKE_VERSION
from servers.endpoint.view import PROMPTS, RESOURCES, TOOLS
from servers.execution.context import LEVELS
from tenants.access import Caller
from tenants.roles import Action

MAX_CAPABILITIES_BYTES: Final = 16 * 1024
"""Of what a client declares, which is kept as long as its session."""


async def initialize(incoming: Incoming) -> bytes:
    """Agree on a revision and begin a session."""
    params = incoming.params
    wanted = text_of(incoming, "protocolVersion")
    for member in ("capabilities", "clientInfo"):
        if not isinstance(params.get(member), dict):
            raise invalid(f"params.{member} must be an object.")
    if len(orjson.dumps(params["capabilities"])) > MAX_CAPABILITIES_BYTES:
        raise invalid(f"params.capabilities is larger than the {MAX_CAPABILITIES_BYTES} bytes that are kept.")
    # 2025-11-25 basic/lifecycle, "Version Negotiation": the version asked for, else our latest.
    version = wanted if wanted in HANDSHAKE_VERSIONS else LATEST_HANDSHAKE_VERSION
    session = incoming.session
    if session is None:
        session = await incoming.parts.sessions.begin(
            incoming.caller,
            incoming.surface.slug,
            version=version,
            client=info_of(params["clientInfo"]),
            capabilities=params["capabilities"],
            digests=incoming.view.digests(incoming.caller),
        )
        if session is not None and incoming.begin is not None:
            incoming.begin(session)
    else:
        # One connection carries both ways, and the session stands since it was opened.
        await _change(
            incoming,
            version=version,
            client=info_of(params["clientInfo"]),
            capabilities=params["capabilities"],
        )
    offer = incoming.view.initialize(offered_to(incoming.caller))
    return b'{"protocolVersion":"%s",%s' % (version.encode(), offer[1:])


async def ping(incoming: Incoming) -> bytes:
    """Say that somebody is here."""
    return b"{}"


async def discover(incoming: Incoming) -> bytes:
    """What a 2026-07-28 client is offered."""
    return incoming.view.discover(offered_to(incoming.caller))


async def set_level(incoming: Incoming) -> bytes:
    """From which severity on the client wants log messages (2025-11-25 server/utilities/logging)."""
    level = text_of(incoming, "level")
    if level not in LEVELS:
        raise invalid(f"params.level must be one of {', '.join(LEVELS)}.")
    await _change(incoming, log_level=level)
    return b"{}"


async def _change(incoming: Incoming, **changes: Any) -> None:
    """Change the session, if there is one. Raises ``Unavailable``, and then nothing has changed here."""
    if incoming.session is None:
        return
    try:
        await incoming.parts.sessions.change(incoming.session, **changes)
    except (RedisError, OSError):
        raise sessions_away() from None


def sessions_away() -> Unavailable:
    """What a client is told while sessions cannot be reached."""
    return Unavailable(
        "Sessions cannot be reached just now. Try again in a moment.",
        code="sessions_unavailable",
    )


def offered_to(caller: Caller) -> frozenset[str]:
    """Which of tools, resources and prompts a caller may use: what it may not is not declared to it."""
    offered = set()
    if caller.may(Action.TOOLS_READ) or caller.may(Action.TOOLS_CALL):
        offered.add(TOOLS)
    if caller.may(Action.RESOURCES_READ):
        offered.add(RESOURCES)
    if caller.may(Action.PROMPTS_READ):
        offered.add(PROMPTS)
    return frozenset(offered)
