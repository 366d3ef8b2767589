"""The OAuth doctor's pages and REST: what a timeline shows, and to whom."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from django.test import Client

from tenants.oauth_steps import Kind, Step, sealed
from tenants.roles import Role
from tenants.services.oauth_faults import FAULTS
from tenants.services.oauth_steps import Noted, keep_steps
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of
from tests.rest import Rest

AGENT = "probe <script>alert(1)</script>"


@pytest.fixture
def team() -> Team:
    """A team at which a client tried to register with a scheme of its own."""
    made = make_team()
    now = time.time()
    steps = [
        Step(
            Kind.CHALLENGE,
            now - 3,
            ok=False,
            status=401,
            code="key_missing",
            agent=AGENT,
            address="192.0.2.7",
        ),
        Step(
            Kind.REGISTRATION,
            now - 1,
            ok=False,
            status=400,
            code="invalid_redirect_uri",
            told="A redirect URI is https.",
            asked={"request": f"POST /oauth/{made.slug}/register", "redirect_uris": "cursor://callback"},
            agent=AGENT,
            address="192.0.2.7",
        ),
    ]
    keep_steps(Noted(made.tenant_id, sealed(step)) for step in steps)
    return made


def test_list_says_what_is_wrong_and_leads_to_the_steps(team: Team) -> None:
    browser = client_of(team)
    text = browser.get(f"/app/{team.slug}/oauth-doctor/").content.decode()
    assert "The registration was refused for a redirect URI" in text
    assert "<script>alert" not in text
    (row,) = Rest.admin(team).get(f"/tenants/{team.slug}/oauth/timelines").body["results"]
    path = f"/app/{team.slug}/oauth-doctor/{row['id']}/"
    assert path in text
    page = browser.get(path).content.decode()
    for words in ("Challenge", "as expected", "Registration", "at fault", "cursor://callback", "developer"):
        assert words in page, words
    assert "<script>alert" not in page


def test_htmx_gets_the_part_alone(team: Team) -> None:
    browser = client_of(team)
    part = browser.get(f"/app/{team.slug}/oauth-doctor/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "refused for a redirect URI" in part


def test_rest_tells_each_step_and_the_finding(team: Team) -> None:
    rest = Rest.admin(team)
    (row,) = rest.get(f"/tenants/{team.slug}/oauth/timelines").body["results"]
    assert (row["connection_state"], row["fault"]) == ("failed", "registration_redirect_uri")
    found = rest.get(f"/tenants/{team.slug}/oauth/timelines/{row['id']}").body
    assert [step["standing"] for step in found["steps"]] == ["as expected", "at fault"]
    assert found["findings"][0]["step_id"] == found["steps"][1]["id"]
    assert "cursor://callback" in found["findings"][0]["wrong"]


@pytest.mark.parametrize("timeline", ["6f1c1d0e-0000-4000-8000-000000000000", "nonsense", "%00"])
def test_unknown_timelines_are_not_found(team: Team, timeline: str) -> None:
    assert Rest.admin(team).get(f"/tenants/{team.slug}/oauth/timelines/{timeline}").status == 404


def test_another_teams_timeline_is_not_found(team: Team) -> None:
    (row,) = Rest.admin(team).get(f"/tenants/{team.slug}/oauth/timelines").body["results"]
    other = make_team()
    assert Rest.admin(other).get(f"/tenants/{other.slug}/oauth/timelines/{row['id']}").status == 404
    assert client_of(other).get(f"/app/{other.slug}/oauth-doctor/{row['id']}/").status_code == 404


@pytest.mark.parametrize(
    ("role", "reads", "tests"),
    [
        (Role.OWNER, True, True),
        (Role.ADMIN, True, True),
        (Role.AUDITOR, True, False),
        (Role.EDITOR, False, False),
        (Role.VIEWER, False, False),
    ],
)
def test_roles(team: Team, role: Role, *, reads: bool, tests: bool) -> None:
    browser: Client = client_of(team, role)
    page = browser.get(f"/app/{team.slug}/oauth-doctor/")
    assert page.status_code == (200 if reads else 403)
    if reads:
        assert ("Run the self-test" in page.content.decode()) is tests
    assert ("oauth-doctor" in browser.get(f"/app/{team.slug}/apps/").content.decode()) is reads
    if not tests:
        assert browser.post(f"/app/{team.slug}/oauth-doctor/self-test").status_code == 403


def test_self_test_shows_what_is_red(team: Team) -> None:
    answer = client_of(team).post(f"/app/{team.slug}/oauth-doctor/self-test", headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "does not find its way in" in answer.content.decode()
    assert "nothing listens there" in answer.content.decode()


def test_the_page_names_every_fault() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "oauth.md").read_text(encoding="utf-8")
    start = page.index("| what stands in the way |")
    table = page[start : page.index("\n\n", start)]
    assert set(re.findall(r"`(\w+)`", table)) == set(FAULTS)
