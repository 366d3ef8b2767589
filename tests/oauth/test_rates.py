"""How often one address may ask an issuer, whatever it asks for, and who is not counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from core.loop import run_async
from frontend.oauth.tokens import introspection_secret
from servers.services.limits import Limiter, Pace
from servers.services.runtime import TOKEN_PACE, get_runtime
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.oauth.asking import form
from tests.oauth.flows import make_app


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three requests may be made at once."""
    limiter = Limiter(settings.ENV.redis_url, Pace(3, 600, burst=3))
    monkeypatch.setattr(get_runtime(), "token_limiter", limiter)
    yield
    run_async(limiter.close())


def ask(team: Team, endpoint: str, address: str = "198.51.100.7") -> Any:
    return form(team, endpoint, {"token": "nonsense", "grant_type": "refresh_token"}, address=address)


@pytest.mark.parametrize("endpoint", ["token", "revoke", "introspect"])
def test_address_that_asks_again_and_again_is_told_to_wait(team: Team, three: None, endpoint: str) -> None:
    first = [ask(team, endpoint).status_code for _ in range(3)]
    assert 429 not in first
    refused = ask(team, endpoint)
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 200
    assert refused.json()["error"] == "temporarily_unavailable"
    assert ask(team, endpoint, "203.0.113.9").status_code == first[0]
    assert ask(make_team(), endpoint).status_code == first[0]
    with tenant_scope(team.tenant_id):
        record = AuditRecord.objects.filter(actor="anonymous (198.51.100.7)").latest("seq")
    assert (record.kind, record.outcome) == ("oauth", "refused")


def test_endpoints_and_neighbours_of_one_network_count_together(team: Team, three: None) -> None:
    answers = [
        ask(team, endpoint, f"2001:db8::{n}").status_code
        for n, endpoint in enumerate(("token", "revoke", "introspect", "token"), 1)
    ]
    assert answers[:3] == [400, 400, 401] or 429 not in answers[:3]
    assert answers[3] == 429


def test_our_own_resource_server_is_not_counted(team: Team, three: None) -> None:
    token = make_app(team).tokens()["access_token"]
    secret = f"Bearer {introspection_secret(team.slug)}"
    for _ in range(6):
        answer = form(team, "introspect", {"token": token}, Authorization=secret)
        assert answer.json()["active"] is True


def test_many_clients_behind_one_address_have_room() -> None:
    assert (TOKEN_PACE.requests, TOKEN_PACE.burst) == (600, 100)
