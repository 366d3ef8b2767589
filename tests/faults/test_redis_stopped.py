"""Redis stops while replicas hold credentials in memory: what is ended then ends on every one of them all the same."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from uuid import UUID

import pytest

from servers.services.grants import GRANT_SECONDS
from tenants.access import caller_for_key
from tenants.models import OAuthAuthorization
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.keys import revoke_key
from tenants.services.oauth_apps import end_connection, revoke_client
from tenants.services.oauth_flow import revoke_token
from tests.factories import Team, make_team
from tests.faults.stoppable import StoppableRedis
from tests.oauth.flows import App, make_app
from tests.plugins.live_marina import LiveMarina
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.timeout(180)


def connection_of(app: App) -> UUID:
    with tenant_scope(app.team.tenant_id):
        return OAuthAuthorization.objects.get(client=app.row).pk


def credentials(team: Team) -> dict[str, tuple[str, Callable[[], object]]]:
    """Credentials by what ends them, each with that."""
    leaver = team.member(Role.EDITOR)
    ended, shut_out, returned, left = (make_app(team) for _ in range(4))
    key = team.key()
    token = {
        app.row.pk: app.tokens(leaver if app is left else None)["access_token"]
        for app in (ended, shut_out, returned, left)
    }
    return {
        "key revoked": (
            key,
            lambda: revoke_key(caller_for_key(key).credential_id or UUID(int=0), caller=team.owner),
        ),
        "app disconnected": (
            token[ended.row.pk],
            lambda: end_connection(connection_of(ended), caller=team.owner),
        ),
        "client shut out": (
            token[shut_out.row.pk],
            lambda: revoke_client(shut_out.row.pk, caller=team.owner),
        ),
        "token revoked by its client": (
            token[returned.row.pk],
            lambda: revoke_token(
                {"token": token[returned.row.pk], "client_id": returned.row.client_id},
                authorization=None,
                tenant_id=team.tenant_id,
                tenant_slug=team.slug,
            ),
        ),
        "member removed": (token[left.row.pk], lambda: team.part_with(leaver)),
    }


def test_what_is_ended_while_redis_is_down_ends_on_every_replica(
    replicas: list[LiveMarina], redis: StoppableRedis
) -> None:
    team = make_team()
    given = credentials(team)
    doors = {
        (name, replica.port): Endpoint(replica.port, f"/mcp/{team.slug}", text)
        for name, (text, _) in given.items()
        for replica in replicas
    }
    redis.stop()
    # Held by each process from here on, with nobody to tell it otherwise.
    assert {door.modern("tools/list").status for door in doors.values()} == {200}
    for _, end in given.values():
        end()
    open_still, last = set(doors), monotonic()
    while open_still:
        assert monotonic() - last < 10 * GRANT_SECONDS, f"they still open: {open_still}"
        open_still = {place for place in open_still if doors[place].modern("tools/list").status == 200}
    statuses = {name: doors[name, replicas[1].port].modern("tools/list").status for name in given}
    assert statuses == dict.fromkeys(given, 401)
