"""What expired long ago goes, in every team; what is in use, or was shut out for good, stays."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db.models import Model
from django.utils import timezone

from tenants import sweeping, tasks
from tenants.models import (
    Invitation,
    OAuthAccessToken,
    OAuthAuthorization,
    OAuthClient,
    OAuthCode,
    OAuthRefreshToken,
    SignIn,
)
from tenants.scoping import tenant_scope
from tenants.services.invitations import invite
from tenants.sweeping import sweep_people, sweep_tenant
from tests.factories import Team, make_team, make_user
from tests.oauth.flows import make_app, make_service
from tests.tenants.rounds import begin_with
from tests.together import apart

LONG_AGO = timedelta(days=400)


@pytest.fixture
def team() -> Team:
    return make_team()


def count(team: Team, *kinds: Any) -> list[int]:
    with tenant_scope(team.tenant_id):
        return [kind.objects.count() for kind in kinds]


def age(team: Team, kind: Any, **fields: Any) -> None:
    with tenant_scope(team.tenant_id):
        kind.objects.update(**fields)


def test_codes_and_tokens_go_a_day_after_they_expired(team: Team) -> None:
    make_app(team).tokens()
    for days, left in ((0.5, [1, 1]), (1.5, [0, 0])):
        then = timezone.now() - timedelta(days=days)
        age(team, OAuthAccessToken, expires=then)
        age(team, OAuthCode, expires=then)
        sweep_tenant(team.tenant_id)
        assert count(team, OAuthAccessToken, OAuthCode) == left
    assert count(team, OAuthAuthorization, OAuthRefreshToken, OAuthClient) == [1, 1, 1]


@pytest.mark.parametrize("field", ["expires_at", "revoked_at"])
def test_authorization_that_ended_goes_with_all_of_it(team: Team, field: str) -> None:
    make_app(team).tokens()
    age(team, OAuthAuthorization, **{field: timezone.now() - timedelta(days=31)})
    sweep_tenant(team.tenant_id)
    left = count(team, OAuthAuthorization, OAuthCode, OAuthAccessToken, OAuthRefreshToken, OAuthClient)
    assert left == [0, 0, 0, 0, 1]


def test_clients_that_came_and_were_not_let_in_go_and_all_others_stay(team: Team) -> None:
    then = timezone.now() - timedelta(hours=2)
    soon = timezone.now() + timedelta(hours=2)
    gone = [
        make_app(team, registration_source="dcr", expires_at=then),
        make_app(team, registration_source="cimd", client_id="https://a.example/x", cimd_expires_at=then),
    ]
    stays = [
        make_app(team, registration_source="dcr", expires_at=soon),
        make_app(team, registration_source="cimd", client_id="https://b.example/x", cimd_expires_at=soon),
        make_app(
            team,
            registration_source="cimd",
            client_id="https://c.example/x",
            cimd_expires_at=then,
            revoked_at=then,
        ),
        make_service(team),
        make_app(team),
    ]
    used = make_app(team, registration_source="cimd", client_id="https://d.example/x", cimd_expires_at=then)
    used.tokens()
    sweep_tenant(team.tenant_id)
    with tenant_scope(team.tenant_id):
        left = set(OAuthClient.objects.values_list("pk", flat=True))
    assert left == {app.row.pk for app in stays} | {used.row.pk}
    assert not left & {app.row.pk for app in gone}


def test_invitation_goes_when_nobody_would_send_it_again(team: Team) -> None:
    invite(f"a-{team.slug}@example.com", "viewer", caller=team.owner)
    age(team, Invitation, expires_at=timezone.now() - timedelta(days=80))
    sweep_tenant(team.tenant_id)
    assert count(team, Invitation) == [1]
    age(team, Invitation, expires_at=timezone.now() - timedelta(days=91))
    sweep_tenant(team.tenant_id)
    assert count(team, Invitation) == [0]


def test_ended_sign_ins_and_sessions_go(team: Team) -> None:
    user, now = make_user(), timezone.now()

    def sign_in(**ends: Any) -> SignIn:
        given = {"expires_at": now + timedelta(days=1), **ends}
        return SignIn.objects.create(user=user, address="127.0.0.1", **given)

    sign_in(expires_at=now - LONG_AGO)
    sign_in(ended_at=now - LONG_AGO)
    recent, living = sign_in(ended_at=now), sign_in()
    Session.objects.create(session_key=f"old-{user.pk}", expire_date=now - timedelta(seconds=1))
    Session.objects.create(session_key=f"new-{user.pk}", expire_date=now + timedelta(days=1))
    sweep_people()
    assert set(SignIn.objects.filter(user=user)) == {recent, living}
    keys = Session.objects.filter(session_key__endswith=f"-{user.pk}").values_list("session_key", flat=True)
    assert list(keys) == [f"new-{user.pk}"]


def test_one_teams_sweep_touches_no_other_and_the_task_visits_all(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(team.tenant_id, monkeypatch)
    other = make_team()
    for each in (team, other):
        make_app(each).tokens()
        age(each, OAuthAccessToken, expires=timezone.now() - LONG_AGO)
    sweep_tenant(team.tenant_id)
    assert (count(team, OAuthAccessToken), count(other, OAuthAccessToken)) == ([0], [1])
    tasks.sweep_expired()
    assert count(other, OAuthAccessToken) == [0]


@pytest.mark.parametrize("failing", ["sweep_tenant", "expire_files"])
def test_what_fails_for_one_team_is_swept_for_the_others(
    team: Team, failing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin_with(team.tenant_id, monkeypatch)
    other = make_team()
    make_app(other).tokens()
    age(other, OAuthAccessToken, expires=timezone.now() - LONG_AGO)
    work = getattr(tasks, failing)
    done: list[int] = []

    def break_for_one(tenant_id: int) -> object:
        if tenant_id == team.tenant_id:
            raise ValueError("words of somebody else")
        done.append(tenant_id)
        return work(tenant_id)

    monkeypatch.setattr(tasks, failing, break_for_one)
    tasks.sweep_expired()
    assert other.tenant_id in done
    assert count(other, OAuthAccessToken) == [0]
    [told] = [each for each in caplog.records if each.getMessage().endswith("not deleted")]
    assert (told.__dict__["tenant_id"], told.__dict__["kind"]) == (team.tenant_id, "ValueError")
    assert "somebody else" not in caplog.text


def test_a_run_is_bounded_and_the_next_goes_on(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    monkeypatch.setattr(sweeping, "MAX_BATCHES", 2)
    app = make_app(team)
    for _ in range(7):
        app.tokens()
    age(team, OAuthAccessToken, expires=timezone.now() - LONG_AGO)
    for left in (3, 0, 0):
        sweep_tenant(team.tenant_id)
        assert count(team, OAuthAccessToken) == [left]


def test_rows_that_somebody_holds_are_left_for_the_next_run(team: Team) -> None:
    make_app(team).tokens()
    age(team, OAuthAuthorization, expires_at=timezone.now() - LONG_AGO)
    sweep = apart(partial(sweep_tenant, team.tenant_id))
    with ThreadPoolExecutor(1) as pool:
        with tenant_scope(team.tenant_id):
            held: Callable[[], Model] = OAuthAuthorization.objects.select_for_update().get
            held()
            assert pool.submit(sweep).result(60) == 0
        assert pool.submit(sweep).result(60) == 1
