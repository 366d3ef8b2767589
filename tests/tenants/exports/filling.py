"""Fills a team's log with many records at once: their chain is right, and they come by COPY, as no caller could."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.conf import settings

from tenants.audit.chain import GENESIS, link
from tenants.audit.records import Entry, encode, to_datetime, to_microseconds

START = to_microseconds(datetime(2026, 3, 1, 12, tzinfo=UTC))
SECOND = 1_000_000
_COLUMNS = (
    "tenant_id, seq, at, kind, outcome, actor, server, tool, request_id, duration_us, intent_seq, body, hash"
)


def fill_log(tenant_id: int, count: int) -> None:
    """Write ``count`` calls into an empty log, one a second from 2026-03-01 12:00 UTC on.

    Each is of about 500 bytes; every tenth is of the tool ``rare``, all others of ``query``.
    """
    head = GENESIS
    with psycopg.connect(settings.ENV.database_url) as connection:
        with connection.cursor().copy(f"COPY tenants_auditrecord ({_COLUMNS}) FROM STDIN") as copy:
            for row in _rows(tenant_id, count):
                copy.write_row(row)
                head = row[-1]
        connection.execute(
            "INSERT INTO tenants_audithead (tenant_id, seq, hash) VALUES (%s, %s, %s)",
            [tenant_id, count, head],
        )


def _rows(tenant_id: int, count: int) -> Iterator[tuple[Any, ...]]:
    prev = GENESIS
    for seq in range(1, count + 1):
        entry = _entry(seq)
        body = encode(entry)
        prev = link(prev, tenant_id, seq, entry.at, body)
        yield (
            tenant_id,
            seq,
            to_datetime(entry.at),
            entry.kind,
            entry.outcome,
            entry.actor,
            entry.server,
            entry.tool,
            entry.request_id,
            entry.duration_us,
            entry.intent,
            body,
            prev,
        )


def _entry(seq: int) -> Entry:
    return Entry(
        "tools/call",
        "ok",
        "key:Nightly job (mcp_live_1234567890)",
        client="analytics/2.1",
        server="default",
        tool="rare" if seq % 10 == 0 else "query",
        tool_version=3,
        arguments={"country": "NO", "q": "=SUM(A1)", "number": seq, "ü": '"\n', "note": "x" * 120},
        rows=seq % 50,
        size=seq % 5_000,
        duration_us=1_200 + seq % 900,
        request_id=f"req-{seq:010d}",
        at=START + (seq - 1) * SECOND,
    )
