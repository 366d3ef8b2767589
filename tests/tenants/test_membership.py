"""Memberships that end, leaving, and handing a team over: what holds whoever asks, and however many ask at once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.utils import timezone

from core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from tenants.access import Caller, caller_for_user, tenants_of_user
from tenants.models import Membership
from tenants.models_oauth import OAuthAccessToken, OAuthAuthorization, OAuthClient, digest_of
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.keys import issue_key
from tenants.services.log import search_records
from tenants.services.members import (
    add_member,
    change_member,
    get_own_membership,
    leave_tenant,
    list_members,
    remove_member,
)
from tenants.tokens import ACCESS_PREFIX, caller_for_token
from tests.factories import Team, email_of, make_team
from tests.rest import Rest
from tests.together import do_at_once

DAY = timedelta(days=1)


@pytest.fixture
def team() -> Team:
    return make_team()


def membership_of(caller: Caller) -> Membership:
    return get_own_membership(caller=caller)


def end_now(caller: Caller) -> None:
    """As if the end had come meanwhile."""
    with tenant_scope(caller.tenant_id):
        Membership.objects.filter(user_id=caller.user_id or 0).update(ends_at=timezone.now())


def test_an_end_of_access_is_shown_and_recorded(team: Team) -> None:
    auditor, end = team.member(Role.AUDITOR), timezone.now() + DAY
    change_member(membership_of(auditor).pk, access_ends_at=end, caller=team.owner)
    assert {row.user_id: row.ends_at for row in list_members(caller=team.owner)}[auditor.user_id or 0] == end
    record = search_records(caller=team.owner, kind="member.changed").records[0]
    assert record.arguments is not None
    assert record.arguments["before"]["access_ends_at"] is None
    assert record.arguments["after"]["access_ends_at"] == end.isoformat()


def test_from_its_end_on_a_membership_opens_nothing_on_any_surface(team: Team) -> None:
    auditor = team.member(Role.AUDITOR)
    rest = Rest(email=email_of(auditor))
    records = f"/tenants/{team.slug}/audit/records"
    change_member(membership_of(auditor).pk, access_ends_at=timezone.now() + DAY, caller=team.owner)
    assert rest.get(records).status == 200
    end_now(auditor)
    assert (rest.get(records).status, rest.get(records).body["code"]) == (404, "access_ended")
    assert rest.client.get(f"/app/{team.slug}/log/").status_code == 404
    assert rest.get("/tenants").body["results"] == []
    assert tenants_of_user(auditor.user_id or 0) == []
    with pytest.raises(NotFound):
        caller_for_user(auditor.user_id or 0, email_of(auditor), team.slug)


def test_a_key_opens_nothing_once_the_access_of_its_maker_has_ended_and_gives_nobody_more(team: Team) -> None:
    admin, end = team.member(Role.ADMIN), timezone.now() + DAY
    change_member(membership_of(admin).pk, access_ends_at=end, caller=team.owner)
    rest = Rest(issue_key("k", ["tools:read", "audit:read"], caller=admin).key)
    records = f"/tenants/{team.slug}/audit/records"
    assert rest.get(records).status == 200
    owner = team.member(Role.OWNER)
    change_member(membership_of(owner).pk, access_ends_at=end, caller=team.owner)
    key = Rest(issue_key("k", ["admin"], caller=owner).key)
    added = {"email": f"puppet-{team.slug}@example.com", "role": "admin"}
    assert key.post(f"/tenants/{team.slug}/members", added).body["code"] == "access_ends"
    end_now(admin)
    assert rest.get(records).body["code"] == "maker_bound"


def test_an_access_token_opens_nothing_once_its_members_access_has_ended(team: Team) -> None:
    viewer, later = team.member(Role.VIEWER), timezone.now() + DAY
    text = ACCESS_PREFIX + secrets.token_urlsafe(24)
    with tenant_scope(team.tenant_id):
        client = OAuthClient.objects.create(client_id=f"client-{team.slug}")
        authorization = OAuthAuthorization.objects.create(
            client=client,
            user_id=viewer.user_id,
            server="default",
            resource="https://mcp.example.com",
            scopes=["tools:read"],
            expires_at=later,
        )
        OAuthAccessToken.objects.create(
            user_id=viewer.user_id,
            application=client,
            authorization=authorization,
            token="",
            token_checksum=digest_of(text),
            scope="tools:read",
            expires=later,
        )
    assert caller_for_token(text, tenant_slug=team.slug).user_id == viewer.user_id
    end_now(viewer)
    with pytest.raises(Unauthenticated, match="not in this team any more"):
        caller_for_token(text, tenant_slug=team.slug)


def test_whose_access_ended_while_they_asked_changes_nothing_more(team: Team) -> None:
    admin, viewer = team.member(Role.ADMIN), team.member(Role.VIEWER)
    end_now(admin)
    with pytest.raises(NotFound):
        remove_member(membership_of(viewer).pk, caller=admin)


def test_who_was_demoted_while_they_asked_changes_nothing_more(team: Team) -> None:
    admin, viewer = team.member(Role.ADMIN), team.member(Role.VIEWER)
    change_member(membership_of(admin).pk, role="editor", caller=team.owner)
    with pytest.raises(Forbidden, match="just become editor"):
        remove_member(membership_of(viewer).pk, caller=admin)


@pytest.mark.parametrize("end", [timezone.now() - DAY, timezone.now() + 4000 * DAY, datetime(2999, 1, 1)])  # noqa: DTZ001
def test_an_end_that_cannot_be_is_refused(team: Team, end: datetime) -> None:
    with pytest.raises(InvalidInput, match="access_ends_at"):
        add_member("late@example.com", "auditor", access_ends_at=end, caller=team.owner)


def test_nobody_moves_the_end_of_their_own_access_by_rest_or_page(team: Team) -> None:
    admin = team.member(Role.ADMIN)
    own = membership_of(admin)
    change_member(own.pk, access_ends_at=timezone.now() + DAY, caller=team.owner)
    rest = Rest(email=email_of(admin))
    answer = rest.patch(f"/tenants/{team.slug}/members/{own.pk}", {"access_ends_at": None})
    assert (answer.status, answer.body["data"]["rule"]) == (403, "access:own")
    page = rest.client.post(f"/app/{team.slug}/members/{own.pk}/end", {"last_day": ""}, follow=True)
    assert "own access" in page.content.decode()
    assert membership_of(admin).ends_at is not None


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_nobody_raises_their_own_role_by_rest_or_page(team: Team, role: Role) -> None:
    member = team.member(role)
    own = membership_of(member)
    rest = Rest(email=email_of(member))
    assert rest.patch(f"/tenants/{team.slug}/members/{own.pk}", {"role": "owner"}).status == 403
    rest.client.post(f"/app/{team.slug}/members/{own.pk}/role", {"role": "owner"})
    assert rest.post(f"/tenants/{team.slug}/ownership", {"member": own.pk}).status == 403
    rest.client.post(f"/app/{team.slug}/members/transfer", {"member": own.pk, "confirm": team.slug})
    assert membership_of(member).role == role.value


def test_who_is_here_for_a_time_lets_nobody_in_for_longer(team: Team) -> None:
    admin, viewer, end = team.member(Role.ADMIN), team.member(Role.VIEWER), timezone.now() + 3 * DAY
    change_member(membership_of(admin).pk, access_ends_at=end, caller=team.owner)
    admin = caller_for_user(admin.user_id or 0, email_of(admin), team.slug)
    for later in (None, end + DAY):
        with pytest.raises(Forbidden, match="Your own access ends"):
            add_member(f"puppet-{team.slug}@example.com", "admin", access_ends_at=later, caller=admin)
    add_member(f"puppet-{team.slug}@example.com", "admin", access_ends_at=end, caller=admin)
    change_member(membership_of(viewer).pk, role="editor", caller=admin)


@pytest.mark.parametrize("role", Role)
def test_every_role_may_leave_and_it_is_recorded(team: Team, role: Role) -> None:
    member = team.member(role)
    assert Rest(email=email_of(member)).delete(f"/tenants/{team.slug}/members/me").status == 204
    with pytest.raises(NotFound):
        caller_for_user(member.user_id or 0, email_of(member), team.slug)
    assert search_records(caller=team.owner, kind="member.left").records[0].actor == member.actor


def test_a_key_is_no_member_that_could_leave_or_hand_over(team: Team) -> None:
    rest = Rest.admin(team)
    assert rest.delete(f"/tenants/{team.slug}/members/me").status == 404
    heir = membership_of(team.member(Role.ADMIN))
    assert rest.post(f"/tenants/{team.slug}/ownership", {"member": heir.pk}).status == 403


def test_the_last_owner_neither_leaves_nor_is_removed_demoted_or_given_an_end(team: Team) -> None:
    own = membership_of(team.owner)
    # Neither can keep a team: an owner for a time, and an account that nobody has taken.
    add_member(f"gone-{team.slug}@example.com", "owner", caller=team.owner)
    passing = team.member(Role.OWNER)
    change_member(membership_of(passing).pk, access_ends_at=timezone.now() + DAY, caller=team.owner)
    for attempt in (
        lambda: leave_tenant(caller=team.owner),
        lambda: remove_member(own.pk, caller=passing),
        lambda: change_member(own.pk, role="admin", caller=team.owner),
    ):
        with pytest.raises(Conflict, match="last owner"):
            attempt()
    key = Rest.admin(team)
    given = {"access_ends_at": (timezone.now() + timedelta(hours=1)).isoformat()}
    answer = key.patch(f"/tenants/{team.slug}/members/{own.pk}", given)
    assert (answer.status, answer.body["code"]) == (409, "last_owner")


def went_through(act: Callable[[], object]) -> bool:
    try:
        act()
    except (Conflict, NotFound, Forbidden):
        return False
    return True


def test_of_two_owners_who_leave_remove_and_demote_each_other_at_once_one_stays() -> None:
    for _ in range(5):
        team = make_team()
        one, other = team.owner, team.member(Role.OWNER)
        acts: list[Callable[[], object]] = [
            partial(leave_tenant, caller=one),
            partial(remove_member, membership_of(one).pk, caller=other),
            partial(change_member, membership_of(other).pk, role="viewer", caller=one),
        ]
        assert sum(do_at_once([partial(went_through, act) for act in acts])) == 1
        with tenant_scope(team.tenant_id):
            assert Membership.objects.filter(role="owner").count() == 1


def test_a_team_is_handed_over_in_one_step(team: Team) -> None:
    heir = team.member(Role.EDITOR)
    answer = Rest(email=team.owner_email).post(
        f"/tenants/{team.slug}/ownership", {"member": membership_of(heir).pk}
    )
    assert (answer.status, answer.body["role"]) == (200, "owner")
    assert membership_of(team.owner).role == "admin"
    new_owner = caller_for_user(heir.user_id or 0, email_of(heir), team.slug)
    record = search_records(caller=new_owner, kind="ownership.transferred").records[0]
    assert record.arguments is not None
    assert record.arguments["after"]["handed_over_by"]["email"] == team.owner_email


def test_a_team_is_handed_over_only_to_a_member_who_can_keep_it(team: Team) -> None:
    rest, path = Rest(email=team.owner_email), f"/tenants/{team.slug}/ownership"
    passing = membership_of(team.member(Role.ADMIN))
    change_member(passing.pk, access_ends_at=timezone.now() + DAY, caller=team.owner)
    untaken = add_member(f"new-{team.slug}@example.com", "admin", caller=team.owner)
    outsider = membership_of(make_team().owner)
    answers = [rest.post(path, {"member": row.pk}) for row in (passing, untaken, outsider)]
    assert [(answer.status, answer.body["code"]) for answer in answers] == [
        (409, "access_ends"),
        (409, "never_signed_in"),
        (404, "member_not_found"),
    ]
    assert rest.post(path, {"member": membership_of(team.owner).pk}).status == 400
    assert membership_of(team.owner).role == "owner"


def test_in_the_dashboard_a_team_is_handed_over_once_its_slug_is_typed(team: Team) -> None:
    heir = team.member(Role.EDITOR)
    client = Rest(email=team.owner_email).client
    form = {"member": membership_of(heir).pk, "confirm": "another"}
    client.post(f"/app/{team.slug}/members/transfer", form)
    assert membership_of(heir).role == "editor"
    client.post(f"/app/{team.slug}/members/transfer", {**form, "confirm": team.slug})
    assert membership_of(heir).role == "owner"
    assert "Hand the team over" not in client.get(f"/app/{team.slug}/members/").content.decode()


def test_in_the_dashboard_an_end_is_the_end_of_the_chosen_day(team: Team) -> None:
    auditor = team.member(Role.AUDITOR)
    own, day = membership_of(auditor), timezone.now().date() + 7 * DAY
    client = Rest(email=team.owner_email).client
    client.post(f"/app/{team.slug}/members/{own.pk}/end", {"last_day": day.isoformat()})
    ends_at = membership_of(auditor).ends_at
    assert ends_at is not None
    assert (ends_at - timedelta(seconds=1)).date() == day
    assert f'value="{day.isoformat()}"' in client.get(f"/app/{team.slug}/members/").content.decode()
