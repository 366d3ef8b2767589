"""Who ends what clients may do, and who asks for tokens meanwhile, take turns, and never wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.db import connection

from core.errors import Unauthenticated
from tenants.models import Membership
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services import oauth_server
from tenants.services.oauth_apps import revoke_client
from tenants.tokens import caller_for_token
from tests.factories import Team
from tests.oauth.flows import App
from tests.together import apart


class Held:
    """A token request that stands still, with its locks, until another connection waits for one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        within = oauth_server._within_rights

        def held(*arguments: Any) -> list[str]:
            self.reached.set()
            self._until_somebody_waits()
            return within(*arguments)

        monkeypatch.setattr(oauth_server, "_within_rights", held)

    def _until_somebody_waits(self) -> None:
        pause = threading.Event()
        for _ in range(500):
            with connection.cursor() as cursor:
                # Not pg_stat_activity: within a transaction that knows nobody who came after the first look.
                cursor.execute("SELECT pg_backend_pid() = ANY(pg_blocking_pids(pid)) FROM pg_locks")
                if (True,) in cursor.fetchall():
                    return
            pause.wait(0.02)


@pytest.mark.parametrize("ending", ["client", "member"])
@pytest.mark.parametrize("asking", ["refresh", "code"])
def test_ending_during_a_token_request_waits_for_it_and_ends_what_it_gave(
    team: Team, app: App, monkeypatch: pytest.MonkeyPatch, ending: str, asking: str
) -> None:
    member = team.member(Role.EDITOR)
    if asking == "code":
        ask = partial(app.exchange, app.code(member))
    else:
        ask = partial(app.refresh, app.tokens(member)["refresh_token"])
    end: Callable[[], object] = (
        partial(revoke_client, app.row.pk, caller=team.owner)
        if ending == "client"
        else partial(team.part_with, member)
    )
    held = Held(monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(apart(ask))
        assert held.reached.wait(60)
        ended = pool.submit(apart(end))
        answer = asked.result(60)
        ended.result(60)
    assert answer.status == 200
    with pytest.raises(Unauthenticated):
        caller_for_token(answer.body["access_token"], tenant_slug=team.slug)
    if ending == "member":
        with tenant_scope(team.tenant_id):
            assert not Membership.objects.filter(user_id=member.user_id or 0).exists()
