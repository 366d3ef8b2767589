"""A team that requires a second factor: who is led to set one up, in which surfaces, and who may require it."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from tenants.access import SecondFactorNeeded, caller_for_user, caller_of_member
from tenants.roles import Role
from tenants.services.log import search_records
from tests.factories import Team, email_of, make_team
from tests.frontend.authenticator import set_up_app
from tests.frontend.visitor import by_password
from tests.rest import Rest

SETTING = "members/second-factor"


def owner_with_app(team: Team) -> Client:
    """The owner, who has set one up for themselves."""
    client = by_password(team.owner_email)
    set_up_app(client)
    return client


def requiring(team: Team) -> Client:
    """The owner of a team that requires it now."""
    client = owner_with_app(team)
    assert client.post(f"/app/{team.slug}/{SETTING}", {"required": "on"}).status_code == 302
    return client


def test_a_member_without_one_is_led_to_set_it_up_before_anything_of_the_team(team: Team) -> None:
    email = email_of(team.member(Role.EDITOR))
    client = by_password(email)
    assert client.get(f"/app/{team.slug}/").status_code == 200
    requiring(team)
    for page in ("", "tools/", "connect/", "members/leave"):
        answer = client.get(f"/app/{team.slug}/{page}")
        assert answer.status_code in {302, 405}
        assert answer.get("Location", "/app/account/#second-factor") == "/app/account/#second-factor"
    assert f"The team {team.slug} asks for a second factor" in client.get("/app/account/").content.decode()
    part = client.get(f"/app/{team.slug}/overview/stats", headers={"HX-Request": "true"})
    assert part["HX-Redirect"] == "/app/account/#second-factor"
    set_up_app(client)
    assert client.get(f"/app/{team.slug}/").status_code == 200


def test_rest_sessions_and_consent_are_shut_too_and_keys_go_on(team: Team) -> None:
    member = team.member(Role.ADMIN)
    rest, key = Rest(email=email_of(member)), Rest.admin(team)
    requiring(team)
    refused = rest.get(f"/tenants/{team.slug}/tools")
    assert (refused.status, refused.body["code"]) == (403, "second_factor_required")
    asked = rest.client.get(f"/oauth/{team.slug}/authorize?client_id=x")
    assert asked["Location"] == "/app/account/#second-factor"
    assert key.get(f"/tenants/{team.slug}/tools").status == 200


def test_other_teams_and_strangers_notice_nothing(team: Team) -> None:
    requiring(team)
    other = make_team()
    client = by_password(other.owner_email)
    assert client.get(f"/app/{other.slug}/").status_code == 200
    assert client.get(f"/app/{team.slug}/").status_code == 404
    assert Rest(email=other.owner_email).get(f"/tenants/{team.slug}").status == 404


def test_who_would_shut_themselves_out_cannot_require_it(team: Team) -> None:
    client = by_password(team.owner_email)
    answer = client.post(f"/app/{team.slug}/{SETTING}", {"required": "on"}, follow=True)
    assert "You have no second factor yourself" in answer.content.decode()
    assert '<a href="/app/account/#second-factor">' in answer.content.decode()
    refused = Rest(email=team.owner_email).patch(f"/tenants/{team.slug}", {"require_second_factor": True})
    assert refused.status == 409
    assert not refused.body.get("require_second_factor")


def test_no_key_requires_it_over_rest_and_a_signed_in_owner_does(team: Team) -> None:
    owner_with_app(team)
    key, path = Rest.admin(team), f"/tenants/{team.slug}"
    for body in ({"require_second_factor": True}, {"name": "Another", "require_second_factor": True}):
        refused = key.patch(path, body)
        assert (refused.status, "signed in" in refused.body["detail"]) == (403, True)
    kept = key.get(path).body
    assert (kept["require_second_factor"], kept["name"] != "Another") == (False, True)
    # What else there is to change stays open to keys.
    assert key.patch(path, {"name": "Renamed", "require_second_factor": False}).status == 200
    done = Rest(email=team.owner_email).patch(path, {"require_second_factor": True})
    assert (done.status, done.body["require_second_factor"]) == (200, True)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.EDITOR, Role.VIEWER, Role.AUDITOR])
def test_only_an_owner_may_require_it(team: Team, role: Role) -> None:
    client = by_password(email_of(team.member(role)))
    assert client.post(f"/app/{team.slug}/{SETTING}", {"required": "on"}).status_code == 403


def test_the_log_has_who_required_it_and_who_no_more(team: Team) -> None:
    client = requiring(team)
    client.post(f"/app/{team.slug}/{SETTING}", {})
    newest, oldest = search_records(caller=team.owner, kind="tenant.changed").records
    assert newest.arguments == {
        "before": {"require_second_factor": True},
        "after": {"require_second_factor": False},
    }
    assert (oldest.actor, oldest.arguments and oldest.arguments["after"]) == (
        f"user:{team.owner_email}",
        {"require_second_factor": True},
    )


def test_the_members_page_and_rest_say_who_lacks_one_to_those_who_answer_for_it(team: Team) -> None:
    editor = team.member(Role.EDITOR)
    owner = owner_with_app(team)
    page = owner.get(f"/app/{team.slug}/members/").content.decode()
    assert (page.count("no second factor"), "1 of 2 has none" in page) == (1, True)
    theirs = by_password(email_of(editor)).get(f"/app/{team.slug}/members/").content.decode()
    assert "no second factor" not in theirs
    listed = Rest.admin(team).get(f"/tenants/{team.slug}/members").body["results"]
    assert {each["email"]: each["second_factor"] for each in listed} == {
        team.owner_email: True,
        email_of(editor): False,
    }
    hidden = Rest(email=email_of(editor)).get(f"/tenants/{team.slug}/members").body["results"]
    assert {each["second_factor"] for each in hidden} == {None}


def test_a_factor_that_is_turned_off_leads_back_to_setting_one_up(team: Team) -> None:
    client = requiring(team)
    client.post("/app/account/authenticator/remove")
    assert client.get(f"/app/{team.slug}/")["Location"] == "/app/account/#second-factor"


def test_what_marina_does_itself_in_a_members_name_goes_on(team: Team) -> None:
    requiring(team)
    member = team.owner
    Authenticator.objects.filter(user_id=member.user_id).delete()
    assert caller_of_member(member.user_id or 0, team.owner_email, team.slug).role is Role.OWNER
    with pytest.raises(SecondFactorNeeded):
        caller_for_user(member.user_id or 0, team.owner_email, team.slug)


@pytest.mark.parametrize("body", [{}, {"require_second_factor": "perhaps"}, {"require_second_factor": None}])
def test_what_is_no_setting_is_refused(team: Team, body: dict[str, object]) -> None:
    assert Rest.admin(team).patch(f"/tenants/{team.slug}", body).status == 400
