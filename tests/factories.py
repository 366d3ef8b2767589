"""Makes tenants, members and keys for tests, each unique, through the services that people use."""

from __future__ import annotations

import itertools
import os
import secrets
from dataclasses import dataclass

import psycopg
from django.conf import settings
from psycopg import sql

from servers.models import Server
from servers.services.onboarding import found_tenant
from servers.services.tools import list_tools, set_tool_enabled
from tenants.access import Caller, caller_for_user
from tenants.models import User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.keys import issue_key
from tenants.services.members import add_member, change_member, get_own_membership, remove_member

_numbers = itertools.count(1)
PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Team:
    """A tenant of its own, with its owner."""

    slug: str
    owner: Caller
    owner_email: str

    @property
    def tenant_id(self) -> int:
        return self.owner.tenant_id

    def member(self, role: Role) -> Caller:
        """A new member of the team with this role."""
        email = make_user().email
        add_member(email, role.value, caller=self.owner)
        user = User.objects.get(email=email)
        return caller_for_user(user.pk, user.email, self.slug)

    def give_role(self, member: Caller, role: Role) -> None:
        """Make a member's role this one, whatever it was."""
        change_member(get_own_membership(caller=member).pk, role=role.value, caller=self.owner)

    def part_with(self, member: Caller) -> None:
        """End a membership."""
        remove_member(get_own_membership(caller=member).pk, caller=self.owner)

    def key(self, *scopes: str, name: str = "test key", expires_in_days: int = 1) -> str:
        """A new API key's text. All of reading and calling tools when no scope is given."""
        wanted = list(scopes) or ["tools:read", "tools:execute"]
        return issue_key(name, wanted, expires_in_days=expires_in_days, caller=self.owner).key


def email_of(caller: Caller) -> str:
    """The address of a person's account."""
    return User.objects.get(pk=caller.user_id or 0).email


def make_user(**values: str) -> User:
    """A user who signs in with ``PASSWORD``."""
    email = f"user{next(_numbers)}-{secrets.token_hex(4)}@example.com"
    return User.objects.create_user(email, PASSWORD, **values)


def make_team(name: str = "Team") -> Team:
    """A new tenant with its owner."""
    owner = make_user()
    slug = f"t{os.getpid()}-{next(_numbers)}-{secrets.token_hex(3)}"
    found_tenant(slug, name, owner.pk)
    return Team(slug, caller_for_user(owner.pk, owner.email, slug), owner.email)


def add_server(team: Team, slug: str) -> None:
    """Another server of the team's, which offers all that it has."""
    with tenant_scope(team.tenant_id):
        Server.objects.create(slug=slug, title=slug.capitalize(), offers_all=True)


def switch_tool(team: Team, name: str, enabled: bool) -> None:
    """Switch a tool on or off, as a person in the dashboard does."""
    tool = next(tool for tool in list_tools(caller=team.owner) if tool.name == name)
    set_tool_enabled(tool.pk, enabled, caller=team.owner)


def make_database(statements: str, *, schema: str = "public") -> str:
    """A database of its own with what ``statements`` make in it. Returns the DSN of a role that may read it."""
    name = f"source_{os.getpid()}_{next(_numbers)}_{secrets.token_hex(3)}"
    password = secrets.token_urlsafe(12)
    bootstrap = settings.ENV.database_url
    with psycopg.connect(bootstrap, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
        )
    base = bootstrap.rpartition("/")[0]
    with psycopg.connect(f"{base}/{name}", autocommit=True) as connection:
        connection.execute(statements.encode())
        for grant in (
            "GRANT USAGE ON SCHEMA {schema} TO {role}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
        ):
            connection.execute(
                sql.SQL(grant).format(schema=sql.Identifier(schema), role=sql.Identifier(name))
            )
    address = base.rpartition("@")[2]
    return f"postgresql://{name}:{password}@{address}/{name}"
