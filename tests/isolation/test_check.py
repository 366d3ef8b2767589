"""``manage.py check_isolation``: it asks every route, finds nothing in Marina, and finds each hole that is made."""

from __future__ import annotations

import base64
import dataclasses
import urllib.request
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.urls import URLPattern

from config.isolation import attempts
from config.isolation.attempt import UncoveredRoute
from config.isolation.attempts import covered_routes, make_attempts
from config.isolation.checking import begin_session, check
from config.isolation.teams import CheckedTeam, checked_teams
from core.errors import Unauthenticated
from frontend.oauth.urls import urlpatterns as oauth_urls
from frontend.urls import _TENANT
from frontend.urls import urlpatterns as pages_urls
from servers.api.urls import urlpatterns as servers_urls
from servers.endpoint.methods import METHODS
from tenants.api.urls import urlpatterns as tenants_urls
from tenants.oauth_addresses import resource
from tenants.services.keys import list_keys
from tenants.services.oauth_flow import issue_tokens
from tenants.tokens import caller_for_token
from tests.isolation.holes import HOLES, PAIR
from tests.plugins.live_marina import LiveMarina

FAMILIES = {
    "key_opens_every_team": "MCP",
    "key_opens_every_team_in_rest": "REST",
    "everybody_is_a_member": "page",
    "menu_names_every_team": "page",
    "surface_is_of_another_team": "MCP",
    "sessions_are_anybodys": "MCP",
    "log_is_of_another_team": "page",
    "keys_are_of_another_team": "REST",
    "sources_are_of_another_team": "REST",
    "team_that_exists_is_refused_otherwise": "page",
    "refresh_tokens_are_good_everywhere": "OAuth",
    "revocations_reach_every_team": "OAuth",
    "tokens_open_every_team": "MCP",
    "providers_are_of_every_team": "page",
}


@pytest.fixture(scope="module")
def holed(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    with LiveMarina(
        tmp_path_factory.mktemp("holed") / "web.log", module="tests.isolation.holes:application"
    ).running() as marina:
        yield marina


@pytest.fixture
def teams(database: None) -> Iterator[tuple[CheckedTeam, CheckedTeam]]:
    with checked_teams() as made:
        yield made


def basic(client_id: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{client_id}:{secret}'.encode()).decode()}"


def share_address(marina: LiveMarina, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are for addresses below ``MARINA_BASE_URL``, which the check has in common with the Marina it asks."""
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, base_url=marina.base_url))


def open_hole(marina: LiveMarina, name: str) -> None:
    with urllib.request.urlopen(f"{marina.base_url}/holes/{name}") as answer:
        assert answer.status == 204


def test_every_route_below_a_team_is_asked(teams: tuple[CheckedTeam, CheckedTeam]) -> None:
    routes = set(covered_routes())
    below = [
        f"api/v1/{each.pattern}"
        for each in (*tenants_urls, *servers_urls)
        if "<str:tenant>" in str(each.pattern)
    ]
    doors = [
        f"app/{each.pattern}"
        for each in pages_urls
        if isinstance(each, URLPattern) and "<str:team>" in str(each.pattern)
    ]
    assert routes == {
        *below,
        *(f"app/<str:tenant>/{each.pattern}" for each in _TENANT),
        *doors,
        *(str(each.pattern) for each in oauth_urls),
    }
    assert len(doors) == 2
    names = [attempt.name for attempt in make_attempts(*teams, "session")]
    asked, words = {name.split(":")[0] for name in names}, {word for name in names for word in name.split()}
    for route in routes:
        # What is asked follows the route, most often after a colon.
        assert words & {route, f"{route}:"}, route
    for method, known in METHODS.items():
        for is_known, version in ((known.legacy, attempts.LEGACY), (known.modern, attempts.MODERN)):
            assert (f"MCP {method} ({version})" in asked) is is_known


@pytest.mark.parametrize(
    ("route", "named"),
    [
        ("app/<str:tenant>/boats/<uuid:boat_id>/", "boat_id"),
        ("oauth/<str:tenant>/device", "device"),
        (".well-known/boats/<str:tenant>/<str:boat>", "boat"),
        ("app/sign-in/<str:team>/boat", "sign-in/<str:team>/boat"),
    ],
)
def test_a_route_that_the_check_knows_no_value_for_fails_it(
    teams: tuple[CheckedTeam, CheckedTeam], monkeypatch: pytest.MonkeyPatch, route: str, named: str
) -> None:
    monkeypatch.setattr(attempts, "covered_routes", lambda: [route])
    with pytest.raises(UncoveredRoute, match=named):
        list(make_attempts(*teams, "session"))


@pytest.mark.timeout(600)
def test_nothing_crosses(
    live_marina: LiveMarina, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    share_address(live_marina, monkeypatch)
    try:
        call_command("check_isolation", url=live_marina.base_url)
    except CommandError:
        pytest.fail(capsys.readouterr().err, pytrace=False)
    assert capsys.readouterr().out.startswith("Nothing crosses: ")


def test_a_marina_that_does_not_answer_is_named(database: None) -> None:
    with pytest.raises(CommandError, match=r"does not answer at http://127\.0\.0\.1:9"):
        call_command("check_isolation", url="http://127.0.0.1:9")


def test_a_name_that_no_team_can_have_is_named() -> None:
    with pytest.raises(CommandError, match=r"'A b' begins no team's name"):
        call_command("check_isolation", "--teams", "A b")


def test_credentials_of_the_check_end_with_it(database: None) -> None:
    from tenants.access import caller_for_user
    from tenants.models import Tenant, User

    with checked_teams() as (asking, _):
        pass
    owner = User.objects.get(email=asking.marks[-3])
    keys = list_keys(caller=caller_for_user(owner.pk, owner.email, asking.slug))
    assert keys
    assert all(key.revoked_at is not None for key in keys)
    held, tenant_id = asking.held, Tenant.objects.get(slug=asking.slug).pk
    for parameters, headers in (
        ({"grant_type": "refresh_token", "client_id": held.client_id, "refresh_token": held.refresh}, None),
        ({"grant_type": "client_credentials"}, basic(held.service_id, held.service_secret)),
    ):
        answered = issue_tokens(
            {**parameters, "resource": resource(asking.slug)},
            authorization=headers,
            tenant_id=tenant_id,
            tenant_slug=asking.slug,
        )
        assert answered.status in {400, 401}
    with pytest.raises(Unauthenticated):
        caller_for_token(held.access, tenant_slug=asking.slug)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", HOLES)
def test_a_hole_is_found(holed: LiveMarina, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    share_address(holed, monkeypatch)
    with checked_teams(PAIR) as teams:
        session = begin_session(holed.base_url, teams[1])
        made = [each for each in make_attempts(*teams, session) if each.name.startswith(FAMILIES[name])]
        open_hole(holed, name)
        try:
            found = check(holed.base_url, made).findings
        finally:
            open_hole(holed, "")
    # A check that is locked out finds that alone.
    assert [each for each in found if "429" not in each.problem]
