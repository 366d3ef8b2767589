"""For every route of the REST API: another team's ids give what unknown ids give, and its address nothing."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from config.isolation.teams import make_ended_task, make_paused_schedule
from servers.api.urls import urlpatterns as servers_urls
from servers.models import DataSource, Prompt, Resource, Server, Tool
from servers.services.named_secrets import create_secret
from servers.services.served_versions import serve_version
from servers.services.servers import list_servers
from tenants.api.urls import urlpatterns as tenants_urls
from tenants.models import (
    ApiKey,
    AuditExport,
    AuditVerification,
    Membership,
    OAuthAuthorization,
    OAuthClient,
)
from tenants.models_sso import ProviderIdentity
from tenants.oauth_steps import Kind, Step, sealed
from tenants.scoping import tenant_scope
from tenants.services.export_schedules import create_schedule
from tenants.services.oauth_steps import Noted, keep_steps
from tenants.services.outside_issuers import create_issuer
from tenants.services.retention import place_hold
from tenants.services.sso_providers import ProviderSettings, create_provider
from tenants.services.streams import create_stream, send_test
from tests.factories import Team, make_team
from tests.oauth.flows import make_app
from tests.rest import Rest
from tests.shelf import add_shelf_kind, fill_shelf

ROUTES = sorted(str(route.pattern) for route in [*tenants_urls, *servers_urls])
BELOW_TENANT = [route for route in ROUTES if route.startswith("tenants/<str:tenant>")]
METHODS = ("get", "post", "patch", "delete")

UNKNOWN = {
    "member": "999999999999",
    "seq": "999999999999",
    # Versions are counted in each tool: it is the tool that is another team's.
    "number": "1",
    "other": "1",
    **dict.fromkeys(
        (
            *(
                "key",
                "export",
                "schedule",
                "verification",
                "invitation",
                "source",
                "tool",
                "resource",
                "prompt",
                "server",
            ),
            *("connection", "client", "issuer", "secret", "timeline", "provider", "identity", "served"),
            *("task", "tool_schedule", "stream", "delivery", "hold"),
        ),
        "6f1c1c9e-0000-4000-8000-000000000000",
    ),
}
BODIES: dict[str, Any] = {
    "role": {"role": "viewer"},
    "call": {"arguments": {}},
    "confirm": {"arguments": {}},
    "reveal": {"reason": "to see whether it is there"},
    "draft": {"kind": "http", "text": "curl https://api.example.com/"},
    "explain": {"definition": {"sql": "SELECT 1"}},
    "versions": {"tool": "query_database", "version": 1, "use": "pin"},
    "<str:key>": {"networks": []},
    "<str:resource>": {"enabled": False},
    "<str:prompt>": {"enabled": False},
}


@pytest.fixture(scope="module")
def teams(database: None) -> tuple[Team, Team, dict[str, str]]:
    """A team that asks, another team, and one of the other's ids for each kind of thing."""
    asking, other = make_team(), make_team()
    dsn = "postgresql://reader:secret@db.example.com/airports"
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    rest = Rest.admin(other)
    assert rest.post(f"/tenants/{other.slug}/data-sources", body).status == 201
    add_shelf_kind()
    fill_shelf("rest-isolation", resources=["shelf://readme"], prompts=["review"])
    body = {"name": "books", "kind": "shelf", "settings": {"shelf": "rest-isolation"}}
    assert rest.post(f"/tenants/{other.slug}/data-sources", body).status == 201
    assert rest.post(f"/tenants/{other.slug}/audit/exports", {}).status == 202
    assert rest.post(f"/tenants/{other.slug}/audit/verifications", {}).status == 202
    invited = {"email": f"guest-of-{other.slug}@example.com", "role": "viewer"}
    invitation = rest.post(f"/tenants/{other.slug}/invitations", invited).body["id"]
    make_app(other).tokens()
    secret = create_secret("stripe-key", value="of the other team", caller=other.owner)
    trusted = create_issuer({"name": "corp", "issuer": "https://id.example.com"}, caller=other.owner)
    provider = create_provider(
        ProviderSettings("corp", "https://id.example.com", "marina", ("example.com",)), caller=other.owner
    )
    pinned = serve_version(
        list_servers(caller=other.owner)[0].pk, "query_database", 1, "pin", caller=other.owner
    )
    schedule = create_schedule(
        {"name": "Archive", "bucket": "archive", "access_key": "AKID", "secret_key": "of-this-team"},
        caller=other.owner,
    )
    stream = create_stream(
        "webhook", {"name": "siem", "url": "https://127.0.0.1:9/"}, caller=other.owner
    ).standing.row
    delivery = send_test(stream.pk, caller=other.owner)
    hold = place_hold("matter of the other team", caller=other.owner)
    step = sealed(Step(Kind.ISSUER_METADATA, time.time(), ok=True, status=200, agent=other.slug))
    keep_steps([Noted(other.tenant_id, step)])
    with tenant_scope(other.tenant_id):
        foreign = {
            "issuer": str(trusted.pk),
            "secret": str(secret.pk),
            "provider": str(provider.pk),
            "identity": str(
                ProviderIdentity.objects.create(
                    provider=provider, user_id=other.owner.user_id or 0, subject="s"
                ).pk
            ),
            "connection": str(OAuthAuthorization.objects.get().pk),
            "client": str(OAuthClient.objects.get().pk),
            "timeline": step.id,
            "invitation": invitation,
            "member": str(Membership.objects.get().pk),
            "key": str(ApiKey.objects.all()[0].pk),
            "schedule": str(schedule.pk),
            "stream": str(stream.pk),
            "hold": str(hold.pk),
            "delivery": str(delivery.pk),
            "export": str(AuditExport.objects.get().pk),
            "verification": str(AuditVerification.objects.get().pk),
            "task": str(make_ended_task(other.owner, "default", "query_database").pk),
            "tool_schedule": str(make_paused_schedule(other.owner, "default", "query_database").pk),
            "source": str(DataSource.objects.all()[0].pk),
            "tool": str(Tool.objects.all()[0].pk),
            "resource": str(Resource.objects.get(uri="shelf://readme").pk),
            "prompt": str(Prompt.objects.get().pk),
            "server": str(Server.objects.get().pk),
            # Numbers are counted in each team, so the other's newest is unknown here once it is greater.
            "seq": "999999999998",
            "served": str(pinned.pk),
            "number": "1",
            "other": "1",
        }
    return asking, other, foreign


