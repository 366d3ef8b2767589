"""The log's writer, as the bench measures it, against the tests' PostgreSQL. No figure is judged."""

from __future__ import annotations

import pytest
from django.conf import settings

from core.threads import run_sync
from tenants.audit.chain import Head
from tenants.audit.verification import verify_log
from tests.bench.log_writer import make_teams, write_records
from tests.bench.writer_works import describe_writer, format_writer


@pytest.mark.anyio
async def test_what_is_counted_is_in_the_logs_and_these_verify(database: None) -> None:
    ids = await run_sync(make_teams, 3)
    told = await write_records(settings.ENV.writer_database_url, ids, waiting=8, seconds=0.3, warm=0.1)
    heads = [await run_sync(verify_log, tenant_id) for tenant_id in ids]
    assert all(isinstance(head, Head) for head in heads)
    assert sum(head.seq for head in heads if isinstance(head, Head)) > told.records > 0
    assert told.p99_ms >= told.p50_ms > 0


def test_a_row_has_the_medians_of_its_runs() -> None:
    runs = [
        {"records": records, "seconds": 5.0, "p50_ms": 2.0, "p99_ms": 6.0, "cpu_seconds": 2.0, "rss_mb": 80.0}
        for records in (100_000, 50_000, 120_000)
    ]
    row = describe_writer(50, runs)
    assert (row.work, row.connections, row.per_second, row.cpu_us) == ("writer-50", 64, 20_000.0, 20.0)
    assert "20,000 records/s" in format_writer([row])
