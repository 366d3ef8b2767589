"""``manage.py check_isolation``: it asks every route, finds nothing in Marina, and finds each hole that is made."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command

from config.isolation import attempts
from config.isolation.attempts import UncoveredRoute, covered_routes, make_attempts
from config.isolation.checking import begin_session, check
from config.isolation.teams import CheckedTeam, checked_teams
from frontend.urls import _TENANT
from servers.api.urls import urlpatterns as servers_urls
from servers.endpoint.methods import METHODS
from tenants.api.urls import urlpatterns as tenants_urls
from tenants.services.keys import list_keys
from tests.isolation.holes import HOLES
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
    assert routes == {*below, *(f"app/<str:tenant>/{each.pattern}" for each in _TENANT)}
    asked = {attempt.name.split(":")[0] for attempt in make_attempts(*teams, "session")}
    for route in routes:
        # A converter's colon ends the name as well.
        assert any(route.split(":")[0] in name for name in asked), route
    for method, known in METHODS.items():
        for is_known, version in ((known.legacy, attempts.LEGACY), (known.modern, attempts.MODERN)):
            assert (f"MCP {method} ({version})" in asked) is is_known


def test_a_route_that_the_check_knows_no_value_for_fails_it(
    teams: tuple[CheckedTeam, CheckedTeam], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "covered_routes", lambda: ["app/<str:tenant>/boats/<uuid:boat_id>/"])
    with pytest.raises(UncoveredRoute, match="boat_id"):
        list(make_attempts(*teams, "session"))


@pytest.mark.timeout(240)
def test_nothing_crosses(live_marina: LiveMarina, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check_isolation", url=live_marina.base_url)
    assert capsys.readouterr().out.startswith("Nothing crosses: ")


def test_a_marina_that_does_not_answer_is_named(database: None) -> None:
    with pytest.raises(CommandError, match=r"does not answer at http://127\.0\.0\.1:9"):
        call_command("check_isolation", url="http://127.0.0.1:9")


def test_credentials_of_the_check_end_with_it(database: None) -> None:
    from tenants.access import caller_for_user
    from tenants.models import User

    with checked_teams() as (asking, _):
        pass
    owner = User.objects.get(email=asking.marks[-3])
    keys = list_keys(caller=caller_for_user(owner.pk, owner.email, asking.slug))
    assert keys
    assert all(key.revoked_at is not None for key in keys)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", HOLES)
def test_a_hole_is_found(holed: LiveMarina, teams: tuple[CheckedTeam, CheckedTeam], name: str) -> None:
    session = begin_session(holed.base_url, teams[1])
    made = [each for each in make_attempts(*teams, session) if each.name.startswith(FAMILIES[name])]
    open_hole(holed, name)
    try:
        assert check(holed.base_url, made).findings
    finally:
        open_hole(holed, "")
