"""Makes the bench's teams, through the services people use, and prints where they are. Run by the bench only.

``python -m tests.bench.prepare DSN UPSTREAM`` in Marina's environment; the output's last line is JSON: ``keys``, by
team, and ``import_seconds``, how long it took until the tools of an OpenAPI document were stored.
"""

from __future__ import annotations

import json
import secrets
import sys
from time import perf_counter

import django

django.setup()

from servers.models import Tool
from servers.services.caching import change_caching
from servers.services.onboarding import found_tenant
from servers.services.sources import create_source
from servers.services.tools import create_tool, list_tools
from tenants.access import Caller, caller_for_user
from tenants.models import User
from tenants.scoping import tenant_scope
from tenants.services.keys import issue_key
from tests.bench.document import make_document
from tests.bench.echo_kind import KIND, add_echo_kind
from tests.bench.offered import (
    BAD_TEAM,
    EATING,
    ECHO,
    KEPT,
    MANY_TEAM,
    PIPELINE,
    ROW_SQL,
    ROW_TOOL,
    SPINNING,
    UPSTREAMS,
    describe_pipeline,
)

KEYS = 4
KEPT_SECONDS = 3_600
"""Longer than any bench."""
_SCOPES = ["tools:read", "tools:execute", "resources:read", "prompts:read"]


def main(dsn: str, upstream: str) -> None:
    """A team a work: with 50 tools, 500, a tool of SQL, a thousand tools of a document, a pipeline,
    a tool that runs at a worker, an upstream server's, two hundred of those; and a bad one."""
    add_echo_kind()
    user = User.objects.create_user(f"bench-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12))
    made = {}
    for slug, count in (("bench-50", 50), ("bench-500", 500)):
        owner = _found(slug, user)
        create_source("bench", KIND, {"tools": count}, caller=owner)
        kept = next(tool for tool in list_tools(caller=owner) if tool.name == KEPT)
        change_caching(kept.pk, seconds=KEPT_SECONDS, caller=owner)
        # More than one credential: each may have so many streams open.
        made[slug] = [_key(owner) for _ in range(KEYS)]
    owner = _found("bench-sql", user)
    create_source("items", "postgres", {"dsn": dsn}, caller=owner)
    parameters = {"id": {"type": "integer", "description": "Which item", "required": True}}
    definition = {"sql": ROW_SQL.format(id=":id"), "parameters": parameters}
    rows = create_tool(ROW_TOOL, "items", "sql", definition, caller=owner)
    # All ask for one row, and each is to be read.
    change_caching(rows.pk, collapses=False, caller=owner)
    made["bench-sql"] = [_key(owner)]
    owner = _found("bench-1000", user)
    create_source("bench", KIND, {"tools": 1}, caller=owner)
    started = perf_counter()
    create_source("api", "http", {"openapi": make_document(), "allow_writes": True}, caller=owner)
    seconds = perf_counter() - started
    made["bench-1000"] = [_key(owner)]
    owner = _found("bench-flows", user)
    create_source("bench", KIND, {"tools": 1}, caller=owner)
    create_source("flows", "flows", {}, caller=owner)
    create_tool(PIPELINE, "flows", "pipeline", describe_pipeline(), caller=owner)
    made["bench-flows"] = [_key(owner)]
    owner = _found("bench-tasks", user)
    create_source("bench", KIND, {"tools": 1}, caller=owner)
    with tenant_scope(owner.tenant_id):
        Tool.objects.update(runs=Tool.Runs.WORKER)
    made["bench-tasks"] = [_key(owner)]
    owner = _found("bench-upstream", user)
    create_source("upstream", "mcp", {"url": upstream}, caller=owner)
    echo = next(tool for tool in list_tools(caller=owner) if tool.name == ECHO)
    # All ask the same, and each is to reach the upstream.
    change_caching(echo.pk, collapses=False, caller=owner)
    made["bench-upstream"] = [_key(owner)]
    owner = _found(MANY_TEAM, user)
    for number in range(UPSTREAMS):
        # All but the first get a prefix: the first one's names are taken.
        create_source(f"upstream-{number}", "mcp", {"url": upstream}, caller=owner)
    made[MANY_TEAM] = [_key(owner)]
    owner = _found(BAD_TEAM, user)
    create_source("items", "postgres", {"dsn": dsn}, caller=owner)
    create_source("toolkit", "toolkit", {}, caller=owner)
    create_source("code", "code", {"max_seconds": 0.5, "max_memory_mb": 64}, caller=owner)
    create_tool(SPINNING, "code", "python", {"code": "while True:\n    pass"}, caller=owner)
    create_tool(EATING, "code", "python", {"code": "[0] * 10**9"}, caller=owner)
    made[BAD_TEAM] = [_key(owner), issue_key("rest", ["admin"], expires_in_days=1, caller=owner).key]
    print(json.dumps({"keys": made, "import_seconds": seconds}))


def _found(slug: str, user: User) -> Caller:
    found_tenant(slug, f"Bench {slug}", user.pk)
    return caller_for_user(user.pk, user.email, slug)


def _key(owner: Caller) -> str:
    return issue_key("bench", _SCOPES, expires_in_days=1, caller=owner).key


if __name__ == "__main__":
    main(*sys.argv[1:])
