"""What each role finds in the dashboard: only what it may use; and what it may not, is refused with the reason."""

from __future__ import annotations

import pytest

from tenants.roles import Role
from tenants.services.log import search_records
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of


@pytest.fixture(scope="module")
def team(database: None) -> Team:
    return make_team()


SECTIONS = (
    "Overview",
    "Data sources",
    "Secrets",
    "Tools",
    "Resources",
    "Prompts",
    "Servers",
    "Configuration",
    "Connect",
    "API keys",
    "Access explained",
    "Connected apps",
    "Outside issuers",
    "Members",
    "Single sign-on",
    "Audit",
    "Work",
    "Log",
    "Exports",
    "Streams",
)
SEEN = {
    Role.OWNER: SECTIONS,
    Role.ADMIN: SECTIONS,
    Role.EDITOR: (
        "Overview",
        "Data sources",
        "Secrets",
        "Tools",
        "Resources",
        "Prompts",
        "Servers",
        "Configuration",
        "Connect",
        "Connected apps",
        "Members",
        "Single sign-on",
        "Work",
    ),
    Role.VIEWER: (
        "Overview",
        "Data sources",
        "Tools",
        "Resources",
        "Prompts",
        "Servers",
        "Configuration",
        "Connect",
        "Connected apps",
        "Work",
    ),
    Role.AUDITOR: (
        "API keys",
        "Access explained",
        "Connected apps",
        "Outside issuers",
        "Members",
        "Single sign-on",
        "Audit",
        "Work",
        "Log",
        "Exports",
        "Streams",
    ),
}


@pytest.mark.parametrize("role", Role)
def test_the_navigation_offers_what_the_role_may_open_and_all_of_it_opens(team: Team, role: Role) -> None:
    client = client_of(team, role)
    page = client.get(f"/app/{team.slug}/", follow=True)
    links = [link for _, group in page.context["groups"] for link in group]
    assert tuple(link.label for link in links) == SEEN[role]
    assert {link.label: client.get(link.url, follow=True).status_code for link in links} == dict.fromkeys(
        SEEN[role], 200
    )


def test_auditors_start_at_the_audit(team: Team) -> None:
    answer = client_of(team, Role.AUDITOR).get(f"/app/{team.slug}/")
    assert answer["Location"] == f"/app/{team.slug}/audit/"


@pytest.mark.parametrize(
    ("role", "path", "rule"),
    [
        (Role.VIEWER, "keys/", "keys.read"),
        (Role.VIEWER, "log/", "audit.read"),
        (Role.EDITOR, "log/1", "audit.read"),
        (Role.EDITOR, "exports/", "audit.read"),
        (Role.VIEWER, "data-sources/new", "sources.change"),
        (Role.VIEWER, "tools/new", "tools.change"),
        (Role.VIEWER, "secrets/", "secrets.read"),
        (Role.EDITOR, "secrets/new", "secrets.change"),
        (Role.VIEWER, "members/", "members.read"),
        (Role.AUDITOR, "tools/", "tools.read"),
        (Role.AUDITOR, "keys/new", "keys.change"),
        (Role.AUDITOR, "streams/new", "streams.change"),
    ],
)
def test_what_a_role_may_not_open_names_the_role_that_may(
    team: Team, role: Role, path: str, rule: str
) -> None:
    answer = client_of(team, role).get(f"/app/{team.slug}/{path}")
    assert answer.status_code == 403
    body = answer.content.decode()
    assert rule in body
    assert "Ask an owner or admin" in body
    assert answer["X-Request-ID"] in body


@pytest.mark.parametrize(
    ("role", "path", "fields"),
    [
        (Role.EDITOR, "members/", {"email": "new@example.com", "role": "viewer"}),
        (Role.AUDITOR, "keys/new", {"name": "mine", "scopes": ["audit:read"], "expiry": "30"}),
        (Role.VIEWER, "servers/new", {"slug": "mine", "title": "Mine", "offers": "all"}),
    ],
)
def test_a_form_that_a_role_is_not_shown_is_refused_all_the_same(
    team: Team, role: Role, path: str, fields: dict[str, str | list[str]]
) -> None:
    assert client_of(team, role).post(f"/app/{team.slug}/{path}", fields).status_code == 403


def test_viewers_see_no_buttons_that_change_things(team: Team) -> None:
    client = client_of(team, Role.VIEWER)
    for path in ("data-sources/", "tools/", "servers/"):
        body = client.get(f"/app/{team.slug}/{path}").content.decode()
        assert "/new" not in body, path


def test_an_outsider_gets_the_page_of_a_team_that_does_not_exist(team: Team) -> None:
    client = client_of(make_team())
    foreign = client.get(f"/app/{team.slug}/")
    unknown = client.get("/app/there-is-no-such-team/")
    assert foreign.status_code == unknown.status_code == 404
    texts = [answer.content.decode().replace(answer["X-Request-ID"], "") for answer in (foreign, unknown)]
    assert texts[0] == texts[1]


def test_admins_are_offered_no_power_over_owners(team: Team) -> None:
    page = client_of(team, Role.ADMIN).get(f"/app/{team.slug}/members/")
    assert 'value="owner"' not in page.content.decode()
    assert "owner" not in page.context["roles"]
    assert {row.role for row, changeable in page.context["rows"] if not changeable} == {"owner"}
    assert 'value="owner"' in client_of(team, Role.OWNER).get(f"/app/{team.slug}/members/").content.decode()


def test_only_owners_make_owners(team: Team) -> None:
    client = client_of(team, Role.ADMIN)
    answer = client.post(f"/app/{team.slug}/members/", {"email": "boss@example.com", "role": "owner"})
    assert "Only an owner can make" in answer.content.decode()
    record = search_records(caller=team.owner, kind="page", outcome="refused").records[0]
    assert record.reason is not None
    assert record.reason["rule"] == "role:owner"


def test_the_last_owner_stays(team: Team) -> None:
    client = client_of(team, Role.OWNER)
    rows = client.get(f"/app/{team.slug}/members/").context["rows"]
    me = next(row for row, _ in rows if row.user_id == team.owner.user_id)
    answer = client.post(f"/app/{team.slug}/members/{me.pk}/remove", follow=True)
    assert "last owner" in answer.content.decode()
