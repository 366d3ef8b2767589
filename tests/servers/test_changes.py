"""A change of what servers offer is counted in its transaction and announced after it, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from django.db import transaction

from servers.services.changes import publish_change
from servers.services.tools import list_tools, set_tool_enabled
from tenants.changes import CHANNEL
from tenants.models import Tenant
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.rest import Rest


@pytest.fixture
def heard() -> Iterator[redis.client.PubSub]:
    with redis.Redis.from_url(settings.ENV.redis_url) as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        assert channel.get_message(timeout=5)["type"] == "subscribe"
        yield channel


def announced(channel: redis.client.PubSub, team: Team) -> int:
    """How often this team was announced, of what has arrived by the time a last message does."""
    with redis.Redis.from_url(settings.ENV.redis_url) as client:
        client.publish(CHANNEL, "end")
    count = 0
    while (message := channel.get_message(timeout=5)) is not None and message["data"] != b"end":
        count += message["data"] == str(team.tenant_id).encode()
    return count


def version_of(team: Team) -> int:
    return Tenant.objects.get(pk=team.tenant_id).surface_version


def test_a_change_is_counted_and_announced(heard: redis.client.PubSub) -> None:
    team = make_team()
    before = version_of(team)
    with tenant_scope(team.tenant_id):
        publish_change(team.tenant_id)
        assert announced(heard, team) == 0
    assert version_of(team) == before + 1
    assert announced(heard, team) == 1


def test_a_change_that_is_rolled_back_is_neither(heard: redis.client.PubSub) -> None:
    team = make_team()
    before = version_of(team)
    with tenant_scope(team.tenant_id):
        publish_change(team.tenant_id)
        transaction.set_rollback(True)
    assert version_of(team) == before
    assert announced(heard, team) == 0


def test_revoking_a_key_is_announced_for_those_who_hold_its_grant(heard: redis.client.PubSub) -> None:
    team = make_team()
    rest = Rest.admin(team)
    key = rest.post(f"/tenants/{team.slug}/api-keys", {"name": "k", "scopes": ["tools:read"]}).body
    announced(heard, team)
    rest.delete(f"/tenants/{team.slug}/api-keys/{key['id']}")
    assert announced(heard, team) == 1


def test_what_changes_nothing_is_not_announced(heard: redis.client.PubSub) -> None:
    team = make_team()
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": "postgresql://u:p@db.example.com/d"}}
    Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body)
    tool = list_tools(caller=team.owner)[0]
    announced(heard, team)
    set_tool_enabled(tool.id, True, caller=team.owner)
    assert announced(heard, team) == 0
    set_tool_enabled(tool.id, False, caller=team.owner)
    assert announced(heard, team) == 1
