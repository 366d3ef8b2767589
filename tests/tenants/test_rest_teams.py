"""Teams, members and keys over REST: what works, what is refused, and what an outsider sees."""

from __future__ import annotations

from uuid import UUID

import pytest

from tenants.access import caller_for_key, tenants_of_user
from tenants.audit.records import decode
from tenants.models import AuditRecord, Membership, User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.invitations import accept_invitation
from tenants.services.members import add_member
from tests.factories import Team, make_team, make_user
from tests.rest import Rest

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def team() -> Team:
    return make_team()


def newest_records(team: Team, kind: str) -> list[dict[str, object]]:
    with tenant_scope(team.tenant_id):
        return [decode(bytes(row.body)) for row in AuditRecord.objects.filter(kind=kind)]


def email_of(team: Team, role: Role) -> str:
    """The address of a new member with this role, who signs in with the usual password."""
    email = make_user().email
    add_member(email, role.value, caller=team.owner)
    return email


def test_a_person_lists_their_own_teams_only(team: Team) -> None:
    make_team()
    body = Rest(email=team.owner_email).get("/tenants").body
    assert [row["slug"] for row in body["results"]] == [team.slug]
    assert body["next"] is None
    assert body["results"][0]["mcp_url"].endswith(f"/mcp/{team.slug}")


def test_a_key_that_may_not_list_its_team_is_refused_and_recorded(team: Team) -> None:
    answer = Rest(team.key("tools:read")).get("/tenants")
    assert (answer.status, answer.body["code"]) == (403, "insufficient_scope")
    record = newest_records(team, "rest")[0]
    assert (record["outcome"], record["arguments"]) == ("refused", {"operation": "GET api/v1/tenants"})


def test_a_key_lists_its_own_team(team: Team) -> None:
    assert [row["slug"] for row in Rest.admin(team).get("/tenants").body["results"]] == [team.slug]


