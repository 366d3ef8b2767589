"""Somebody of a team with the dashboard open, signed in. Tests of signing in do that themselves."""

from __future__ import annotations

from django.test import Client

from tenants.models import User
from tenants.roles import Role
from tests.factories import Team


def signed_in(user: User) -> Client:
    """A browser of this person's."""
    client = Client()
    client.force_login(user)
    return client


def client_of(team: Team, role: Role = Role.OWNER) -> Client:
    """The owner's, or that of a new member with this role."""
    caller = team.owner if role is Role.OWNER else team.member(role)
    assert caller.user_id is not None
    return signed_in(User.objects.get(pk=caller.user_id))
