"""``subscriptions/listen`` (2026-07-28): a request whose answer is a stream of changes, until somebody ends it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import orjson

from core.errors import MarinaError
from servers.endpoint.handlers.answers import invalid
from servers.endpoint.incoming import Incoming
from servers.endpoint.subscribers import MAX_URIS, Subscriber, change_bytes
from servers.endpoint.tenure import Tenure
from servers.endpoint.view import PROMPTS, RESOURCES, TOOLS
from servers.endpoint.wire import RpcError
from tenants.roles import Action

SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"

_LISTS: Final = {
    "toolsListChanged": (TOOLS, Action.TOOLS_READ),
    "promptsListChanged": (PROMPTS, Action.PROMPTS_READ),
    "resourcesListChanged": (RESOURCES, Action.RESOURCES_READ),
}


async def listen(incoming: Incoming) -> bytes:
    """Tell the client of the changes that it asked for. Returns when this process is going."""
    channel = incoming.channel()
    if not channel.carries:
        raise RpcError(
            406,
            "The answer is a stream of events, which the Accept header leaves out. Send the header "
            "Accept: application/json, text/event-stream.",
            data={"code": "accept_leaves_out_events"},
            status=406,
        )
    lists, uris, honoured = _filter(incoming)
    hub = incoming.parts.hub
    caller = incoming.caller
    hub.admit(caller, listening=True)
    subscriber = Subscriber(caller, incoming.surface.slug, lists=lists, uris=uris)
    try:
        meta = orjson.dumps({SUBSCRIPTION_ID: incoming.rpc_id})
        await channel.send(
            orjson.dumps(
                {
                    "jsonrpc": "2.0",
                    "method": "notifications/subscriptions/acknowledged",
                    "params": {"_meta": orjson.Fragment(meta), "notifications": honoured},
                }
            )
        )
        hub.join(subscriber, incoming.surface)
        tenure = Tenure(incoming.check_again)
        while not subscriber.ended:
            for kind, uri in subscriber.take():
                await channel.send(change_bytes(kind, uri, meta))
            if not tenure.seconds_left:
                try:
                    await tenure.check()
                except MarinaError:
                    subscriber.end()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(tenure.seconds_left):
                    await subscriber.woken.wait()
    finally:
        hub.leave(subscriber)
        hub.dismiss(caller, listening=True)
    return orjson.dumps(
        {
            "resultType": "complete",
            "_meta": orjson.Fragment(incoming.view.identity[:-1] + b"," + meta[1:]),
        }
    )


def _filter(incoming: Incoming) -> tuple[list[str], list[str], dict[str, Any]]:
    """What is listened to: lists, resources, and how that is said to the client."""
    wanted = incoming.params.get("notifications")
    if not isinstance(wanted, dict):
        raise invalid("params.notifications must be an object that names what to listen to.")
    lists: list[str] = []
    honoured: dict[str, Any] = {}
    for member, (name, action) in _LISTS.items():
        asked = wanted.get(member, False)
        if not isinstance(asked, bool):
            raise invalid(f"params.notifications.{member} must be true or false.")
        if asked and incoming.caller.may(action):
            lists.append(name)
            honoured[member] = True
    uris = wanted.get("resourceSubscriptions")
    if uris is None:
        return lists, [], honoured
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris) or len(uris) > MAX_URIS:
        raise invalid(f"params.notifications.resourceSubscriptions must be at most {MAX_URIS} URIs.")
    known = []
    if incoming.caller.may(Action.RESOURCES_READ):
        known = [uri for uri in dict.fromkeys(uris) if incoming.surface.find_resource(uri) is not None]
    honoured["resourceSubscriptions"] = known
    return lists, known, honoured
