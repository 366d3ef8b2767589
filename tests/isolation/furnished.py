"""A team with one of everything, for tests that hold two teams against each other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from config.isolation.teams import make_ended_task, make_paused_schedule
from servers.services.named_secrets import create_secret
from servers.services.prompts import list_prompts
from servers.services.resources import list_resources
from servers.services.served_versions import serve_version
from servers.services.servers import create_server
from servers.services.sources import create_source
from servers.services.tools import list_tools
from tenants.models import Membership, ProviderIdentity
from tenants.oauth_steps import Kind, Step, sealed
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.export_schedules import create_schedule
from tenants.services.exports import start_export
from tenants.services.invitations import invite
from tenants.services.keys import list_keys
from tenants.services.oauth_apps import list_connections
from tenants.services.oauth_steps import Noted, keep_steps
from tenants.services.outside_issuers import create_issuer
from tenants.services.retention import place_hold
from tenants.services.sso_providers import ProviderSettings, create_provider
from tenants.services.streams import create_stream, send_test
from tests.factories import Team, make_database, make_team
from tests.oauth.flows import make_app
from tests.shelf import add_shelf_kind, fill_shelf

UNKNOWN_UUID = "6f1c1d0e-0000-4000-8000-000000000000"
UNKNOWN_NUMBER = "987654321987"


@dataclass(frozen=True)
class Furnished:
    """The team, an admin key of it, and the ids of its things by the name that routes use."""

    team: Team
    key: str
    ids: dict[str, str]

    def marks_in(self, text: str) -> list[str]:
        """What of this team stands in ``text``. Small numbers are left out: they may be anything."""
        marks = [self.team.slug, self.team.owner_email]
        marks += [value for name, value in self.ids.items() if name not in {"seq", "member"}]
        return [mark for mark in marks if mark in text]


def furnish() -> Furnished:
    """Make such a team, its data source on a real database."""
    team = make_team()
    caller = team.owner
    dsn = make_database("CREATE TABLE planes (id int PRIMARY KEY); INSERT INTO planes VALUES (1)")
    source = create_source("airports", "postgres", {"dsn": dsn}, caller=caller)
    add_shelf_kind()
    fill_shelf("isolation", resources=["shelf://readme"], prompts=["review"])
    create_source("books", "shelf", {"shelf": "isolation"}, caller=caller)
    server = create_server("extra", "Extra", "private", ["airports"], caller=caller)
    export = start_export("jsonl", None, datetime.now(UTC), {}, caller=caller)
    schedule = create_schedule(
        {"name": "Archive", "bucket": "archive", "access_key": "AKID", "secret_key": "of-this-team"},
        caller=caller,
    )
    served = serve_version(server.pk, "query_database", 1, "pin", caller=caller)
    member = team.member(Role.VIEWER)
    invitation = invite(f"guest-of-{team.slug}@example.com", "viewer", caller=caller)
    key = team.key("admin")
    assert member.user_id is not None
    with tenant_scope(team.tenant_id):
        membership = Membership.objects.get(user_id=member.user_id)
    connected = make_app(team)
    connected.tokens()
    issuer = create_issuer({"name": "corp", "issuer": f"https://{team.slug}.example.com"}, caller=caller)
    secret = create_secret("stripe-key", value=f"value of {team.slug}", caller=caller)
    step = sealed(Step(Kind.ISSUER_METADATA, time.time(), ok=True, status=200, agent=team.slug))
    keep_steps([Noted(team.tenant_id, step)])
    provider = create_provider(
        ProviderSettings("Acme", "https://id.acme.example", "marina", ("acme.example",)), caller=caller
    )
    with tenant_scope(team.tenant_id):
        identity = ProviderIdentity.objects.create(provider=provider, user_id=member.user_id, subject="s")
        task = make_ended_task(caller, "default", "query_database")
        tool_schedule = make_paused_schedule(caller, "default", "query_database")
    stream = create_stream(
        "webhook", {"name": "siem", "url": "https://127.0.0.1:9/"}, caller=caller
    ).standing.row
    delivery = send_test(stream.pk, caller=caller)
    ids = {
        "hold": place_hold(f"matter of {team.slug}", caller=caller).pk,
        "stream": stream.pk,
        "delivery": delivery.pk,
        "issuer": issuer.pk,
        "secret": secret.pk,
        "provider": provider.pk,
        "identity": identity.pk,
        "connection": list_connections(caller=caller)[0].pk,
        "client": connected.row.pk,
        "timeline": step.id,
        "member": membership.pk,
        "invitation": invitation.pk,
        "key": list_keys(caller=caller)[0].pk,
        "seq": 1,
        "export": export.pk,
        "task": task.pk,
        "schedule": schedule.pk,
        "tool_schedule": tool_schedule.pk,
        "source": source.pk,
        "tool": list_tools(caller=caller)[0].pk,
        "resource": list_resources(caller=caller)[0].pk,
        "prompt": list_prompts(caller=caller)[0].pk,
        "server": server.pk,
        "served": served.pk,
    }
    return Furnished(team, key, {name: str(value) for name, value in ids.items()})
