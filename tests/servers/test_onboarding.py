"""Founding teams of one's own: how many, however many are asked for at once."""

from __future__ import annotations

import dataclasses
import secrets

import pytest
from django.conf import settings

from core.errors import Conflict
from servers.services import onboarding
from servers.services.onboarding import found_own_tenant
from tenants.access import tenants_of_user
from tests.factories import make_user
from tests.together import do_at_once


@pytest.mark.usefixtures("database")
def test_nobody_founds_more_teams_at_once_than_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, signup="open"))
    monkeypatch.setattr(onboarding, "MAX_OWNED", 2)
    user = make_user()

    def found() -> str:
        try:
            found_own_tenant(f"own-{secrets.token_hex(6)}", "Own", user.pk)
        except Conflict as refusal:
            return refusal.code
        return ""

    assert sorted(do_at_once([found] * 6)) == ["", ""] + ["too_many_teams"] * 4
    assert len(tenants_of_user(user.pk)) == 2
