"""Makes exports of a team with many records, each in a process that has loaded what a worker has. Run by the bench.

``python -m tests.bench.exports fill RECORDS`` makes the team; ``… start TEAM FORMAT`` accepts an export; ``… make TEAM
EXPORT`` makes it, unless it is killed. The last line of output is JSON.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import sys
from datetime import UTC, datetime, timedelta
from time import perf_counter
from uuid import UUID

import django

django.setup()

from django.utils import timezone

from config.celery import app
from tenants.access import Caller
from tenants.exports.making import make_export
from tenants.models import AuditExport, Tenant
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.exports import start_export
from tests.tenants.exports.filling import fill_log

END = datetime(2026, 6, 1, tzinfo=UTC)
"""After the records that are there, and before those of the exports themselves."""


def fill(records: int) -> dict[str, object]:
    """A new team whose log has so many records."""
    slug = f"bench-log-{secrets.token_hex(4)}"
    tenant = Tenant.objects.create(slug=slug, name="Bench log")
    fill_log(tenant.pk, records)
    return {"team": tenant.pk}


def start(tenant_id: int, form: str) -> dict[str, object]:
    """Accept an export of all of them."""
    slug = Tenant.objects.values_list("slug", flat=True).get(pk=tenant_id)
    caller = Caller(tenant_id, slug, actor="user:bench", role=Role.ADMIN)
    return {"export": str(start_export(form, None, END, caller=caller).id)}


def make(tenant_id: int, export_id: UUID) -> dict[str, object]:
    """Make it, or go on with it: whoever had it before is dead."""
    app.loader.import_default_modules()
    with tenant_scope(tenant_id):
        rows = AuditExport.objects.filter(id=export_id)
        rows.filter(status="running").update(lease_until=timezone.now() - timedelta(seconds=1))
    spent = sum(os.times()[:2])
    begun = perf_counter()
    made = make_export(tenant_id, export_id)
    seconds = perf_counter() - begun
    with tenant_scope(tenant_id):
        row = AuditExport.objects.get(id=export_id)
    return {
        "made": made,
        "seconds": seconds,
        "records": row.records,
        "size": row.size,
        "sha256": row.sha256,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "cpu_seconds": sum(
            used.ru_utime + used.ru_stime
            for used in (
                resource.getrusage(resource.RUSAGE_SELF),
                resource.getrusage(resource.RUSAGE_CHILDREN),
            )
        )
        - spent,
        "child_rss_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6,
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", records]:
            told = fill(int(records))
        case ["start", team, form]:
            told = start(int(team), form)
        case ["make", team, export]:
            told = make(int(team), UUID(export))
        case _:
            sys.exit(__doc__)
    print(json.dumps(told))
