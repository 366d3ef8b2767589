"""What tests of secrets do again and again: name one, connect an API with it, and see whom the API takes Marina for."""

from __future__ import annotations

from typing import Any

from core.sealing import sealer
from servers.models import Secret
from servers.services.sealed import open_secret
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.farside import FarSide
from tests.rest import Answer, Rest

VALUE = "sk-value-of-the-first-secret"
OTHER = "sk-value-of-the-second-secret"


def secrets_url(team: Team, *parts: str) -> str:
    return "/".join((f"/tenants/{team.slug}/secrets", *parts))


def make(team: Team, rest: Rest, name: str = "stripe-key", **given: Any) -> Answer:
    return rest.post(secrets_url(team), {"name": name, **(given or {"value": VALUE})})


def made(team: Team, rest: Rest, name: str = "stripe-key", **given: Any) -> dict[str, Any]:
    answer = make(team, rest, name, **given)
    assert answer.status == 201, answer.body
    body: dict[str, Any] = answer.body
    return body


def connect(team: Team, rest: Rest, api: FarSide, token: Any, name: str = "shop") -> Answer:
    sent = {"base_url": api.origin, "auth": "bearer", "token": token}
    return rest.post(f"/tenants/{team.slug}/data-sources", {"name": name, "kind": "http", "settings": sent})


def connected(team: Team, rest: Rest, api: FarSide, token: Any = None, name: str = "shop") -> dict[str, Any]:
    answer = connect(team, rest, api, token or {"secret": "stripe-key"}, name)
    assert answer.status == 201, answer.body
    body: dict[str, Any] = answer.body
    return body


def who(team: Team, rest: Rest) -> Any:
    """Whom the API took the caller for."""
    tools = rest.get(f"/tenants/{team.slug}/tools").body["results"]
    tool = next(each for each in tools if each["name"] == "api_get")
    called = rest.post(f"/tenants/{team.slug}/tools/{tool['id']}/call", {"arguments": {"endpoint": "/who"}})
    return called.body if called.status != 200 else str(called.body["structured"] or called.body)


def stored(team: Team, name: str = "stripe-key") -> Secret:
    with tenant_scope(team.tenant_id):
        return Secret.objects.get(name=name)


def value_of(team: Team, name: str = "stripe-key") -> str:
    return open_secret(stored(team, name), sealer())


def log_of(team: Team) -> str:
    with tenant_scope(team.tenant_id):
        return " ".join(bytes(each.body).decode() for each in AuditRecord.objects.all())
