"""Renewing a sign-in: ahead of its end, once at a refusal, by one process at a time; and losing it, with the reason."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.utils import timezone

from core.errors import SourceError, Unavailable
from core.loop import run_async
from core.outbound import AddressRule
from core.sealing import sealer
from servers.execution.authorizing.challenges import Challenge
from servers.execution.authorizing.faults import unsound
from servers.execution.authorizing.grants import refresh as refresh_tokens
from servers.execution.contract import Source
from servers.execution.signing_in import AccessToken
from servers.models import UpstreamSignIn
from servers.services.sign_ins import keeper as module
from servers.services.sign_ins import rows
from servers.services.sign_ins.keeper import StoredSignIns
from servers.services.sign_ins.rows import store_renewed
from servers.services.source_checks import check_sources_of
from servers.services.sources import execution_source, get_source
from tenants.scoping import tenant_scope
from tenants.services.counting import Counter, forget
from tests.factories import Team
from tests.rest import Rest
from tests.servers.sign_ins.authority import READ, Authority
from tests.servers.sign_ins.person import Person, add_source, call, refresh


def age(team: Team, **values: Any) -> None:
    """Make the team's sign-in older than it is."""
    with tenant_scope(team.tenant_id):
        UpstreamSignIn.objects.update(**values)


def ended(team: Team) -> None:
    now = timezone.now()
    age(team, renewed_at=now - timedelta(hours=1), expires_at=now - timedelta(seconds=1))


@pytest.fixture
def source(rest: Rest, team: Team, owner: Person, authority: Authority) -> Source:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    refresh(rest, team, id_)
    return execution_source(get_source(UUID(id_), caller=team.owner))


async def settle(keeper: StoredSignIns) -> None:
    """Wait for the renewals that nobody waits for."""
    await asyncio.gather(*keeper._renewing.values(), return_exceptions=True)
    await asyncio.sleep(0)


def keepers(count: int) -> list[StoredSignIns]:
    """What as many processes would have."""
    allow = AddressRule(settings.ENV.outbound_allow).allows
    return [StoredSignIns(sealer(), allow=allow) for _ in range(count)]


def test_a_token_is_renewed_before_it_ends_and_the_next_one_kept(
    rest: Rest, team: Team, source: Source, authority: Authority
) -> None:
    former = next(iter(authority.refreshing))
    ended(team)
    [keeper] = keepers(1)
    token = run_async(keeper.token(source, authority.url, None))
    assert (authority.refreshed, token.number) == (1, 2)
    assert former not in authority.refreshing
    with tenant_scope(team.tenant_id):
        row = UpstreamSignIn.objects.get()
    assert (row.state, row.number, row.granted) == ("ready", 2, [READ])
    ended(team)
    [other] = keepers(1)
    assert run_async(other.token(source, authority.url, None)).number == 3
    assert authority.refreshed == 2