def test_an_owner_renames_the_team_and_the_record_shows_before_and_after(team: Team) -> None:
    answer = Rest(email=team.owner_email).patch(f"/tenants/{team.slug}", {"name": "  Reports  "})
    assert (answer.status, answer.body["name"]) == (200, "Reports")
    record = newest_records(team, "tenant.changed")[0]
    assert record["arguments"] == {"before": {"name": "Team"}, "after": {"name": "Reports"}}
    assert record["actor"] == f"user:{team.owner_email}"
    assert record["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("name", ["", "   ", "a\u202eb", "a\x01b", "x" * 121])
def test_a_team_is_not_renamed_to_what_cannot_be_read(team: Team, name: str) -> None:
    answer = Rest.admin(team).patch(f"/tenants/{team.slug}", {"name": name})
    assert answer.status == 400
    assert answer.paths == {"name"}


def test_an_admin_does_not_rename_the_team_and_the_refusal_is_in_the_log(team: Team) -> None:
    answer = Rest(email=email_of(team, Role.ADMIN)).patch(f"/tenants/{team.slug}", {"name": "Mine"})
    assert answer.status == 403
    assert answer.body["data"]["rule"] == "role:tenant.change"
    record = newest_records(team, "rest")[0]
    assert record["outcome"] == "refused"
    assert record["arguments"] == {"operation": "PATCH api/v1/tenants/<str:tenant>"}


def test_a_member_is_asked_changed_and_removed(team: Team) -> None:
    rest, person = Rest.admin(team), make_user()
    asked = rest.post(f"/tenants/{team.slug}/members", {"email": person.email.upper(), "role": "viewer"})
    assert (asked.status, asked.body["email"], asked.body["role"]) == (202, person.email, "viewer")
    assert asked.body["status"] == "open"
    accept_invitation(UUID(asked.body["id"]), user_id=person.pk, email=person.email)
    rows = rest.get(f"/tenants/{team.slug}/members").body["results"]
    (own,) = [row["id"] for row in rows if row["email"] == person.email]
    path = f"/tenants/{team.slug}/members/{own}"
    assert rest.patch(path, {"role": "editor"}).body["role"] == "editor"
    assert rest.get(path).body["role"] == "editor"
    assert rest.delete(path).status == 204
    assert rest.get(path).status == 404
    for kind in ("invitation.accepted", "member.changed", "member.removed"):
        assert len(newest_records(team, kind)) == 1


@pytest.mark.parametrize("role", ["viewer", "owner"])
def test_nobody_becomes_a_member_without_having_agreed(team: Team, role: str) -> None:
    person = make_user()
    asked = Rest.admin(team).post(f"/tenants/{team.slug}/members", {"email": person.email, "role": role})
    assert asked.status == 202
    assert tenants_of_user(person.pk) == []
    with tenant_scope(team.tenant_id):
        assert Membership.objects.count() == 1
    assert Rest(email=person.email).get(f"/tenants/{team.slug}").status == 404


def test_a_members_name_from_elsewhere_is_not_shown(team: Team) -> None:
    stranger = make_user(name="Ada Secret-Name")
    rest = Rest.admin(team)
    add_member(stranger.email, "viewer", caller=team.owner)
    answer = rest.get(f"/tenants/{team.slug}/members")
    assert stranger.email in str(answer.body)
    assert "Secret-Name" not in str(answer.body)
    shown = {"id", "email", "role", "access_ends_at", "payloads", "created_at", "second_factor"}
    assert set(answer.body["results"][0]) == shown


def test_an_address_without_an_account_gets_the_same_answer_and_no_account(
    team: Team,
) -> None:
    rest = Rest.admin(team)
    answer = rest.post(
        f"/tenants/{team.slug}/members", {"email": f"new-{team.slug}@example.com", "role": "viewer"}
    )
    known = rest.post(f"/tenants/{team.slug}/members", {"email": make_user().email, "role": "viewer"})
    assert answer.status == known.status == 202
    assert set(answer.body) == set(known.body)
    assert not User.objects.filter(email=f"new-{team.slug}@example.com").exists()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"email": "nobody", "role": "viewer"}, "email"),
        ({"email": "a@example.com", "role": "king"}, "role"),
        ({"email": "a@example.com"}, "role"),
        ({"email": {"a": 1}, "role": "viewer"}, "email"),
    ],
)
def test_a_member_that_cannot_be_is_refused_with_the_place(
    team: Team, body: dict[str, object], path: str
) -> None:
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/members", body)
    assert (answer.status, answer.paths) == (400, {path})


def test_an_unknown_role_lists_the_known_ones(team: Team) -> None:
    answer = Rest.admin(team).post(
        f"/tenants/{team.slug}/members", {"email": "a@example.com", "role": "king"}
    )
    assert "owner, admin, editor, viewer, auditor" in answer.body["detail"]


def test_a_member_is_not_added_twice(team: Team) -> None:
    answer = Rest.admin(team).post(
        f"/tenants/{team.slug}/members", {"email": team.owner_email, "role": "viewer"}
    )
    assert (answer.status, answer.body["code"]) == (409, "name_taken")


def test_the_last_owner_stays(team: Team) -> None:
    rest = Rest.admin(team)
    owner = rest.get(f"/tenants/{team.slug}/members").body["results"][0]["id"]
    assert rest.patch(f"/tenants/{team.slug}/members/{owner}", {"role": "admin"}).body["code"] == "last_owner"
    assert rest.delete(f"/tenants/{team.slug}/members/{owner}").body["code"] == "last_owner"


def test_an_admin_makes_changes_and_removes_no_owner(team: Team) -> None:
    admin = Rest(email=email_of(team, Role.ADMIN))
    with tenant_scope(team.tenant_id):
        owner = Membership.objects.get(role="owner").pk
    email_of(team, Role.OWNER)
    new = {"email": make_user().email, "role": "owner"}
    assert admin.post(f"/tenants/{team.slug}/members", new).status == 403
    assert admin.patch(f"/tenants/{team.slug}/members/{owner}", {"role": "viewer"}).status == 403
    assert admin.delete(f"/tenants/{team.slug}/members/{owner}").status == 403


