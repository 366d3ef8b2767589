"""``resources/list``, ``resources/templates/list``, ``resources/read``, and a legacy session's subscriptions."""

from __future__ import annotations

from typing import Any, Final

from redis.exceptions import RedisError

from core.errors import Forbidden, NotFound, SourceError
from servers.endpoint.context import CallContext
from servers.endpoint.handlers.answers import (
    client_in,
    complete,
    cursor_of,
    invalid,
    lacks_capability,
    record_refusal,
    text_of,
    unknown,
)
from servers.endpoint.handlers.lifecycle import sessions_away
from servers.endpoint.incoming import Incoming
from servers.endpoint.lists import CACHE_SCOPE, Listing, shape_of
from servers.endpoint.sessions import subscriptions_key
from servers.endpoint.specification import INVALID_PARAMS
from servers.endpoint.subscribers import MAX_URIS
from servers.endpoint.wire import RpcError
from servers.execution.contract import InputRequired
from servers.services.calls import read_resource
from servers.services.decisions import require_list
from tenants.roles import Action

RESOURCE_NOT_FOUND: Final = -32002
"""To 2025-11-25; from 2026-07-28 on it is ``INVALID_PARAMS`` (SEP-2164)."""

CONTENT_TTL_MS: Final = 0
"""What a resource holds may change at any time; those who want to know subscribe."""


async def list_resources(incoming: Incoming) -> bytes:
    """A page of the resources."""
    return await _page(incoming, incoming.view.resources)


async def list_templates(incoming: Incoming) -> bytes:
    """A page of the resource templates."""
    return await _page(incoming, incoming.view.templates)


async def read(incoming: Incoming) -> bytes:
    """Read a resource."""
    uri = text_of(incoming, "uri")
    context = CallContext(incoming, uri)
    try:
        outcome = await read_resource(
            caller=incoming.caller,
            surface=incoming.surface,
            uri=uri,
            client=client_in(incoming),
            request_id=incoming.request_id,
            timeout=incoming.seconds,
            context=context,
        )
    except InputRequired as required:
        return context.input_required(required, uri, None)
    except NotFound as error:
        raise _unknown(incoming, uri, error) from None
    except SourceError as error:
        if error.code == "client_cannot" and incoming.modern:
            raise lacks_capability(error) from None
        raise
    members: dict[str, Any] = {"contents": list(outcome.content or ())}
    if not incoming.modern:
        return complete(incoming, members, outcome.meta)
    members |= {"ttlMs": CONTENT_TTL_MS, "cacheScope": CACHE_SCOPE}
    return complete(incoming, members, outcome.meta)


async def subscribe(incoming: Incoming) -> bytes:
    """Be told of a resource's changes, on the session's stream."""
    uri, session = await _subscribable(incoming), incoming.session
    if session is None:
        raise _needs_session()
    if session.uris is not None:
        if len(session.uris) >= MAX_URIS:
            raise _too_many()
        session.uris.add(uri)
        incoming.parts.hub.wanting.changed()
        return b"{}"
    try:
        has_room = await incoming.parts.sessions.subscribe(session, uri, most=MAX_URIS)
    except (RedisError, OSError):
        raise sessions_away() from None
    if not has_room:
        raise _too_many()
    await incoming.parts.hub.wanting.keep(session, [uri], incoming.surface)
    return b"{}"


async def unsubscribe(incoming: Incoming) -> bytes:
    """Be told no more."""
    uri, session = text_of(incoming, "uri"), incoming.session
    if session is None:
        raise _needs_session()
    if session.uris is not None:
        session.uris.discard(uri)
        incoming.parts.hub.wanting.changed()
        return b"{}"
    try:
        async with incoming.runtime.bus.redis.pipeline(transaction=False) as pipe:
            pipe.srem(subscriptions_key(session.id), uri)
            pipe.publish(session.channel, b"unsubscribed " + uri.encode())
            await pipe.execute()
    except (RedisError, OSError):
        raise sessions_away() from None
    await incoming.parts.hub.wanting.forget(session, uri, incoming.surface)
    return b"{}"


async def _page(incoming: Incoming, listing: Listing) -> bytes:
    cursor = cursor_of(incoming)
    await may_read(incoming)
    return listing.page(shape_of(incoming.version), cursor, None)


async def may_read(incoming: Incoming) -> None:
    """Raise ``Forbidden``, recorded, unless the caller may read resources here."""
    try:
        require_list(incoming.caller, incoming.surface, Action.RESOURCES_READ)
    except Forbidden as refusal:
        await record_refusal(incoming, refusal)
        raise


async def _subscribable(incoming: Incoming) -> str:
    uri = text_of(incoming, "uri")
    await may_read(incoming)
    if incoming.surface.find_resource(uri) is None:
        raise RpcError(
            RESOURCE_NOT_FOUND,
            "There is no such resource on this server. List the resources to see what there is.",
            data={"code": "resource_unknown", "uri": uri},
        )
    return uri


def _unknown(incoming: Incoming, uri: str, error: NotFound) -> RpcError:
    return unknown(error, INVALID_PARAMS if incoming.modern else RESOURCE_NOT_FOUND, uri=uri)


def _too_many() -> RpcError:
    return invalid(f"A session subscribes to {MAX_URIS} resources at most. Unsubscribe from some.")


def _needs_session() -> RpcError:
    return invalid(
        "Subscriptions belong to a session, and this request names none. Send initialize first, then the "
        "Mcp-Session-Id that it answered with."
    )
