"""An address that sends credentials that are none is refused for a while, over MCP and REST, on every replica."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tenants.services.keys import issue_key, revoke_key
from tenants.services.log import search_records
from tests.factories import Team, make_team
from tests.plugins.live_marina import NO_REDIS, LiveMarina
from tests.protocol.wireclient import Answer, Endpoint

FAILURES = 5
ENVIRONMENT = {"MARINA_KEY_FAILURES": f"{FAILURES}/300", "MARINA_TRUSTED_PROXIES": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def replicas(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveMarina, ...]]:
    """Two web processes behind a proxy: here, whoever connects over loopback."""
    both = tuple(
        LiveMarina(tmp_path_factory.mktemp("lockout") / "web.log", environment=ENVIRONMENT) for _ in range(2)
    )
    try:
        for marina in both:
            marina.spawn()
        for marina in both:
            marina.wait("/health")
        yield both
    finally:
        for marina in both:
            marina.stop()


@pytest.fixture(scope="module")
def without_redis(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    """A web process that has no Redis to count with."""
    with LiveMarina(
        tmp_path_factory.mktemp("lockout") / "web.log",
        environment={**ENVIRONMENT, **NO_REDIS},
    ).running(wait_for="/health") as marina:
        yield marina


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def address() -> str:
    """One that no other test comes from: Redis is everybody's, and remembers."""
    return f"2001:db8:{secrets.randbelow(1 << 16):x}:{secrets.randbelow(1 << 16):x}::7"


def nonsense() -> str:
    return f"mcp_live_{secrets.token_hex(5)}_{secrets.token_hex(21)}"


def ping(marina: LiveMarina, team: Team, key: str, address: str) -> Answer:
    return Endpoint(marina.port, f"/mcp/{team.slug}", key).legacy(
        "ping", headers={"X-Forwarded-For": address}
    )


def rest(marina: LiveMarina, team: Team, key: str, address: str) -> tuple[int, Any, str | None]:
    """Status, body and ``Retry-After`` of a list over REST."""
    connection = http.client.HTTPConnection("127.0.0.1", marina.port, timeout=60)
    try:
        headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": address}
        connection.request("GET", f"/api/v1/tenants/{team.slug}/tools", headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers["Retry-After"]
    finally:
        connection.close()


def lock(marina: LiveMarina, team: Team, address: str) -> Answer:
    """Fail until the address is refused."""
    answers = [ping(marina, team, nonsense(), address) for _ in range(FAILURES + 1)]
    assert [answer.status for answer in answers] == [401] * FAILURES + [429]
    return answers[-1]


def test_an_address_is_refused_after_so_many_failures_whatever_key_it_sends_then(
    replicas: tuple[LiveMarina, ...], team: Team, address: str
) -> None:
    refused = lock(replicas[0], team, address)
    assert 60 <= int(refused.headers["Retry-After"]) <= 120
    assert refused.error["data"]["code"] == "locked_out"
    assert refused.error["data"]["rule"] == "lockout:address"
    assert ping(replicas[0], team, team.key(), address).status == 429


def test_all_replicas_and_rest_share_the_count(
    replicas: tuple[LiveMarina, ...], team: Team, address: str
) -> None:
    for number in range(FAILURES):
        marina = replicas[number % 2]
        status = (
            ping(marina, team, f"garbage{number}", address).status
            if number % 3
            else rest(marina, team, nonsense(), address)[0]
        )
        assert status == 401
    for marina in replicas:
        assert ping(marina, team, nonsense(), address).status == 429
        status, body, retry_after = rest(marina, team, team.key("admin"), address)
        assert (status, body["code"]) == (429, "locked_out")
        assert 60 <= int(retry_after or "") <= 120


def test_nobody_else_behind_the_same_proxy_is_locked_out(
    replicas: tuple[LiveMarina, ...], team: Team, address: str
) -> None:
    lock(replicas[0], team, address)
    same_customer = address.removesuffix("::7") + ":ffff::1"
    assert ping(replicas[0], team, team.key(), same_customer).status == 429
    neighbour = "2001:db9:" + address.removeprefix("2001:db8:")
    assert ping(replicas[0], team, team.key(), neighbour).status == 200
    # The client may have written what stands left of the proxy's word.
    assert ping(replicas[0], team, team.key(), f"{neighbour}, {address}").status == 429


def test_a_key_that_was_at_work_goes_on_through_a_lockout(
    replicas: tuple[LiveMarina, ...], team: Team, address: str
) -> None:
    key = team.key("admin")
    assert ping(replicas[0], team, key, address).status == 200
    lock(replicas[0], team, address)
    assert ping(replicas[0], team, key, address).status == 200
    assert rest(replicas[0], team, key, address)[0] == 200


def test_keys_that_are_or_were_somebodys_do_not_count(
    replicas: tuple[LiveMarina, ...], team: Team, address: str
) -> None:
    old = issue_key("k", ["tools:read"], caller=team.owner)
    revoke_key(old.row.pk, caller=team.owner)
    foreign = make_team().key("admin")
    for _ in range(FAILURES * 2):
        assert ping(replicas[0], team, old.key, address).error["data"]["code"] == "key_revoked"
        assert ping(replicas[0], team, foreign, address).error["data"]["code"] == "key_unknown"
        assert rest(replicas[0], team, foreign, address)[0] == 401
    assert ping(replicas[0], team, team.key(), address).status == 200


def test_one_and_the_same_mistyped_key_counts_little_but_locks_in_the_end(
    replicas: tuple[LiveMarina, ...], team: Team, address: str
) -> None:
    mistyped = team.key()[:-6] + "zzzzzz"
    statuses = [ping(replicas[0], team, mistyped, address).status for _ in range(FAILURES * 12)]
    assert statuses[: FAILURES * 4] == [401] * (FAILURES * 4)
    assert statuses[-1] == 429


def test_a_team_that_is_not_there_answers_the_same(
    replicas: tuple[LiveMarina, ...], team: Team, address: str
) -> None:
    refused = lock(replicas[0], team, address)
    endpoint = Endpoint(replicas[0].port, "/mcp/no-such-team", nonsense())
    nowhere = endpoint.legacy("ping", headers={"X-Forwarded-For": address})
    assert (nowhere.status, nowhere.error["data"]["code"]) == (429, refused.error["data"]["code"])


def test_the_log_says_that_an_address_was_locked_out(
    replicas: tuple[LiveMarina, ...], team: Team, address: str
) -> None:
    lock(replicas[0], team, address)
    newest = search_records(kind="auth", caller=team.owner).records[0]
    assert newest.reason is not None
    assert (newest.outcome, newest.reason["rule"]) == ("refused", "lockout:address")


def test_without_redis_the_process_counts_by_itself(
    without_redis: LiveMarina, team: Team, address: str
) -> None:
    key = team.key()
    assert ping(without_redis, team, key, address).status == 200
    lock(without_redis, team, address)
    assert ping(without_redis, team, team.key(), address).status == 429
    assert ping(without_redis, team, key, address).status == 200
    assert rest(without_redis, team, nonsense(), address)[0] == 429
