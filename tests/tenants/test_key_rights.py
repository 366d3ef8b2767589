"""A key may do no more than its maker may now, also over keys made by keys; what becomes of it is told."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.errors import Forbidden
from tenants.access import Caller, caller_for_key
from tenants.models import ApiKey, Membership, User
from tenants.roles import ALLOWED, SCOPES, Action, Role
from tenants.scoping import directory_scope, tenant_scope
from tenants.services.keys import issue_key, roll_key
from tenants.services.members import add_member
from tests.factories import Team, email_of, make_team
from tests.rest import Rest


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.mark.parametrize("role", list(Role))
def test_a_key_may_do_what_its_scopes_and_its_makers_role_both_allow(team: Team, role: Role) -> None:
    maker = team.member(Role.OWNER)
    key = issue_key("k", ["admin"], caller=maker).key
    team.give_role(maker, role)
    caller = caller_for_key(key)
    assert {action for action in Action if caller.may(action)} == ALLOWED[role]


def test_a_role_that_grows_again_gives_the_rights_back(team: Team) -> None:
    maker = team.member(Role.ADMIN)
    key = issue_key("k", ["audit:read"], caller=maker).key
    team.give_role(maker, Role.EDITOR)
    assert not caller_for_key(key).may(Action.AUDIT_READ)
    team.give_role(maker, Role.ADMIN)
    assert caller_for_key(key).may(Action.AUDIT_READ)


def close_account(team: Team, maker: Caller) -> None:
    assert maker.user_id is not None
    User.objects.filter(pk=maker.user_id).update(is_active=False)


def forget(team: Team, maker: Caller) -> None:
    with tenant_scope(team.tenant_id):
        ApiKey.objects.filter(created_by_id=maker.user_id).update(created_by=None)


@pytest.mark.parametrize(
    ("happens", "because"),
    [
        (Team.part_with, "The key's maker is no longer a member of the team"),
        (close_account, "The account of the key's maker is closed"),
        (forget, "It is not known who made this key"),
    ],
)
def test_a_key_whose_maker_is_gone_may_do_nothing_and_says_why(
    team: Team, happens: Any, because: str
) -> None:
    maker = team.member(Role.ADMIN)
    issued = issue_key("k", ["tools:read", "tool:x"], caller=maker)
    happens(team, maker)
    caller = caller_for_key(issued.key)
    assert not any(caller.may(action) for action in Action)
    with pytest.raises(Forbidden, match=because) as refused:
        caller.require(Action.TOOLS_READ)
    assert (refused.value.rule, refused.value.code) == ("maker:tools.read", "maker_bound")
    shown = Rest.admin(team).get(f"/tenants/{team.slug}/api-keys/{issued.row.pk}").body
    assert shown["reduced_because"] == f"{because}."
    assert shown["reduced_scopes"] == [{"scope": "tools:read", "lost": ["tools.read"], "void": True}]


def test_a_role_elsewhere_gives_a_key_nothing(team: Team) -> None:
    maker = team.member(Role.ADMIN)
    key = issue_key("k", ["audit:read"], caller=maker).key
    team.part_with(maker)
    other = make_team()
    add_member(email_of(maker), "owner", caller=other.owner)
    assert not caller_for_key(key).may(Action.AUDIT_READ)


def test_rest_refuses_a_key_whose_makers_role_shrank_and_names_the_reason(team: Team) -> None:
    maker = team.member(Role.ADMIN)
    key = issue_key("k", ["audit:read", "tools:read"], caller=maker).key
    path = f"/tenants/{team.slug}/audit/records"
    assert Rest(key).get(path).status == 200
    team.give_role(maker, Role.VIEWER)
    refused = Rest(key).get(path)
    assert (refused.status, refused.body["code"]) == (403, "maker_bound")
    assert refused.body["detail"].startswith("The key's maker is now a viewer")
    assert Rest(key).get(f"/tenants/{team.slug}/tools").status == 200


def test_a_key_made_by_a_key_is_bound_to_the_person_behind_it(team: Team) -> None:
    maker = team.member(Role.OWNER)
    first = issue_key("first", ["admin"], caller=maker)
    rest = Rest(first.key)
    path = f"/tenants/{team.slug}/api-keys"
    second = rest.post(path, {"name": "second", "scopes": ["admin"]}).body
    third = Rest(second["key"]).post(path, {"name": "third", "scopes": ["audit:read", "tools:read"]}).body
    assert third["created_by"] == email_of(maker)
    assert (second["made_with"], third["made_with"]) == (str(first.row.pk), second["id"])
    team.give_role(maker, Role.VIEWER)
    caller = caller_for_key(third["key"])
    assert (caller.may(Action.AUDIT_READ), caller.may(Action.TOOLS_READ)) == (False, True)
    assert rest.post(path, {"name": "fourth", "scopes": ["tools:read"]}).body["code"] == "maker_bound"


def test_a_key_of_the_team_itself_depends_on_nobody(team: Team) -> None:
    operator = Caller(team.tenant_id, team.slug, actor="operator", role=Role.OWNER)
    issued = issue_key("k", ["admin"], caller=operator)
    assert all(caller_for_key(issued.key).may(action) for action in Action)
    assert (issued.row.team_owned, issued.row.created_by) == (True, None)
    made = issue_key("made", ["audit:read"], caller=caller_for_key(issued.key))
    assert made.row.team_owned


def test_who_rolls_a_key_becomes_its_maker(team: Team) -> None:
    maker, heir = team.member(Role.ADMIN), team.member(Role.ADMIN)
    row = issue_key("k", ["audit:read"], caller=maker).row
    team.part_with(maker)
    rolled = roll_key(row.pk, caller=heir)
    assert caller_for_key(rolled.key).may(Action.AUDIT_READ)
    assert rolled.row.created_by_id == heir.user_id


def test_nobody_gets_rights_by_rolling_a_key(team: Team) -> None:
    row = issue_key("k", ["admin"], caller=team.owner).row
    with pytest.raises(Forbidden) as refused:
        roll_key(row.pk, caller=team.member(Role.ADMIN))
    assert refused.value.code == "scope_exceeds_rights"


def test_the_page_of_an_owners_key_tells_of_no_reduction(team: Team) -> None:
    row = issue_key("k", list(SCOPES), caller=team.owner).row
    shown = Rest.admin(team).get(f"/tenants/{team.slug}/api-keys/{row.pk}").body
    assert (shown["reduced_scopes"], shown["reduced_because"]) == ([], "")


def test_a_key_is_looked_up_by_one_query(team: Team) -> None:
    key = team.key()
    with CaptureQueriesContext(connection) as queries:
        caller_for_key(key)
    assert len([query for query in queries if "tenants_apikey" in query["sql"]]) == 1


def test_the_look_up_of_a_key_shows_its_makers_membership_and_no_other(team: Team) -> None:
    maker = team.member(Role.ADMIN)
    add_member(email_of(maker), "viewer", caller=make_team().owner)
    issued = issue_key("k", ["tools:read"], caller=maker)
    with tenant_scope(team.tenant_id):
        digest = bytes(ApiKey.objects.get(pk=issued.row.pk).digest)
    with directory_scope(key_digest=digest):
        seen = list(Membership.directory.values_list("tenant_id", "user_id"))
    assert seen == [(team.tenant_id, maker.user_id)]
    with directory_scope():
        assert not Membership.directory.exists()


def test_the_operators_command_makes_a_key_of_the_team_itself(team: Team) -> None:
    output = StringIO()
    call_command("issue_key", team.slug, name="Deployer", scope=["tools:read"], test=True, stdout=output)
    key = output.getvalue().strip()
    caller = caller_for_key(key)
    assert (key.startswith("mcp_test_"), caller.may(Action.TOOLS_READ)) == (True, True)
    (row,) = Rest.admin(team).get(f"/tenants/{team.slug}/api-keys").body["results"][1:]
    assert (row["id"], row["team_owned"], row["created_by"]) == (str(caller.credential_id), True, None)
    with pytest.raises(CommandError, match="scopes"):
        call_command("issue_key", team.slug, name="Deployer", scope=["everything"])
    with pytest.raises(CommandError, match="no team"):
        call_command("issue_key", "no-such-team", name="Deployer", scope=["tools:read"])
