"""Streams for tests: a team's log to write into, a stream of it, and turns of the pump."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from core.loop import run_async
from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.records import Entry
from tenants.models import LogStream, StreamDelivery
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.streams import MadeStream, create_stream, list_deliveries
from tenants.streams.pump import take_turn
from tests.tenants.audit.places import make_place


def make_owner() -> Caller:
    """An owner of a new team whose log is empty."""
    place = make_place()
    return Caller(place.tenant_id, place.slug, actor="user:owner@example.com", role=Role.OWNER)


def write(caller: Caller, count: int, tool: str = "query", **values: Any) -> None:
    """Append records to the team's log."""
    with tenant_scope(caller.tenant_id):
        for number in range(count):
            given = {"arguments": {"n": number, "ü": '"\n'}, **values}
            append_entry(Entry("tools/call", "ok", "key:a", tool=tool, **given), tenant_id=caller.tenant_id)


def stream_to(caller: Caller, url: str, *, kind: str = "webhook", begin: int = 1, **given: Any) -> MadeStream:
    """A stream that begins with a record; the record of its making is one of those it gets."""
    return create_stream(kind, {"name": "siem", "url": url, **given}, begin=begin, caller=caller)


def turn(caller: Caller, stream_id: UUID, *, seconds: float = 15) -> LogStream:
    """Have one worker take the stream's turn, and give its row after that."""

    async def taken() -> None:
        await take_turn(caller.tenant_id, stream_id, asyncio.get_running_loop().time() + seconds)

    run_async(taken(), timeout=60)
    return row_of(caller, stream_id)


def row_of(caller: Caller, stream_id: UUID) -> LogStream:
    with tenant_scope(caller.tenant_id):
        return LogStream.objects.get(pk=stream_id)


def ripen(caller: Caller, stream_id: UUID) -> None:
    """Let the pause until the next try, and whatever lease there is, be over."""
    with tenant_scope(caller.tenant_id):
        LogStream.objects.filter(pk=stream_id).update(
            next_try_at=None, lease_until=timezone.now() - timedelta(seconds=1)
        )


def deliveries_of(caller: Caller, stream_id: UUID) -> list[StreamDelivery]:
    """Oldest first."""
    return list_deliveries(stream_id, limit=500, caller=caller).deliveries[::-1]
