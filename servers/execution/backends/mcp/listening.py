"""Listens to what an upstream MCP server says outside of calls: that its lists changed, or one of its resources that
somebody wants to hear of. It takes nothing over.

Of 2026-07-28 those are subscriptions (basic/patterns/subscriptions), of before the stream of a session that GET opens
(2025-11-25 basic/transports, "Listening for Messages from the Server"), or the one of HTTP+SSE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, Final

from core.errors import SourceError
from core.finishing import stop
from servers.execution.backends.mcp.faults import in_words
from servers.execution.backends.mcp.pools import Reach, Upstream
from servers.execution.backends.mcp.session import Conversation, within
from servers.execution.backends.mcp.settings import McpSettings
from servers.execution.backends.mcp.subscribing import Subscription, follow_resources, keep_subscribed
from servers.execution.backends.mcp.wire import LISTS, RpcError
from servers.execution.contract import Source
from servers.execution.listening import NOTHING, Ears

BEGIN_SECONDS: Final = 10.0
MAX_STREAM_BYTES: Final = 4_194_304
"""Of one stream: then it is begun anew."""


async def listen(source: Source, settings: McpSettings, ears: Ears, *, reach: Reach) -> bool:
    """Tell ``ears`` what the server says, until the stream ends. ``False``: the server tells of no changes.

    Commands would have to run for it all the time, and where each member signs in nobody's sign-in is there to be
    used: those are not listened to. Raises ``SourceError``.
    """
    if settings.command or settings.each_member:
        return False
    signer = reach.signers.of(source, settings, None)
    upstream = Upstream(settings, reach=reach, source=source, signer=signer, aside=True)
    try:
        with in_words(settings.url):
            return await upstream.signed(partial(_listen, upstream, ears))
    except RpcError as error:
        raise SourceError(
            f"The MCP server refused to tell of changes (JSON-RPC error {error.code}).", code="source_failed"
        ) from None
    finally:
        await upstream.close()


async def _listen(upstream: Upstream, ears: Ears) -> bool:
    while True:
        conversation = await within(BEGIN_SECONDS, upstream.settings.url, upstream.connect({}))
        lists = [what for what in LISTS if _tells(conversation, what, "listChanged")]
        resources = _tells(conversation, "resources", "subscribe")
        try:
            if lists or (resources and ears.wanted):
                return await _first(_heard_by(conversation, lists, resources, ears))
        finally:
            upstream.later(conversation.end())
        if not resources:
            return False
        # There is something to hear once somebody wants to.
        await ears.wanted_other_than(NOTHING)


def _heard_by(
    conversation: Conversation, lists: list[str], resources: bool, ears: Ears
) -> list[Coroutine[Any, Any, bool]]:
    """All by which it is heard. What ends, ends all."""
    if conversation.server.modern:
        parts = []
        if lists:
            subscription = Subscription(ears)
            wanted = {f"{what}ListChanged": True for what in lists}
            parts.append(subscription.hold(conversation, wanted, most_bytes=MAX_STREAM_BYTES))
        if resources:
            parts.append(follow_resources(conversation, ears, most_bytes=MAX_STREAM_BYTES))
        return parts
    opened = asyncio.Event()
    subscription = Subscription(ears)
    parts = [conversation.listen(subscription.take, opened.set, most_bytes=MAX_STREAM_BYTES)]
    if resources:
        parts.append(keep_subscribed(conversation, opened, ears))
    return parts


async def _first(parts: list[Coroutine[Any, Any, bool]]) -> bool:
    """What the first of them gives that ends. The others end with it."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return all(task.result() for task in done)
    finally:
        await stop(*tasks)


def _tells(conversation: Conversation, what: str, of: str) -> bool:
    capability = conversation.server.capabilities.get(what)
    return isinstance(capability, Mapping) and capability.get(of) is True
