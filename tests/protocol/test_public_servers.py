"""A public server is open to anyone, at a pace a client address, and the log says from where."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic

import pytest

from core.sealing import sealer
from servers.services.servers import create_server, list_servers, update_server
from servers.services.surface_cache import SurfaceCache
from tenants.services.log import search_records
from tests.factories import Team, make_team
from tests.plugins.live_marina import NO_REDIS, LiveMarina
from tests.protocol.wireclient import Answer, Endpoint

RATE = {"MARINA_PUBLIC_RATE": "12/120"}
BURST = 10
"""What that rate lets through at once; the next comes ten seconds later."""


@pytest.fixture(scope="module")
def behind_proxy(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    """A Marina that believes what its proxy says: here, whoever connects over loopback."""
    with LiveMarina(
        tmp_path_factory.mktemp("public") / "web.log",
        environment={**RATE, "MARINA_TRUSTED_PROXIES": "127.0.0.0/8 10.0.0.0/8"},
    ).running(wait_for="/health") as marina:
        yield marina


@pytest.fixture(scope="module")
def direct(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    """A Marina that trusts no proxy, and has no Redis to count with."""
    with LiveMarina(
        tmp_path_factory.mktemp("public") / "web.log",
        environment={**RATE, **NO_REDIS},
    ).running(wait_for="/health") as marina:
        yield marina


@pytest.fixture
def team() -> Team:
    made = make_team()
    create_server("open", "Open", "public", [], caller=made.owner)
    return made


def ping(marina: LiveMarina, team: Team, *, forwarded: str | None = None, server: str = "open") -> Answer:
    endpoint = Endpoint(marina.port, f"/mcp/{team.slug}/{server}", None)
    return endpoint.legacy("ping", headers={"X-Forwarded-For": forwarded})


def use_up(marina: LiveMarina, team: Team, forwarded: str | None = None) -> Answer:
    """All that one address may do at once, and the first answer that it is too much."""
    answers = [ping(marina, team, forwarded=forwarded) for _ in range(BURST + 1)]
    assert [answer.status for answer in answers] == [200] * BURST + [429]
    return answers[-1]


def test_an_address_that_asks_too_often_is_told_when_to_come_again(
    behind_proxy: LiveMarina, team: Team
) -> None:
    refused = use_up(behind_proxy, team, "203.0.113.7")
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    error = refused.error
    assert (refused.json["jsonrpc"], refused.json["id"], error["code"]) == ("2.0", None, 429)
    assert error["data"]["code"] == "rate_limited"
    assert error["data"]["retryable"] is True
    assert error["data"]["retry_after"] == int(refused.headers["Retry-After"])
    assert "ask the team for a key" in error["message"]


def test_addresses_and_servers_are_counted_each_by_itself(behind_proxy: LiveMarina, team: Team) -> None:
    create_server("other", "Other", "public", [], caller=team.owner)
    use_up(behind_proxy, team, "203.0.113.7")
    assert ping(behind_proxy, team, forwarded="203.0.113.8").status == 200
    assert ping(behind_proxy, team, forwarded="203.0.113.7", server="other").status == 200
    assert ping(behind_proxy, make_public_team(), forwarded="203.0.113.7").status == 200


def make_public_team() -> Team:
    made = make_team()
    create_server("open", "Open", "public", [], caller=made.owner)
    return made


def test_all_of_a_customers_ipv6_network_is_one_address(behind_proxy: LiveMarina, team: Team) -> None:
    use_up(behind_proxy, team, "2001:db8:1:2::7")
    assert ping(behind_proxy, team, forwarded="2001:db8:1:2:ffff::1").status == 429
    assert ping(behind_proxy, team, forwarded="2001:db8:1:3::7").status == 200


def test_what_a_client_puts_before_the_proxys_word_changes_nothing(
    behind_proxy: LiveMarina, team: Team
) -> None:
    use_up(behind_proxy, team, "203.0.113.7")
    for claimed in ("198.51.100.1, 203.0.113.7", "198.51.100.2, 203.0.113.7, 10.0.0.3"):
        assert ping(behind_proxy, team, forwarded=claimed).status == 429


def test_without_a_trusted_proxy_nobody_is_believed_and_without_redis_the_process_counts(
    direct: LiveMarina, team: Team
) -> None:
    use_up(direct, team, "203.0.113.7")
    assert ping(direct, team, forwarded="203.0.113.8").status == 429
    assert ping(direct, team).status == 429
    assert search_records(caller=team.owner, kind="rate").records[0].actor == "anonymous (127.0.0.1)"


def test_a_key_is_not_counted(behind_proxy: LiveMarina, team: Team) -> None:
    use_up(behind_proxy, team, "203.0.113.7")
    endpoint = Endpoint(behind_proxy.port, f"/mcp/{team.slug}/open", team.key())
    assert endpoint.legacy("ping", headers={"X-Forwarded-For": "203.0.113.7"}).status == 200


def test_the_log_names_the_address_and_not_every_refusal(behind_proxy: LiveMarina, team: Team) -> None:
    for last in range(1, 9):
        use_up(behind_proxy, team, f"203.0.113.{last}")
    for _ in range(70):
        assert ping(behind_proxy, team, forwarded="203.0.113.1").status == 429
    refused = search_records(caller=team.owner, kind="rate", limit=100).records
    assert len(refused) == 60
    assert {record.outcome for record in refused} == {"refused"}
    assert "anonymous (203.0.113.8)" in {record.actor for record in refused}
    assert refused[0].reason == {**(refused[0].reason or {}), "code": "rate_limited", "rule": "rate:address"}
    answer = Endpoint(behind_proxy.port, f"/mcp/{team.slug}/open", None).legacy(
        "tools/call",
        {"name": "nothing-of-that-name", "arguments": {}},
        headers={"X-Forwarded-For": "198.51.100.9"},
    )
    assert answer.error["data"]["code"] == "tool_unknown"
    assert search_records(caller=team.owner, kind="tools/call").records[0].actor == "anonymous (198.51.100.9)"


def test_a_server_made_private_again_wants_a_key(behind_proxy: LiveMarina, team: Team) -> None:
    assert ping(behind_proxy, team, forwarded="203.0.113.7").status == 200
    (server,) = [row for row in list_servers(caller=team.owner) if row.slug == "open"]
    update_server(server.id, access="private", caller=team.owner)
    deadline = monotonic() + 60
    while ping(behind_proxy, team, forwarded="203.0.113.7").status != 401:
        assert monotonic() < deadline, "it is still open"


def test_a_stranger_may_send_less_at_once(behind_proxy: LiveMarina, team: Team) -> None:
    large = {"padding": "x" * 256 * 1024}
    endpoint = Endpoint(behind_proxy.port, f"/mcp/{team.slug}/open", None)
    assert endpoint.legacy("ping", large).status == 413
    assert endpoint.with_key(team.key()).legacy("ping", large).status == 200


def test_a_private_servers_snapshot_is_not_built_for_strangers(team: Team) -> None:
    create_server("closed", "Closed", "private", [], caller=team.owner)
    cache = SurfaceCache(sealer())

    async def ask() -> list[bool]:
        return [await cache.is_public(team.owner.tenant_id, slug) for slug in ("open", "closed", "nowhere")]

    assert asyncio.run(ask()) == [True, False, False]
    assert not cache._held
