"""The WebSocket of a tenant's open pages: sends hints that calls arrived, and receives nothing.

Hints carry no data, so a page still has to ask for what changed, and is authorised again when it does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime
from typing import Any, Final

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.contrib.sessions.backends.base import SessionBase
from django.utils import timezone
from redis.exceptions import RedisError

from core.errors import NotFound
from core.threads import run_sync
from servers.services.live import SEEN_SECONDS, WATCHING
from servers.services.runtime import get_runtime
from tenants.access import Caller, SecondFactorNeeded, caller_for_user
from tenants.arrivals import BY_PASSWORD, SignInNeeded
from tenants.models import User
from tenants.services.signins import SESSION_KEY, arrival_of

logger = logging.getLogger(__name__)

NOT_ALLOWED: Final = 4404
"""Close code for no session and for a tenant that is not the person's: one answer for both."""

MEMBERSHIP_SECONDS: Final = 5.0
"""How long a membership and a sign-in that were checked are trusted while the socket stays open."""

LONGEST_SLEEP_SECONDS: Final = 3600.0
"""So often an end that is far off is looked at again."""

SEND_SECONDS: Final = 2.0


def group_of(tenant_id: int) -> str:
    """The channel group of a tenant's open pages."""
    return f"tenant.{tenant_id}"


async def send_calls_hint(tenant_id: int) -> None:
    """Hint to a tenant's pages, in every process. A transport that is down costs the hint, nothing else."""
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await get_channel_layer().group_send(group_of(tenant_id), {"type": "calls.arrived"})
    except (RedisError, OSError):  # TimeoutError is an OSError
        logger.info("live hint not sent", extra={"tenant_id": tenant_id})


class LiveConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """One open page of a signed-in member."""

    tenant_id: int | None = None
    checked_at: float = 0.0
    ends_at: datetime | None = None
    """When the membership ends, as far as is known: the socket does not outlast it."""
    presence: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        tenant_id = await self._membership()
        if tenant_id is None:
            await self.close(code=NOT_ALLOWED)
            return
        self.tenant_id = tenant_id
        await self.channel_layer.group_add(group_of(tenant_id), self.channel_name)
        await self.accept()
        self.presence = asyncio.create_task(_be_seen(tenant_id))
        if self.ends_at is not None:
            self.ending = asyncio.create_task(self._end())

    async def disconnect(self, code: int) -> None:
        for task in (self.presence, self.ending):
            if task is not None:
                task.cancel()
        if self.tenant_id is not None:
            await self.channel_layer.group_discard(group_of(self.tenant_id), self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Pages have nothing to say here; what they send is dropped unread."""

    async def calls_arrived(self, event: dict[str, Any]) -> None:
        """Pass the hint on, unless the person has left the tenant meanwhile."""
        if (
            time.monotonic() - self.checked_at > MEMBERSHIP_SECONDS
            and await self._membership() != self.tenant_id
        ):
            await self.close(code=NOT_ALLOWED)
            return
        await self.send_json({"type": "calls"})

    async def _end(self) -> None:
        """Close the socket when the membership ends, which may have been moved meanwhile."""
        while self.ends_at is not None:
            left = (self.ends_at - timezone.now()).total_seconds()
            await asyncio.sleep(min(max(left, 0.0) + 0.01, LONGEST_SLEEP_SECONDS))
            if await self._membership() != self.tenant_id:
                await self.close(code=NOT_ALLOWED)
                return

    async def _membership(self) -> int | None:
        user = self.scope.get("user")
        if user is None or not user.is_authenticated:
            return None
        slug = self.scope["url_route"]["kwargs"]["tenant"]
        try:
            caller = await run_sync(_caller, self.scope["session"], user, slug)
        except (NotFound, SecondFactorNeeded, SignInNeeded):
            return None
        self.checked_at = time.monotonic()
        if caller is None:
            return None
        self.ends_at = caller.access_ends_at
        return caller.tenant_id


def _caller(session: SessionBase, user: User, slug: str) -> Caller | None:
    """The person as a member of the tenant; ``None`` where they were signed out of this browser meanwhile."""
    sign_in = session.get(SESSION_KEY)
    # A session without a row was begun by a password a moment ago: single sign-on makes the row itself.
    arrival = BY_PASSWORD if sign_in is None else arrival_of(sign_in, user.pk)
    if arrival is None:
        return None
    return caller_for_user(user.pk, user.email, slug, arrival=arrival)


async def _be_seen(tenant_id: int) -> None:
    """Say again and again, to every process, that a page of this tenant is open: else nobody sends it hints."""
    while True:
        try:
            await get_runtime().bus.publish(WATCHING, str(tenant_id))
        except (RedisError, OSError):
            logger.info("an open page was not announced", extra={"tenant_id": tenant_id})
        await asyncio.sleep(SEEN_SECONDS)
