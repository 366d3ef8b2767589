"""What tests of the writer do with a log: an entry as short as any, appended by another process, read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from core.threads import run_sync
from tenants.audit.append import append_entry
from tenants.audit.chain import Head
from tenants.audit.records import Entry
from tenants.audit.verification import verify_log
from tenants.scoping import tenant_scope


def entry(request_id: str) -> Entry:
    """One that tells itself from others by ``request_id``."""
    return Entry("tools/call", "ok", "key:test", request_id=request_id)


def append(tenant_id: int, request_id: str) -> int:
    """The number of a record that was written beside the writer, which then knows an old head."""
    with tenant_scope(tenant_id):
        return append_entry(entry(request_id), tenant_id=tenant_id)


async def assert_whole(tenant_id: int) -> None:
    """The tenant's chain breaks nowhere."""
    assert isinstance(await run_sync(verify_log, tenant_id), Head)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds, for a minute."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what the writer shows, it shows as a property
            await asyncio.sleep(0.005)
