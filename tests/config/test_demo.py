"""The demo that `make run` loads: what it leaves, and what its keys open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management import call_command

from servers.services.resources import list_resources
from tenants.access import caller_for_key, caller_of_member
from tenants.models import User
from tenants.roles import SCOPES

pytestmark = pytest.mark.timeout(120)


def test_the_demos_keys_open_all_that_it_has_and_a_second_load_keeps_them(
    tmp_path: Path, database: None
) -> None:
    out = tmp_path / "demo-tenant.json"
    call_command("load_demo", "--json-out", str(out))
    left = json.loads(out.read_text())
    clients = {"tools:read", "tools:execute", "resources:read", "prompts:read"}
    for key, slug, scopes in (
        (left["api_key"], "demo", clients),
        (left["second"]["api_key"], "second", clients),
        (left["admin_key"], "demo", set(SCOPES)),
    ):
        assert set(caller_for_key(key, tenant_slug=slug).scopes) == scopes
    email = left["users"]["viewer"]["email"]
    viewer = caller_of_member(User.objects.get(email=email).pk, email, "demo")
    assert "db://schemas" in {row.uri for row in list_resources(caller=viewer)}
    call_command("load_demo", "--json-out", str(out))
    assert json.loads(out.read_text()) == left