def test_nobody_waits_for_a_renewal_while_the_token_is_good(
    team: Team, source: Source, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    age(team, renewed_at=now - timedelta(hours=1), expires_at=now + timedelta(seconds=50))
    [keeper] = keepers(1)

    async def use() -> None:
        answers = asyncio.Event()

        async def slow(*given: Any) -> Any:
            await answers.wait()
            return await refresh_tokens(*given)

        monkeypatch.setattr(module, "refresh", slow)
        for _ in range(3):
            assert (await keeper.token(source, authority.url, None)).number == 1
        assert len(keeper._renewing) == 1
        answers.set()
        await settle(keeper)
        assert (await keeper.token(source, authority.url, None)).number == 2

    run_async(use())
    assert authority.refreshed == 1


def test_a_late_read_puts_no_former_token_back(
    team: Team, source: Source, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(team, renewed_at=timezone.now() - timedelta(minutes=5))
    [keeper] = keepers(1)
    has_read, goes_on, reads = threading.Event(), threading.Event(), iter([True])

    def read(*given: Any) -> Any:
        found = rows.read_kept(*given)
        if next(reads, False):
            has_read.set()
            assert goes_on.wait(60)
        return found

    monkeypatch.setattr(module, "read_kept", read)
    monkeypatch.setattr("servers.services.reading.LOOK_UP_SECONDS", 100.0)

    async def use() -> list[AccessToken]:
        late = asyncio.create_task(keeper.token(source, authority.url, None))
        await asyncio.to_thread(has_read.wait)
        former = await keeper.token(source, authority.url, None)
        await keeper.another(source, authority.url, None, former, Challenge(401))
        goes_on.set()
        return [former, await late, await keeper.token(source, authority.url, None)]

    assert [token.number for token in run_async(use())] == [1, 2, 2]


def test_many_processes_renew_once(team: Team, source: Source, authority: Authority) -> None:
    ended(team)

    async def all_at_once() -> list[AccessToken]:
        return await asyncio.gather(
            *(keeper.token(source, authority.url, None) for keeper in keepers(4) for _ in range(5))
        )

    tokens = run_async(all_at_once())
    assert authority.refreshed == 1
    assert {token.number for token in tokens} == {2}
    assert {token.value for token in tokens} <= set(authority.access)


def test_a_call_that_is_refused_is_made_again_once_with_another_token(
    rest: Rest, team: Team, source: Source, authority: Authority
) -> None:
    assert call(rest, team, "who")["text"] == f"anna with {READ}"
    age(team, renewed_at=timezone.now() - timedelta(minutes=5))
    authority.end_access()
    # It is believed for some seconds, as in each process: the refusal is what tells.
    called = call(rest, team, "who")
    assert called["text"] == f"anna with {READ}", called
    assert authority.refreshed == 1


def test_who_waits_for_a_renewal_takes_the_sign_in_that_replaced_it(
    team: Team, owner: Person, source: Source, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 60.0)
    ended(team)
    age(team, lease=uuid4(), leased_until=timezone.now() + timedelta(minutes=1))
    [keeper] = keepers(1)
    waiting = threading.Event()

    def claimed(*given: Any) -> bool:
        waiting.set()
        return rows.claim(*given)

    monkeypatch.setattr(module, "claim", claimed)
    with ThreadPoolExecutor(1) as pool:
        token = pool.submit(run_async, keeper.token(source, authority.url, None))
        assert waiting.wait(60)
        owner.sign_in(str(source.id))
        with tenant_scope(team.tenant_id):
            assert token.result().of == UpstreamSignIn.objects.get().id


def test_new_tokens_are_stored_though_the_database_is_away_for_a_moment(
    team: Team, source: Source, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = iter([True, True])

    def store(*given: Any) -> Any:
        if next(away, False):
            raise Unavailable("The database is away.")
        return store_renewed(*given)

    monkeypatch.setattr(module, "store_renewed", store)
    monkeypatch.setattr(module, "STORE_SECONDS", 0.01)
    ended(team)
    [keeper] = keepers(1)
    assert run_async(keeper.token(source, authority.url, None)).number == 2
    assert authority.refreshed == 1


def test_an_answer_that_is_none_does_not_end_the_sign_in(
    team: Team, source: Source, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def maintained(*given: Any) -> Any:
        raise unsound("The authorization server answered without a token that a header can carry.")

    monkeypatch.setattr(module, "refresh", maintained)
    age(
        team,
        expires_at=timezone.now() + timedelta(seconds=50),
        renewed_at=timezone.now() - timedelta(hours=1),
    )
    [keeper] = keepers(1)
    assert run_async(keeper.token(source, authority.url, None)).number == 1
    assert len(keeper._renewing) == 1
    run_async(settle(keeper))
    assert run_async(keeper.token(source, authority.url, None)).number == 1
    with tenant_scope(team.tenant_id):
        assert UpstreamSignIn.objects.get().state == "ready"


def test_its_tools_are_overridden_as_those_of_others_are(
    rest: Rest, team: Team, source: Source, authority: Authority
) -> None:
    path = f"/tenants/{team.slug}/data-sources/{source.id}/overrides"
    answer = rest.call("put", path, {"overrides": {"who": {"title": "Ours"}}})
    assert answer.status == 200, answer.body
    tools = rest.get(f"/tenants/{team.slug}/tools").body["results"]
    assert "Ours" in {tool["title"] for tool in tools}


def test_a_token_that_is_refused_although_it_is_new_is_not_renewed_for_ever(
    team: Team, source: Source, authority: Authority
) -> None:
    [keeper] = keepers(1)
    token = run_async(keeper.token(source, authority.url, None))
    with pytest.raises(SourceError, match="just given"):
        run_async(keeper.another(source, authority.url, None, token, Challenge(401)))
    assert authority.refreshed == 0


def signed_in_for_long(rest: Rest, team: Team, owner: Person, authority: Authority, *, renews: bool) -> str:
    """A source whose tools are offered, and whose tokens are not just given."""
    authority.renews = renews
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    refresh(rest, team, id_)
    age(team, renewed_at=timezone.now() - timedelta(minutes=5))
    return id_


@pytest.mark.parametrize("renews", [True, False])
def test_one_tools_refusals_end_no_sign_in(
    rest: Rest, team: Team, owner: Person, authority: Authority, renews: bool
) -> None:
    id_ = signed_in_for_long(rest, team, owner, authority, renews=renews)
    authority.refuses = '"launch"'
    for _ in range(2):
        refused = call(rest, team, "launch")["error"]
        assert refused["code"] == "source_auth"
        assert "refuses this call" in refused["message"]
    assert authority.refreshed == int(renews)
    assert call(rest, team, "who")["text"] == f"anna with {READ}"
    check_sources_of(team.tenant_id)
    path = f"/tenants/{team.slug}/data-sources/{id_}"
    assert rest.get(path).body["health"]["state"] == "healthy"
    assert rest.get(f"{path}/sign-in").body["state"] == "ready"
    assert not rest.get(f"/tenants/{team.slug}/audit/records?kind=source.sign_in_needed").body["results"]


@pytest.mark.parametrize("renews", [True, False])
def test_a_check_that_is_refused_ends_the_sign_in(
    rest: Rest, team: Team, owner: Person, authority: Authority, renews: bool
) -> None:
    id_ = signed_in_for_long(rest, team, owner, authority, renews=renews)
    authority.refuses = "jsonrpc"
    assert call(rest, team, "who")["error"]["code"] == "source_auth"
    path = f"/tenants/{team.slug}/data-sources/{id_}"
    assert rest.get(f"{path}/sign-in").body["state"] == "ready"
    check_sources_of(team.tenant_id)
    state = rest.get(f"{path}/sign-in").body
    assert (state["state"], "Sign in again" in state["reason"]) == ("needed", True)
    assert authority.refreshed == int(renews)


def test_a_refresh_that_fails_is_lost_with_its_reason(
    rest: Rest, team: Team, source: Source, authority: Authority
) -> None:
    authority.refreshing.clear()
    authority.end_access()
    age(team, renewed_at=timezone.now() - timedelta(minutes=5))
    check_sources_of(team.tenant_id)
    path = f"/tenants/{team.slug}/data-sources/{source.id}"
    health = rest.get(path).body["health"]
    assert health["state"] == "needs_sign_in"
    assert "invalid_grant" in health["reason"]
    state = rest.get(f"{path}/sign-in").body
    assert (state["state"], "invalid_grant" in state["reason"]) == ("needed", True)
    found = rest.get(f"/tenants/{team.slug}/audit/records?kind=source.sign_in_needed").body["results"]
    assert [(each["actor"], each["arguments"]["after"]["name"]) for each in found] == [("marina", "yard")]
    called = call(rest, team, "who")["error"]
    assert called["code"] == "sign_in_needed"
    assert f"/app/{team.slug}/data-sources/{source.id}/" in called["message"]


def test_without_a_refresh_token_the_end_is_the_end(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    authority.renews = False
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    refresh(rest, team, id_)
    assert call(rest, team, "who")["text"] == f"anna with {READ}"
    ended(team)
    with pytest.raises(SourceError, match="nothing to renew it by"):
        run_async(
            keepers(1)[0].token(
                execution_source(get_source(UUID(id_), caller=team.owner)), authority.url, None
            )
        )


def test_a_server_that_is_away_costs_no_sign_in(team: Team, source: Source, authority: Authority) -> None:
    age(team, token_endpoint="http://127.0.0.1:9/token")
    soon = timezone.now() + timedelta(seconds=50)
    age(team, renewed_at=timezone.now() - timedelta(hours=1), expires_at=soon)
    [keeper] = keepers(1)
    assert run_async(keeper.token(source, authority.url, None)).number == 1
    run_async(settle(keeper))
    age(team, token_endpoint=f"{authority.origin}/token")
    # It is not tried again by each call.
    assert run_async(keeper.token(source, authority.url, None)).number == 1
    assert (authority.refreshed, keeper._renewing) == (0, {})
    age(team, token_endpoint="http://127.0.0.1:9/token")
    ended(team)
    with pytest.raises(SourceError) as refused:
        run_async(keepers(1)[0].token(source, authority.url, None))
    assert (refused.value.code, refused.value.retryable) == ("source_unreachable", True)
    with tenant_scope(team.tenant_id):
        row = UpstreamSignIn.objects.get()
    assert (row.state, row.lease) == ("ready", None)


def test_whoever_gives_up_takes_no_renewal_along(team: Team, source: Source, authority: Authority) -> None:
    ended(team)
    [keeper] = keepers(1)

    async def give_up() -> None:
        asking = asyncio.create_task(keeper.token(source, authority.url, None))
        while not authority.refreshed and not asking.done():  # noqa: ASYNC110 - it counts in another thread
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.gather(*keeper._renewing.values())

    run_async(give_up())
    with tenant_scope(team.tenant_id):
        assert UpstreamSignIn.objects.get().number == 2


def test_a_server_that_wants_other_scopes_each_time_fills_no_log(
    team: Team, source: Source, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[Any] = []
    monkeypatch.setattr(rows, "_note", lambda *given: noted.append(given[2]["missing"]))
    kept = rows.read_kept(source, authority.url, None, sealer())
    assert isinstance(kept, rows.Kept)

    def want(*scopes: str) -> None:
        rows.note_missing(kept, scopes, "It wants more.")

    def pass_a_minute() -> None:
        forget(Counter("scopes-missing", (str(source.id),), 1))

    want("a")
    want("b")
    assert noted == [["a"]]
    pass_a_minute()
    want("a", "b")
    assert len(noted) == 1
    want("c")
    assert noted[1:] == [["a", "b", "c"]]
    for number in range(5):
        pass_a_minute()
        want(*(f"s{number}-{each}" for each in range(60)))
    assert len(noted) == 3
    with tenant_scope(team.tenant_id):
        assert len(UpstreamSignIn.objects.get().missing) == rows.MAX_MISSING


def test_a_refusal_names_no_hundred_scopes(team: Team, source: Source, authority: Authority) -> None:
    [keeper] = keepers(1)
    token = run_async(keeper.token(source, authority.url, None))
    wanted = Challenge(403, error="insufficient_scope", scopes=tuple(f"s{each}" for each in range(100)))
    with pytest.raises(SourceError, match="s9 and 20 more") as refused:
        run_async(keeper.another(source, authority.url, None, token, wanted))
    assert len(refused.value.data["scopes"]) == rows.MAX_MISSING


@pytest.mark.parametrize("epoch", [0, -5, 1e18, 1_767_000_000_000])
def test_a_time_that_there_is_not_is_none(epoch: float) -> None:
    assert rows.moment(epoch) is None
