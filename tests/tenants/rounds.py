"""Rounds over all teams, of which there are thousands by the end of a run of all tests: each takes its time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tenants import tasks
from tenants.models import Tenant


def begin_with(tenant_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have rounds pass by the teams that were there before this one, and visit all others, as ever."""
    since = Tenant.objects.filter(id__gte=tenant_id)
    monkeypatch.setattr(tasks, "Tenant", SimpleNamespace(objects=since))
