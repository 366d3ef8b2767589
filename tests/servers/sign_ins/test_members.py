"""Sources to which each member signs in: whose token a call goes out with, and who is refused."""

from __future__ import annotations

from uuid import UUID

from servers.models import UpstreamSignIn
from servers.services.source_checks import check_sources_of
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, email_of
from tests.rest import Rest
from tests.servers.sign_ins.authority import READ, Authority
from tests.servers.sign_ins.person import Person, add_source, call, refresh


def test_each_member_calls_with_what_they_signed_in_for(
    rest: Rest, team: Team, owner: Person, eras: Authority
) -> None:
    id_ = add_source(rest, team, eras.url, sign_in="member")
    assert (
        "sign in, then refresh" in rest.post(f"/tenants/{team.slug}/data-sources/{id_}/test").body["reason"]
    )
    owner.sign_in(id_)
    own = Rest(email=owner.email)
    assert refresh(own, team, id_).body["added"]["tools"] == ["who", "launch"]
    member = team.member(Role.VIEWER)
    viewer = Person(team, email_of(member))
    theirs = Rest(email=viewer.email)
    refused = call(theirs, team, "who")["error"]
    assert refused["code"] == "sign_in_needed"
    assert refused["message"].startswith("You have not signed in")
    assert f"/app/{team.slug}/data-sources/{id_}/" in refused["message"]
    eras.person = "bert"
    assert viewer.sign_in(id_).status_code == 200
    assert viewer.said == ["You are signed in, and may use yard."]
    assert call(theirs, team, "who")["text"] == f"bert with {READ}"
    assert call(own, team, "who")["text"] == f"anna with {READ}"
    assert call(theirs, team, "who")["text"] == f"bert with {READ}"


def test_keys_are_refused_and_told_why(rest: Rest, team: Team, owner: Person, authority: Authority) -> None:
    id_ = add_source(rest, team, authority.url, sign_in="member")
    owner.sign_in(id_)
    refresh(Rest(email=owner.email), team, id_)
    refused = call(rest, team, "who")["error"]
    assert refused["code"] == "sign_in_needed"
    assert "an API key is nobody" in refused["message"]
    assert rest.delete(f"/tenants/{team.slug}/data-sources/{id_}/sign-in").status == 403


def test_the_check_uses_nobodys_sign_in(rest: Rest, team: Team, owner: Person, authority: Authority) -> None:
    id_ = add_source(rest, team, authority.url, sign_in="member")
    owner.sign_in(id_)
    refresh(Rest(email=owner.email), team, id_)
    authority.asked.clear()
    check_sources_of(team.tenant_id)
    assert authority.at("/mcp")
    assert not [each for each in authority.asked if "authorization" in each.headers]
    assert rest.get(f"/tenants/{team.slug}/data-sources/{id_}").body["health"]["state"] == "healthy"


def test_one_members_end_is_no_other_members(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url, sign_in="member")
    owner.sign_in(id_)
    viewer = Person(team, email_of(team.member(Role.VIEWER)))
    viewer.sign_in(id_)
    viewer.browser.post(f"/app/{team.slug}/data-sources/{id_}/sign-out")
    with tenant_scope(team.tenant_id):
        assert [row.signed_in_by for row in UpstreamSignIn.objects.all()] == [f"user:{owner.email}"]


def test_who_leaves_the_team_leaves_no_sign_in(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url, sign_in="member")
    member = team.member(Role.VIEWER)
    Person(team, email_of(member)).sign_in(id_)
    owner.sign_in(id_)
    team.part_with(member)
    with tenant_scope(team.tenant_id):
        rows = UpstreamSignIn.objects.filter(source_id=UUID(id_))
        assert [row.signed_in_by for row in rows] == [f"user:{owner.email}"]


def test_from_the_team_to_members_the_teams_sign_in_ends(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    settings = {"url": authority.url, "auth": "oauth", "sign_in": "member"}
    assert rest.patch(f"/tenants/{team.slug}/data-sources/{id_}", {"settings": settings}).status == 200
    with tenant_scope(team.tenant_id):
        assert not UpstreamSignIn.objects.exists()
    assert not authority.refreshing
