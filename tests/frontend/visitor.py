"""Somebody of a team with the dashboard open, signed in: at once, or as people do, by their password."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client

from tenants.models import User
from tenants.roles import Role
from tests.factories import PASSWORD, Team


def signed_in(user: User) -> Client:
    """A browser of this person's."""
    client = Client()
    client.force_login(user)
    return client


def by_password(email: str, client: Client | None = None) -> Client:
    """A browser whose person gave the right password in the form: they are in, unless a second step is asked for."""
    browser = client or Client()
    browser.post("/app/sign-in", {"email": email, "password": PASSWORD})
    return browser


def is_signed_in(client: Client) -> bool:
    return client.get("/app/account/").status_code == 200


def client_of(team: Team, role: Role = Role.OWNER) -> Client:
    """The owner's, or that of a new member with this role."""
    caller = team.owner if role is Role.OWNER else team.member(role)
    assert caller.user_id is not None
    return signed_in(User.objects.get(pk=caller.user_id))


def confirming(shown: Any) -> dict[str, str]:
    """What the button below differences sends."""
    found = re.search(r'name="fingerprint" value="([0-9a-f]{64})"', shown.content.decode())
    assert found is not None
    return {"fingerprint": found[1]}
