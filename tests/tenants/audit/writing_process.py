"""A process that writes to the log without end, and prints each record that it was promised. Killed by its test.

Arguments: the writer's DSN, how many writes to keep waiting, and the tenants' ids.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from core.errors import Unavailable
from tenants.audit.records import Entry
from tenants.audit.writer import AuditWriter


async def write_without_end(dsn: str, waiting: int, tenant_ids: list[int]) -> None:
    writer = AuditWriter(dsn)
    await writer.start()
    numbers = itertools.count()

    async def one_caller() -> None:
        while True:
            number = next(numbers)
            tenant_id = tenant_ids[number % len(tenant_ids)]
            request_id = f"{os.getpid()}-{number}"
            try:
                seq = await writer.write(tenant_id, Entry("tools/call", "ok", "load", request_id=request_id))
            except Unavailable:
                await asyncio.sleep(0.01)
                continue
            os.write(1, f"{tenant_id} {seq} {request_id}\n".encode())

    await asyncio.gather(*(one_caller() for _ in range(waiting)))


if __name__ == "__main__":
    asyncio.run(write_without_end(sys.argv[1], int(sys.argv[2]), [int(given) for given in sys.argv[3:]]))
