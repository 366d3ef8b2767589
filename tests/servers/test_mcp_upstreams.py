"""The servers behind a source, in REST and on its page: one is killed while calls are made, and no call is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from config.settings import CELERY_BEAT_SCHEDULE
from core.loop import run_async
from servers.models import CHECKED_EVERY
from servers.services.runtime import get_runtime
from servers.services.source_checks import check_sources_of
from servers.services.sources import create_source
from tenants.roles import Role
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of
from tests.protocol.waiting import wait_for
from tests.rest import Rest
from tests.servers.execution.mcp.berths import Berth, berths


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Berth]]:
    with berths(2, "modern", tmp_path_factory.mktemp("berths")) as found:
        yield found


def upstreams(team: Team, source: object) -> list[dict[str, Any]]:
    run_async(get_runtime().upstream_states.settle())
    answer = Rest.admin(team).get(f"/tenants/{team.slug}/data-sources/{source}/upstreams")
    assert answer.status == 200
    found: list[dict[str, Any]] = answer.body["results"]
    return found


def test_a_killed_server_loses_no_call_and_is_shown_with_its_reason(pair: list[Berth]) -> None:
    team = make_team()
    settings = {"url": pair[0].url, "replicas": [pair[1].url]}
    source = create_source("fleet", "mcp", settings, caller=team.owner)
    assert [each["state"] for each in upstreams(team, source.id)] == ["closed", "closed"]
    rest = Rest.admin(team)
    tools = {each["name"]: each["id"] for each in rest.get(f"/tenants/{team.slug}/tools").body["results"]}
    outcomes: list[tuple[str, str]] = []
    longest: list[float] = [0.0]
    enough = threading.Event()

    def call() -> None:
        caller = Rest.admin(team)
        while not enough.is_set():
            began = monotonic()
            answer = caller.post(f"/tenants/{team.slug}/tools/{tools['who']}/call", {"arguments": {}}).body
            outcomes.append((answer["outcome"], answer["text"]))
            longest[0] = max(longest[0], monotonic() - began)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len({text for _, text in outcomes}) == 2, 60)
        pair[1].kill()
        shown: dict[str, Any] = {}

        def is_shown() -> bool:
            shown.update(next((each for each in upstreams(team, source.id) if each["state"] != "closed"), {}))
            return bool(shown)

        wait_for(is_shown, 60)
    finally:
        enough.set()
    for thread in threads:
        thread.join()
    assert {outcome for outcome, _ in outcomes} == {"ok"}
    assert {text for _, text in outcomes} == {"copy-0", "copy-1"}
    # No call waited for the one that is gone until its time was over.
    assert longest[0] < 15
    assert shown["url"] == pair[1].url
    found = shown["processes"][0]
    assert f"The MCP server at 127.0.0.1:{pair[1].port} was asked" in found["reason"]
    assert found["next_try"] > found["since"]

    check_sources_of(team.tenant_id)
    after = {each["url"]: each["health"]["state"] for each in upstreams(team, source.id)}
    assert after == {pair[0].url: "healthy", pair[1].url: "unhealthy"}
    body = client_of(team, Role.OWNER).get(f"/app/{team.slug}/data-sources/{source.id}/").content.decode()
    assert "Servers behind it" in body
    assert "not asked" in body or "being tried" in body
    assert f"127.0.0.1:{pair[1].port} was asked" in body
    assert "1 of the 2 servers of this source" in body
    other = make_team()
    outside = Rest.admin(other).get(f"/tenants/{other.slug}/data-sources/{source.id}/upstreams")
    assert outside.status == 404


def test_a_source_with_one_server_says_why_it_is_not_asked(tmp_path: Path) -> None:
    team = make_team()
    with berths(1, "legacy", tmp_path) as (only,):
        source = create_source("one", "mcp", {"url": only.url}, caller=team.owner)
        only.kill()
    rest = Rest.admin(team)
    tools = {each["name"]: each["id"] for each in rest.get(f"/tenants/{team.slug}/tools").body["results"]}
    codes = []
    for _ in range(6):
        answer = rest.post(f"/tenants/{team.slug}/tools/{tools['who']}/call", {"arguments": {}}).body
        codes.append((answer.get("error") or answer)["code"])
    assert codes[0] == "source_unreachable"
    assert codes[-1] == "source_unavailable"
    (shown,) = upstreams(team, source.id)
    assert (shown["state"], shown["health"]) == ("open", None)


def test_the_next_check_is_told_as_it_is_scheduled(team: Team) -> None:
    assert CELERY_BEAT_SCHEDULE["check-sources"]["schedule"] == CHECKED_EVERY.total_seconds()
    source = create_source("kit", "toolkit", {}, caller=team.owner)
    path = f"/tenants/{team.slug}/data-sources/{source.pk}"
    rest = Rest.admin(team)
    assert rest.get(path).body["health"]["next_check"] is None
    check_sources_of(team.tenant_id)
    health = rest.get(path).body["health"]
    assert health["checked_at"] < health["next_check"]


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"replicas": ["http://b.example/mcp", "http://b.example/mcp"]}, "settings.replicas.1"),
        ({"replicas": ["http://a.example/mcp"]}, "settings.replicas.0"),
        ({"replicas": ["ftp://b.example/mcp"]}, "settings.replicas.0"),
        ({"replicas": "http://b.example/mcp"}, "settings.replicas"),
        ({"balance": "best"}, "settings.balance"),
    ],
)
def test_what_is_no_further_server_is_refused_where_it_stands(
    team: Team, settings: dict[str, Any], path: str
) -> None:
    body = {"kind": "mcp", "settings": {"url": "http://a.example/mcp", **settings}}
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/data-sources/preview", body)
    assert (answer.status, answer.paths) == (400, {path})
