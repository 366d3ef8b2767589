"""Subscribes to resources of an upstream MCP server, to those that somebody wants to hear of at the time.

Whatever is subscribed to anew is told as updated once: what it became in the moment before was not heard.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from core.errors import SourceError
from core.finishing import stop
from servers.execution.backends.mcp.replies import Deaf
from servers.execution.backends.mcp.session import Conversation, within
from servers.execution.backends.mcp.wire import LISTS_CHANGED, RpcError
from servers.execution.listening import NOTHING, Ears

OPEN_SECONDS: Final = 2.0
"""How long is waited for a session's stream to begin. Some servers begin it with its first message."""
ANSWER_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 1.0
"""Between two changes of what is subscribed to."""
AGAIN_SECONDS: Final = 300.0
"""After so long a subscription that was refused is asked for again."""
MAX_ANSWER_BYTES: Final = 65_536
MAX_HONOURED: Final = 2_000
"""Resources that are read of what a server agrees to: more than are ever asked for."""
AT_ONCE: Final = 50
"""Subscribed to in a row, before it is looked what is wanted by then."""

_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_UPDATED: Final = "notifications/resources/updated"


class Subscription(Deaf):
    """Implements ``replies.Hear``: hears what changed, and nothing else. ``honoured``: the resources that a server of
    2026-07-28 agreed to tell of, once it did."""

    def __init__(self, ears: Ears) -> None:
        self._ears = ears
        self.honoured: asyncio.Future[frozenset[str]] = asyncio.get_running_loop().create_future()

    async def hold(
        self, conversation: Conversation, notifications: Mapping[str, Any], *, most_bytes: int
    ) -> bool:
        """Have a server of 2026-07-28 tell of these, until it ends that. Raises as ``Conversation.request`` does."""
        params = {"notifications": notifications}
        await conversation.request("subscriptions/listen", params, most_bytes=most_bytes, hear=self)
        return True

    async def told(self, method: str, params: Mapping[str, Any]) -> None:
        """See ``replies.Hear``."""
        self._heed(method, params)

    def take(self, message: Mapping[str, Any], size: int) -> None:
        """A message outside of requests."""
        params = message.get("params")
        self._heed(message.get("method"), params if isinstance(params, Mapping) else {})

    def _heed(self, method: Any, params: Mapping[str, Any]) -> None:
        if method in LISTS_CHANGED:
            self._ears.changed()
        elif method == _UPDATED:
            if isinstance(uri := params.get("uri"), str):
                self._ears.updated(uri)
        elif method == _ACKNOWLEDGED and not self.honoured.done():
            agreed = params.get("notifications")
            uris = agreed.get("resourceSubscriptions") if isinstance(agreed, Mapping) else None
            listed = islice(uris if isinstance(uris, list) else (), MAX_HONOURED)
            self.honoured.set_result(frozenset(uri for uri in listed if isinstance(uri, str)))


async def keep_subscribed(conversation: Conversation, opened: asyncio.Event, ears: Ears) -> bool:
    """Have the session of a server of before 2026-07-28 subscribe to what is wanted, for as long as that is heard.

    Raises as ``Conversation.request`` does, but for what the server refuses.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(OPEN_SECONDS):
            await opened.wait()
    subscribed: set[str] = set()
    refused = NOTHING
    while True:
        wanted = ears.wanted
        for uri in subscribed - wanted:
            await _ask(conversation, "resources/unsubscribe", uri)
        subscribed &= wanted
        refused &= wanted
        for uri in sorted(wanted - subscribed - refused)[:AT_ONCE]:
            if await _ask(conversation, "resources/subscribe", uri):
                subscribed.add(uri)
                ears.updated(uri)
            else:
                refused |= {uri}
        if wanted - subscribed - refused:
            continue
        await asyncio.sleep(SETTLE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_SECONDS if refused else None):
                await ears.wanted_other_than(wanted)
                continue
        refused = NOTHING


async def follow_resources(conversation: Conversation, ears: Ears, *, most_bytes: int) -> bool:
    """Have a server of 2026-07-28 tell of what is wanted, until it ends that.

    Each change of it is another subscription, which begins before the former one ends. Raises as
    ``Conversation.request`` does, but for what the server refuses.
    """
    loop = asyncio.get_running_loop()
    held: asyncio.Task[bool] | None = None
    before: asyncio.Task[bool] | None = None
    honoured = NOTHING
    try:
        while True:
            wanted = ears.wanted
            before, held, told = held, None, NOTHING
            if wanted:
                subscription = Subscription(ears)
                listed = {"resourceSubscriptions": sorted(wanted)}
                held = loop.create_task(subscription.hold(conversation, listed, most_bytes=most_bytes))
                told = await _agreed(held, subscription)
            if wanted and not told and before is not None and not before.done():
                # Better to hear of some than of none.
                await stop(held)
                held, before, told = before, None, honoured
            await stop(before)
            for uri in sorted(told - honoured):
                ears.updated(uri)
            honoured = told
            if not told:
                await stop(held)
                held = None
            await asyncio.sleep(SETTLE_SECONDS)
            again = AGAIN_SECONDS if wanted - told else None
            if await _ends_before(held, ears, wanted, again):
                return True
    finally:
        await stop(before)
        await stop(held)


async def _ask(conversation: Conversation, method: str, uri: str) -> bool:
    """Whether the server did what it was asked."""
    request = conversation.request(method, {"uri": uri}, most_bytes=MAX_ANSWER_BYTES)
    try:
        await within(ANSWER_SECONDS, conversation.way.url, request)
    except RpcError:
        return False
    except SourceError as fault:
        if not fault.retryable:
            raise
        # What one resource takes long for, or fails at, is no reason to hear of none.
        return False
    return True


async def _agreed(held: asyncio.Task[bool], subscription: Subscription) -> frozenset[str]:
    """The resources that a subscription which was begun tells of: none where the server refuses it, or says nothing."""
    either: list[asyncio.Future[Any]] = [held, subscription.honoured]
    await asyncio.wait(either, timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if held.done():
        try:
            held.result()
        except RpcError:
            return NOTHING
    return subscription.honoured.result() if subscription.honoured.done() else NOTHING


async def _ends_before(
    held: asyncio.Task[bool] | None, ears: Ears, wanted: frozenset[str], again: float | None
) -> bool:
    """Whether the subscription ended before others were wanted, or it is time to ask again."""
    change = asyncio.get_running_loop().create_task(ears.wanted_other_than(wanted))
    try:
        both = [change] if held is None else [change, held]
        await asyncio.wait(both, timeout=again, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop(change)
    return held is not None and held.done() and held.result()
