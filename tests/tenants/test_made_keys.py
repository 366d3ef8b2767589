"""Keys that were made with a key: they end with it, whether it expires or is revoked, and not when it is rolled."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from core.errors import Unauthenticated
from tenants.access import Caller, caller_for_key
from tenants.models import ApiKey
from tenants.scoping import tenant_scope
from tenants.services.keys import IssuedKey, issue_key, revoke_key, roll_key
from tenants.services.log import search_records
from tests.factories import Team, make_team


@pytest.fixture
def team() -> Team:
    return make_team()


def made_with(maker: IssuedKey | Caller, days: int = 90, name: str = "made") -> IssuedKey:
    """A key that may issue keys itself, made by a person or with another key."""
    caller = maker if isinstance(maker, Caller) else caller_for_key(maker.key)
    return issue_key(name, ["admin"], days, caller=caller)


def end_of(issued: IssuedKey) -> datetime:
    assert issued.row.expires_at is not None
    return issued.row.expires_at


def works(issued: IssuedKey) -> bool:
    try:
        return bool(caller_for_key(issued.key).scopes)
    except Unauthenticated:
        return False


def test_made_key_outlives_no_maker(team: Team) -> None:
    parent = made_with(team.owner, 10)
    child = made_with(parent, 90)
    grandchild = made_with(child, 3650)
    assert end_of(child) == end_of(grandchild) == end_of(parent)
    assert end_of(made_with(parent, 1)) < end_of(parent)


def test_key_rolled_with_another_ends_with_that_one(team: Team) -> None:
    old = issue_key("old", ["tools:read"], 365, caller=team.owner)
    parent = made_with(team.owner, 10)
    assert end_of(roll_key(old.row.pk, caller=caller_for_key(parent.key))) == end_of(parent)


def test_key_that_rolls_itself_goes_on_as_its_successor(team: Team) -> None:
    old = made_with(team.owner, 10)
    new = roll_key(old.row.pk, 1, caller=caller_for_key(old.key))
    assert end_of(new) > timezone.now() + timedelta(days=9)
    revoke_key(old.row.pk, caller=team.owner)
    assert works(new)


def test_revoked_key_takes_along_what_it_made_and_nothing_else(team: Team) -> None:
    parent, other = made_with(team.owner), made_with(team.owner)
    child, stranger = made_with(parent), made_with(other)
    grandchildren = [made_with(child), made_with(child)]
    revoke_key(parent.row.pk, caller=team.owner)
    assert not any(works(each) for each in (parent, child, *grandchildren))
    assert works(other)
    assert works(stranger)
    assert len(search_records(kind="key.revoked", caller=team.owner).records) == 4
    revoke_key(parent.row.pk, caller=team.owner)
    assert len(search_records(kind="key.revoked", caller=team.owner).records) == 4


def test_revoked_child_leaves_its_maker(team: Team) -> None:
    parent = made_with(team.owner)
    child = made_with(parent)
    revoke_key(child.row.pk, caller=team.owner)
    assert works(parent)


def test_what_a_key_made_before_it_was_rolled_ends_with_its_successor(team: Team) -> None:
    old = made_with(team.owner)
    child = made_with(old)
    new = roll_key(old.row.pk, 1, caller=team.owner)
    assert works(child)
    revoke_key(new.row.pk, caller=team.owner)
    assert not works(child)


def test_successor_that_a_made_key_rolled_itself_into_ends_too(team: Team) -> None:
    parent = made_with(team.owner)
    child = made_with(parent)
    heir = roll_key(child.row.pk, 1, caller=caller_for_key(child.key))
    taken_over = made_with(parent)
    rescued = roll_key(taken_over.row.pk, 1, caller=team.owner)
    revoke_key(parent.row.pk, caller=team.owner)
    assert not works(heir)
    assert works(rescued)


def test_revoked_key_makes_nothing_with_a_caller_that_is_still_held(team: Team) -> None:
    parent = made_with(team.owner)
    held = caller_for_key(parent.key)
    revoke_key(parent.row.pk, caller=team.owner)
    with pytest.raises(Unauthenticated):
        made_with(held)
    with tenant_scope(team.tenant_id):
        assert ApiKey.objects.filter(made_with=parent.row.pk).count() == 0
