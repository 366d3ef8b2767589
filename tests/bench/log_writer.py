"""Writes to the log for some seconds, so many records waiting at once. Run by the bench in Marina's environment.

``python -m tests.bench.log_writer TEAMS WAITING SECONDS``. Nothing runs in this process but the product's writer and
those who wait for it, each of whom hands in its next record once its last is durable. The last line of output is JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import secrets
import sys
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import quantiles
from time import perf_counter
from typing import Final
from uuid import UUID

import django

django.setup()

import uvloop
from django.conf import settings

from tenants.audit.records import KIND_CALL, Entry
from tenants.audit.writer import AuditWriter
from tenants.models import Tenant

WARM_SECONDS: Final = 1.0
_TEXT: Final = "The quick brown fox jumps over the lazy dog."


@dataclass(frozen=True, slots=True)
class Written:
    """What one run wrote: ``records`` in ``seconds``, how long one waited, and this process's time and memory."""

    records: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    rss_mb: float


def make_teams(count: int) -> list[int]:
    """New teams without records."""
    made = (Tenant(slug=f"bench-log-{secrets.token_hex(6)}", name="Bench log") for _ in range(count))
    return [tenant.pk for tenant in Tenant.objects.bulk_create(made)]


async def write_records(
    dsn: str, tenant_ids: Sequence[int], *, waiting: int, seconds: float, warm: float = WARM_SECONDS
) -> Written:
    """Keep so many records waiting, of the teams in turns. What is written in the ``warm`` seconds is not counted."""
    writer = AuditWriter(dsn)
    await writer.start()
    numbers = itertools.count()
    taken = array("d")
    over = False

    async def one_caller() -> None:
        while not over:
            number = next(numbers)
            begun = perf_counter()
            await writer.write(tenant_ids[number % len(tenant_ids)], _entry(number))
            taken.append(perf_counter() - begun)

    callers = [asyncio.create_task(one_caller()) for _ in range(waiting)]
    await asyncio.sleep(warm)
    del taken[:]
    spent, begun = _cpu_seconds(), perf_counter()
    await asyncio.sleep(seconds)
    records, lasted, spent = len(taken), perf_counter() - begun, _cpu_seconds() - spent
    over = True
    await asyncio.gather(*callers)
    await writer.close()
    cuts = quantiles(taken, n=100)
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return Written(records, lasted, cuts[49] * 1_000, cuts[98] * 1_000, spent, rss_mb)


def _entry(number: int) -> Entry:
    """The record of an echo, with all that a team's log has unless it chose otherwise."""
    return Entry(
        KIND_CALL,
        "ok",
        "key:bench",
        credential_id=_CREDENTIAL,
        client="marina-bench 1",
        server="default",
        tool="echo",
        tool_version=1,
        arguments={"text": _TEXT},
        size=len(_TEXT) + 11,
        duration_us=400,
        request_id=f"{number:032x}",
        hmac="0" * 64,
        preview=_TEXT,
    )


_CREDENTIAL: Final = UUID(int=7)


def _cpu_seconds() -> float:
    return sum(os.times()[:2])


if __name__ == "__main__":
    teams, at_once, lasting = sys.argv[1:]
    ids = make_teams(int(teams))
    told = uvloop.run(
        write_records(settings.ENV.writer_database_url, ids, waiting=int(at_once), seconds=float(lasting))
    )
    print(json.dumps(asdict(told)))
