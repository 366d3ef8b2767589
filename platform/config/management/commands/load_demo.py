"""Makes the two demo tenants, their sources, tools, members and keys, through the services people use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from config.demo.airports import Reader, prepare_demo_database, reader_url
from config.demo.tools import AIRPORT_TOOLS
from config.env import Env
from config.startup import require_master_key
from core.crypto import derive_text
from core.errors import Unauthenticated
from servers.services.onboarding import found_tenant
from servers.services.source_checks import test_source
from servers.services.sources import (
    create_source,
    execution_source,
    list_sources,
    update_source,
)
from servers.services.tools import create_tool, list_tools
from tenants.access import Caller, caller_for_key, caller_of_member
from tenants.models import Tenant, User
from tenants.roles import SCOPES, Role
from tenants.services.keys import issue_key
from tenants.services.members import add_member, list_members

_DEMO = ("demo", "Demo team", "airports", "aviation")
_SECOND = ("second", "Second team", "countries", "statistics")
_TOOLKIT = "toolkit"
_CLIENT_SCOPES = ["tools:read", "tools:execute", "resources:read", "prompts:read"]
"""What the keys for MCP clients may do: see all that a server offers, and call it."""
_FIRST_CALL = {"name": "find_airport", "arguments": {"code": "LHR"}}


class Command(BaseCommand):
    help = "Make the demo tenants on real data. Safe to run again: what exists stays."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """``--json-out``: where the sign-ins and keys are written, and found again by the next run."""
        parser.add_argument("--json-out", type=Path, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        """Make what is missing. A key that still works is kept, since keys cannot be read back."""
        require_master_key()
        env: Env = settings.ENV
        out: Path = options["json_out"]
        known: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
        readers = {
            slug: Reader(
                f"demo_{env_database(env)}_{source}",
                derive_text(env.master_key, f"demo-reader:{slug}"),
                schema,
            )
            for slug, _, source, schema in (_DEMO, _SECOND)
        }
        database_url = prepare_demo_database(env.database_url, list(readers.values()))

        users = {role.value: self._user("demo", role) for role in Role}
        owner = self._tenant(_DEMO, users["owner"])
        second = known.get("second", {})
        second_user = self._user("second", Role.OWNER)
        second_owner = self._tenant(_SECOND, second_user)
        # What a person deleted since the first load stays deleted: only what was never made is made.
        furnish = not known
        self._source(_DEMO[2], reader_url(database_url, readers["demo"]), owner, create=furnish)
        self._source(_SECOND[2], reader_url(database_url, readers["second"]), second_owner, create=furnish)
        if furnish:
            for role in Role:
                if role is not Role.OWNER:
                    self._member(users[role.value]["email"], role, owner)
            self._tools(owner)
            self._toolkit(owner)

        tools = {tool.name for tool in list_tools(caller=owner) if tool.enabled}
        result = {
            "tenant": owner.tenant_slug,
            "mcp_path": f"/mcp/{owner.tenant_slug}",
            "first_call": _FIRST_CALL if _FIRST_CALL["name"] in tools else None,
            "api_key": self._key(known.get("api_key"), "Demo key", _CLIENT_SCOPES, owner),
            "admin_key": self._key(known.get("admin_key"), "Demo admin key", list(SCOPES), owner),
            "users": users,
            "second": {
                "tenant": second_owner.tenant_slug,
                "api_key": self._key(second.get("api_key"), "Second key", _CLIENT_SCOPES, second_owner),
                "users": {"owner": second_user},
            },
        }
        partial = out.with_name(out.name + ".part")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(result, file, indent=2)
        partial.replace(out)

    def _user(self, team: str, role: Role) -> dict[str, str]:
        email = f"{role.value}@{team}.example"
        # Derived, so that a lost file changes nothing. A password that a person changed is theirs: it stays.
        password = derive_text(settings.ENV.master_key, f"demo-password:{email}")[:20]
        user = User.objects.filter(email=email).first()
        if user is None:
            User.objects.create_user(email, password, name=f"{role.value.title()} of the {team} team")
        elif not user.check_password(password):
            password = ""
        return {"email": email, "password": password}

    def _tenant(self, plan: tuple[str, str, str, str], user: dict[str, str]) -> Caller:
        owner = User.objects.get(email=user["email"])
        if not Tenant.objects.filter(slug=plan[0]).exists():
            found_tenant(plan[0], plan[1], owner.pk)
        return caller_of_member(owner.pk, owner.email, plan[0])

    def _member(self, email: str, role: Role, caller: Caller) -> None:
        if all(member.user.email != email for member in list_members(caller=caller)):
            add_member(email, role.value, caller=caller)

    def _tools(self, caller: Caller) -> None:
        present = {tool.name for tool in list_tools(caller=caller)}
        for name, tool in AIRPORT_TOOLS.items():
            if name not in present:
                create_tool(name, _DEMO[2], "sql", tool, caller=caller)

    def _toolkit(self, caller: Caller) -> None:
        if all(row.kind != _TOOLKIT for row in list_sources(caller=caller)):
            made = create_source(_TOOLKIT, _TOOLKIT, {}, caller=caller)
            test_source(made.id, caller=caller)

    def _source(self, name: str, dsn: str, caller: Caller, *, create: bool) -> None:
        source = next((row for row in list_sources(caller=caller) if row.name == name), None)
        if source is None:
            if create:
                made = create_source(name, "postgres", {"dsn": dsn}, caller=caller)
                test_source(made.id, caller=caller)
        elif (source.settings.get("host"), str(source.settings.get("port"))) != address_of(dsn) or (
            source.settings.get("user") == urlsplit(dsn).username
            and execution_source(source).settings.get("dsn") != dsn
        ):
            # An embedded PostgreSQL may come back on another port, and another master key makes another password.
            update_source(source.id, settings={"dsn": dsn}, caller=caller)

    def _key(self, known: str | None, name: str, scopes: list[str], caller: Caller) -> str:
        if known:
            try:
                caller_for_key(known, tenant_slug=caller.tenant_slug)
                return known
            except Unauthenticated:
                self.stdout.write(f"{name}: the former key no longer works, a new one was issued.")
        return issue_key(name, scopes, expires_in_days=365, caller=caller).key


def env_database(env: Env) -> str:
    """The name of Marina's own database: demo roles carry it, since roles belong to the whole cluster."""
    return env.database_url.rpartition("/")[2].partition("?")[0]


def address_of(dsn: str) -> tuple[str | None, str]:
    """Host and port of a database URL."""
    parts = urlsplit(dsn)
    return parts.hostname, str(parts.port or 5432)
