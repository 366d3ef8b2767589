"""A tenant whose log is empty, and a writer of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from django.conf import settings

from tenants.audit import writer as writing
from tenants.audit.writer import AuditWriter
from tests.tenants.audit.places import Place, make_place
from tests.tenants.audit.writers import until


@pytest.fixture
def team() -> Place:
    return make_place()


@pytest.fixture
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not the point when waiters are refused, a machine that stalls has none refused."""
    if "ticks" not in request.fixturenames:
        monkeypatch.setattr(writing, "REFUSE_SECONDS", 60.0)


@pytest.fixture
async def writer() -> AsyncIterator[AuditWriter]:
    writer = AuditWriter(settings.ENV.writer_database_url)
    await writer.start()
    await until(lambda: writer.accepting)
    yield writer
    await writer.close()