def filled(route: str, values: dict[str, str]) -> str:
    return "/" + re.sub(r"<str:(\w+)>", lambda match: values[match[1]], route)


def body_of(route: str, method: str) -> Any:
    if method in ("get", "delete"):
        return None
    return BODIES.get(route.rpartition("/")[2], {"role": "viewer"} if "<str:member>" in route else {})


@pytest.mark.parametrize("way", ["key", "session"])
@pytest.mark.parametrize("route", [route for route in BELOW_TENANT if route.count("<") > 1])
def test_another_teams_id_is_as_unknown_as_any(
    teams: tuple[Team, Team, dict[str, str]], route: str, way: str
) -> None:
    asking, _, foreign = teams
    rest = Rest.admin(asking) if way == "key" else Rest(email=asking.owner_email)
    answered = set()
    for method in METHODS:
        answers = [
            rest.call(method, filled(route, {**ids, "tenant": asking.slug}), body_of(route, method))
            for ids in (foreign, UNKNOWN)
        ]
        bodies = [{**answer.body, "request_id": "", "detail": detail_of(answer.body)} for answer in answers]
        assert answers[0].status == answers[1].status
        assert bodies[0] == bodies[1]
        answered.add(answers[0].status)
    assert answered <= {404, 405}
    assert 404 in answered


def detail_of(body: Any) -> str:
    """The sentence without the number that was asked for."""
    return re.sub(r"\d{6,}", "", body["detail"])


@pytest.mark.parametrize("route", BELOW_TENANT)
def test_below_another_teams_address_everything_is_as_below_an_unknown_one(
    teams: tuple[Team, Team, dict[str, str]], route: str
) -> None:
    asking, other, foreign = teams
    rest = Rest(email=asking.owner_email)
    for method in METHODS:
        answers = [
            rest.call(method, filled(route, {**foreign, "tenant": slug}), body_of(route, method))
            for slug in (other.slug, "no-such-team")
        ]
        assert answers[0].status == answers[1].status == 404
        assert {**answers[0].body, "request_id": ""} == {**answers[1].body, "request_id": ""}


@pytest.mark.parametrize("route", BELOW_TENANT)
def test_another_teams_key_answers_as_an_unknown_key_and_as_at_an_unknown_team(
    teams: tuple[Team, Team, dict[str, str]], route: str
) -> None:
    asking, other, foreign = teams
    key = asking.key("admin")
    for method in METHODS:
        answers = [
            Rest(sent).call(method, filled(route, {**foreign, "tenant": slug}), body_of(route, method))
            for sent, slug in ((key, other.slug), (key[:-6] + "zzzzzz", other.slug), (key, "no-such-team"))
        ]
        seen = [
            (
                answer.status,
                {**answer.body, "request_id": ""},
                {**answer.headers, "X-Request-ID": ""},
            )
            for answer in answers
        ]
        assert seen[0] == seen[1] == seen[2]
        assert (answers[0].status, answers[0].body["code"]) == (401, "key_unknown")


@pytest.mark.parametrize("route", BELOW_TENANT)
def test_nobody_gets_a_401_everywhere(teams: tuple[Team, Team, dict[str, str]], route: str) -> None:
    _, other, foreign = teams
    for method in METHODS:
        path = filled(route, {**foreign, "tenant": other.slug})
        assert Rest().call(method, path, body_of(route, method)).status == 401


def test_lists_hold_the_own_teams_rows_only(teams: tuple[Team, Team, dict[str, str]]) -> None:
    asking, other, foreign = teams
    lists = ("members", "api-keys", "data-sources", "tools", "resources", "prompts", "servers")
    for what in (*lists, "audit/exports", "audit/records"):
        text = str(Rest.admin(asking).get(f"/tenants/{asking.slug}/{what}").body)
        assert other.slug not in text
        assert other.owner_email not in text
        assert not [
            value
            for name, value in foreign.items()
            if name not in ("member", "seq", "number", "other") and value in text
        ]
