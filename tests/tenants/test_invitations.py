"""Invitations: who may invite whom, what the link is worth, and that it is worth it once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.core import mail
from django.utils import timezone

from core.errors import Conflict, Forbidden, MarinaError, NotFound
from tenants.access import Caller, caller_for_key, caller_for_user
from tenants.models import Invitation, Membership, User
from tenants.roles import Role
from tenants.scoping import directory_scope, tenant_scope
from tenants.services import invitations
from tenants.services.invitations import (
    accept_invitation,
    check_invitation,
    find_invitation,
    invite,
    list_own_invitations,
    resend_invitation,
    token_digest,
    withdraw_invitation,
)
from tenants.services.keys import issue_key
from tenants.services.log import search_records
from tenants.services.members import change_member, get_own_membership
from tests.factories import Team, email_of, make_team, make_user
from tests.mailbox import letters_to, link_of, lose_mail_server
from tests.rest import Rest
from tests.together import do_at_once


@pytest.fixture
def team() -> Team:
    return make_team()


def token_to(email: str) -> str:
    """The token of the newest letter."""
    return link_of(letters_to(email)[-1]).rpartition("/")[2]


def accept(invitation: Invitation, user: User) -> Caller:
    return accept_invitation(invitation.pk, user_id=user.pk, email=user.email)


def expire(team: Team, invitation: Invitation) -> None:
    """As if its days had passed."""
    with tenant_scope(team.tenant_id):
        Invitation.objects.filter(pk=invitation.pk).update(expires_at=timezone.now())


def kinds(team: Team) -> list[str]:
    records = search_records(caller=team.owner, text="invitation").records
    return [record.kind for record in records if record.kind.startswith("invitation.")][::-1]


def test_an_invited_person_becomes_a_member_once_and_all_of_it_is_recorded(team: Team) -> None:
    user = make_user()
    invitation = invite(user.email.upper(), "editor", caller=team.owner)
    assert invitation.sent_at is not None
    assert accept(invitation, user).role is Role.EDITOR
    assert caller_for_user(user.pk, user.email, team.slug).role is Role.EDITOR
    with pytest.raises(Conflict, match="used already"):
        accept(invitation, user)
    assert kinds(team) == ["invitation.created", "invitation.accepted"]


def test_the_letter_names_team_role_and_inviter_and_the_table_holds_no_token(team: Team) -> None:
    email = f"guest-{team.slug}@example.com"
    invite(email, "auditor", caller=team.owner)
    [letter] = letters_to(email)
    assert team.owner_email in letter.subject
    assert "as auditor" in str(letter.body)
    token = token_to(email)
    row = find_invitation(token_digest(token))
    assert bytes(row.digest) != token.encode()
    assert token not in str(search_records(caller=team.owner, text=token[:12]).records)


def test_a_letter_cannot_be_given_further_headers_by_a_teams_name(team: Team) -> None:
    email = f"guest-{team.slug}@example.com"
    team_of_two_lines = make_team("Team\nBcc: everybody@example.com".replace("\n", " "))
    invite(email, "viewer", caller=team_of_two_lines.owner)
    assert set(letters_to(email)[0].recipients()) == {email}


@pytest.mark.parametrize(
    ("role", "offered", "allowed"),
    [
        (Role.OWNER, "owner", True),
        (Role.ADMIN, "admin", True),
        (Role.ADMIN, "owner", False),
        (Role.EDITOR, "viewer", False),
        (Role.AUDITOR, "auditor", False),
    ],
)
def test_nobody_invites_to_more_than_they_may_give(
    team: Team, role: Role, offered: str, allowed: bool
) -> None:
    caller = team.member(role)
    rest = Rest(email=email_of(caller))
    given = {"email": f"guest-{team.slug}@example.com", "role": offered}
    answer = rest.post(f"/tenants/{team.slug}/invitations", given)
    assert answer.status == (201 if allowed else 403)


def test_an_admin_neither_sends_again_nor_withdraws_what_makes_an_owner(team: Team) -> None:
    invitation = invite(make_user().email, "owner", caller=team.owner)
    admin = team.member(Role.ADMIN)
    for attempt in (resend_invitation, withdraw_invitation):
        with pytest.raises(Forbidden):
            attempt(invitation.pk, caller=admin)


def test_only_the_account_of_the_invited_address_accepts(team: Team) -> None:
    invitation, other = invite(make_user().email, "viewer", caller=team.owner), make_user()
    with pytest.raises(NotFound):
        accept(invitation, other)
    with pytest.raises(Forbidden, match=f"signed in as {other.email}"):
        check_invitation(find_invitation(token_digest(token_to(invitation.email))), email=other.email)
    assert list_own_invitations(other.email) == []


def test_an_expired_or_withdrawn_invitation_says_so(team: Team) -> None:
    user, another = make_user(), make_user()
    expired = invite(user.email, "viewer", caller=team.owner)
    expire(team, expired)
    withdrawn = invite(another.email, "viewer", caller=team.owner)
    withdraw_invitation(withdrawn.pk, caller=team.owner)
    for invitation, person, words in ((expired, user, "expired"), (withdrawn, another, "withdrawn")):
        with pytest.raises(Conflict, match=words):
            accept(invitation, person)
        assert list_own_invitations(person.email) == []


def test_sent_again_it_has_a_new_link_and_the_old_one_ends(team: Team) -> None:
    user = make_user()
    invitation = invite(user.email, "viewer", caller=team.owner)
    old = token_to(user.email)
    expire(team, invitation)
    resent = resend_invitation(invitation.pk, caller=team.owner)
    assert resent.state(timezone.now()) == "open"
    with pytest.raises(NotFound, match="newer letter"):
        find_invitation(token_digest(old))
    assert find_invitation(token_digest(token_to(user.email))).pk == invitation.pk
    assert accept(invitation, user).role is Role.VIEWER
    with pytest.raises(Conflict, match="used already"):
        resend_invitation(invitation.pk, caller=team.owner)


def test_an_address_has_one_open_invitation_of_a_team(team: Team) -> None:
    email = f"guest-{team.slug}@example.com"
    first = invite(email, "viewer", caller=team.owner)
    with pytest.raises(Conflict, match="invited already"):
        invite(email, "admin", caller=team.owner)
    withdraw_invitation(first.pk, caller=team.owner)
    invite(email, "admin", caller=team.owner)
    member = team.member(Role.VIEWER)
    with pytest.raises(Conflict, match="member of this team already"):
        invite(email_of(member), "admin", caller=team.owner)


def test_who_has_lost_the_right_to_invite_lets_nobody_in_any_more(team: Team) -> None:
    admin, user = team.member(Role.ADMIN), make_user()
    invitation = invite(user.email, "admin", caller=admin)
    change_member(get_own_membership(caller=admin).pk, role="viewer", caller=team.owner)
    with pytest.raises(Forbidden, match="may no longer"):
        accept(invitation, user)
    resend_invitation(invitation.pk, caller=team.owner)
    assert accept(invitation, user).role is Role.ADMIN


def test_by_the_word_of_a_deleted_account_nobody_comes_in(team: Team) -> None:
    user = make_user()
    invitation = invite(user.email, "admin", caller=team.member(Role.ADMIN))
    with tenant_scope(team.tenant_id):
        # As the database does when the account goes.
        Invitation.objects.update(invited_by=None)
    with pytest.raises(Forbidden, match="account of whoever invited you is gone") as refused:
        accept(invitation, user)
    assert refused.value.code == "invitation_void"
    resend_invitation(invitation.pk, caller=team.owner)
    assert accept(invitation, user).role is Role.ADMIN


def test_the_word_of_the_teams_own_key_counts_and_that_of_a_persons_key_is_theirs(team: Team) -> None:
    operator = Caller(team.tenant_id, team.slug, actor="operator", role=Role.OWNER)
    own = issue_key("team", ["admin"], caller=operator)
    assert own.row.team_owned
    user = make_user()
    accept(invite(user.email, "viewer", caller=caller_for_key(own.key)), user)
    admin, other = team.member(Role.OWNER), make_user()
    sent = invite(other.email, "viewer", caller=caller_for_key(issue_key("k", ["admin"], caller=admin).key))
    assert sent.invited_by_id == admin.user_id
    team.part_with(admin)
    with pytest.raises(Forbidden, match="may no longer"):
        accept(sent, other)


def test_an_invitation_to_access_for_a_time_gives_that(team: Team) -> None:
    user, end = make_user(), timezone.now() + timedelta(days=30)
    accept(invite(user.email, "auditor", access_ends_at=end, caller=team.owner), user)
    assert caller_for_user(user.pk, user.email, team.slug).access_ends_at == end


def test_of_two_who_accept_at_once_one_does(team: Team) -> None:
    user = make_user()
    invitation = invite(user.email, "viewer", caller=team.owner)

    def attempt() -> bool:
        try:
            accept(invitation, user)
        except MarinaError:
            return False
        return True

    assert sum(do_at_once([attempt] * 4)) == 1
    with tenant_scope(team.tenant_id):
        assert Membership.objects.filter(user=user).count() == 1


def test_rest_lists_sends_again_and_withdraws(team: Team) -> None:
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/invitations"
    given = {"email": f"guest-{team.slug}@example.com", "role": "auditor", "expires_in_days": 3}
    made = rest.post(path, given)
    assert (made.status, made.body["status"], made.body["invited_by"]) == (201, "open", team.owner_email)
    assert "token" not in made.body
    own = f"{path}/{made.body['id']}"
    assert rest.post(f"{own}/resend").status == 200
    assert rest.delete(own).status == 204
    assert rest.get(own).body["status"] == "withdrawn"
    assert [row["id"] for row in rest.get(path).body["results"]] == [made.body["id"]]
    assert rest.post(f"{own}/resend").body["code"] == "invitation_withdrawn"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "a\r\nBcc: b@example.com"}, "email"),
        ({"role": "king"}, "role"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 31}, "expires_in_days"),
        ({"access_ends_at": "2001-01-01T00:00:00Z"}, "access_ends_at"),
        ({"tenant": 1}, "tenant"),
    ],
)
def test_an_invitation_that_cannot_be_is_refused_with_the_place(
    team: Team, change: dict[str, object], path: str
) -> None:
    given = {"email": "guest@example.com", "role": "viewer", **change}
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/invitations", given)
    assert (answer.status, answer.paths) == (400, {path})


def test_a_team_sends_so_many_letters_an_hour(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "LETTERS_OF_TEAM", 2)
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/invitations"
    answers = [
        rest.post(path, {"email": f"guest{number}-{team.slug}@example.com", "role": "viewer"})
        for number in range(3)
    ]
    assert [answer.status for answer in answers] == [201, 201, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert letters_to(f"guest2-{team.slug}@example.com") == []


def test_where_the_mail_server_fails_the_invitation_says_that_it_was_not_sent(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_mail_server(monkeypatch)
    before = len(mail.outbox)
    invitation = invite(make_user().email, "viewer", caller=team.owner)
    assert (invitation.sent_at, invitation.state(timezone.now())) == (None, "open")
    assert len(mail.outbox) == before


def test_the_directory_shows_an_invitation_only_to_link_and_address(team: Team) -> None:
    invitation = invite(make_user().email, "viewer", caller=team.owner)
    digest = token_digest(token_to(invitation.email))
    for scope, seen in (
        (partial(directory_scope, invitation_digest=digest), True),
        (partial(directory_scope, email=invitation.email), True),
        (partial(directory_scope, email=make_user().email), False),
        (partial(directory_scope, user_id=team.owner.user_id), False),
    ):
        with scope():
            assert Invitation.directory.filter(pk=invitation.pk).exists() is seen
