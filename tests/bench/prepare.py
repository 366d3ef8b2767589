"""Makes the bench's teams, through the services people use, and prints where they are. Run by the bench only.

``python -m tests.bench.prepare DSN`` in Marina's environment; the output's last line is JSON, team → keys.
"""

from __future__ import annotations

import json
import secrets
import sys

import django

django.setup()

from servers.services.onboarding import found_tenant
from servers.services.sources import create_source
from servers.services.tools import create_tool
from tenants.access import Caller, caller_for_user
from tenants.models import User
from tenants.services.keys import issue_key
from tests.bench.echo_kind import KIND, add_echo_kind
from tests.bench.offered import ROW_SQL, ROW_TOOL

KEYS = 4
_SCOPES = ["tools:read", "tools:execute", "resources:read", "prompts:read"]


def main(dsn: str) -> None:
    """A team with 50 tools, one with 500, and one with a tool of SQL."""
    add_echo_kind()
    user = User.objects.create_user(f"bench-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12))
    made = {}
    for slug, count in (("bench-50", 50), ("bench-500", 500)):
        owner = _found(slug, user)
        create_source("bench", KIND, {"tools": count}, caller=owner)
        # More than one credential: each may have so many streams open.
        made[slug] = [_key(owner) for _ in range(KEYS)]
    owner = _found("bench-sql", user)
    create_source("items", "postgres", {"dsn": dsn}, caller=owner)
    parameters = {"id": {"type": "integer", "description": "Which item", "required": True}}
    definition = {"sql": ROW_SQL.format(id=":id"), "parameters": parameters}
    create_tool(ROW_TOOL, "items", "sql", definition, caller=owner)
    made["bench-sql"] = [_key(owner)]
    print(json.dumps(made))


def _found(slug: str, user: User) -> Caller:
    found_tenant(slug, f"Bench {slug}", user.pk)
    return caller_for_user(user.pk, user.email, slug)


def _key(owner: Caller) -> str:
    return issue_key("bench", _SCOPES, expires_in_days=1, caller=owner).key


if __name__ == "__main__":
    main(sys.argv[1])