@pytest.mark.parametrize("member", ["0", "999999999", "x", "-1", "9" * 40, UNKNOWN_ID])
def test_a_member_of_another_team_is_as_unknown_as_any(team: Team, member: str) -> None:
    other = make_team()
    with tenant_scope(other.tenant_id):
        foreign = Membership.objects.get().pk
    rest = Rest.admin(team)
    for method, body in (("get", None), ("patch", {"role": "viewer"}), ("delete", None)):
        one = rest.call(method, f"/tenants/{team.slug}/members/{foreign}", body)
        two = rest.call(method, f"/tenants/{team.slug}/members/{member}", body)
        assert one.status == 404
        assert {**one.body, "request_id": ""} == {**two.body, "request_id": ""}


def test_a_key_is_shown_once_works_and_ends_when_revoked(team: Team) -> None:
    rest = Rest.admin(team)
    given = {
        "name": "Claude",
        "scopes": ["tools:read", "tools:execute", "tool:query_database"],
        "expires_in_days": 30,
    }
    issued = rest.post(f"/tenants/{team.slug}/api-keys", given)
    assert issued.status == 201
    assert issued.headers["Cache-Control"] == "no-store"
    text = issued.body["key"]
    assert text.startswith(issued.body["prefix"] + "_")
    assert text.endswith(issued.body["last_four"])
    assert sorted(caller_for_key(text).scopes) == sorted(issued.body["scopes"])
    path = f"/tenants/{team.slug}/api-keys/{issued.body['id']}"
    shown = rest.get(path).body
    assert (shown["status"], "key" in shown) == ("live", False)
    assert text not in str(rest.get(f"/tenants/{team.slug}/api-keys").body)
    assert rest.delete(path).status == 204
    assert rest.delete(path).status == 204
    assert rest.get(path).body["status"] == "revoked"
    assert Rest(text).get("/tenants").body["code"] == "key_revoked"
    assert text not in str(newest_records(team, "key.created"))
    assert len(newest_records(team, "key.revoked")) == 1


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["tools:write"]}, "scopes.0"),
        ({"scopes": ["tools:read", "tool:"]}, "scopes.1"),
        ({"scopes": ["tool:query_database"]}, "scopes"),
        ({"scopes": ["admin", "server:default"]}, "scopes"),
        ({"scopes": "admin"}, "scopes"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 3651}, "expires_in_days"),
        ({"expires_in_days": "soon"}, "expires_in_days"),
        ({"name": ""}, "name"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_place(
    team: Team, given: dict[str, object], path: str
) -> None:
    answer = Rest.admin(team).post(
        f"/tenants/{team.slug}/api-keys", {"name": "k", "scopes": ["tools:read"], **given}
    )
    assert (answer.status, answer.paths) == (400, {path})


def test_an_unknown_scope_lists_the_known_ones(team: Team) -> None:
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/api-keys", {"name": "k", "scopes": ["everything"]})
    assert "tools:execute" in answer.body["detail"]
    assert "server:<slug>" in answer.body["detail"]


def test_a_key_never_exceeds_its_maker(team: Team) -> None:
    admin = Rest(email=email_of(team, Role.ADMIN))
    refused = admin.post(f"/tenants/{team.slug}/api-keys", {"name": "k", "scopes": ["admin"]})
    assert (refused.status, refused.body["code"]) == (403, "scope_exceeds_rights")
    assert admin.post(f"/tenants/{team.slug}/api-keys", {"name": "k", "scopes": ["audit:read"]}).status == 201


@pytest.mark.parametrize("role", [Role.EDITOR, Role.VIEWER, Role.AUDITOR])
def test_other_roles_issue_no_key(team: Team, role: Role) -> None:
    rest = Rest(email=email_of(team, role))
    assert rest.post(f"/tenants/{team.slug}/api-keys", {"name": "k", "scopes": ["tools:read"]}).status == 403


def test_a_key_without_the_scope_is_told_which_one_it_lacks(team: Team) -> None:
    answer = Rest(team.key("tools:read")).get(f"/tenants/{team.slug}/api-keys")
    assert (answer.status, answer.body["code"]) == (403, "insufficient_scope")
    assert "admin" in answer.body["detail"]
