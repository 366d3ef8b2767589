"""For every MCP method, in both eras: a key of one team at another's URL answers as an unknown key does."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from servers.endpoint.methods import METHODS
from tests.factories import Team, make_team
from tests.isolation.furnished import Furnished, furnish
from tests.plugins.live_marina import LiveMarina

PARAMS: dict[str, dict[str, Any]] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "isolation", "version": "1"},
    },
    "tools/call": {"name": "list_tables", "arguments": {}},
}
CASES = [
    (name, version)
    for name, method in METHODS.items()
    for version in (["2025-11-25", "2025-03-26"] if method.legacy else [])
    + (["2026-07-28"] if method.modern else [])
]


@pytest.fixture(scope="module")
def mine(database: None) -> Furnished:
    return furnish()


@pytest.fixture(scope="module")
def theirs(database: None) -> Furnished:
    return furnish()


def _call(
    live: LiveMarina, path: str, key: str | None, method: str, version: str
) -> tuple[int, dict[str, Any], Any]:
    params = dict(PARAMS.get(method, {}))
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
    }
    if version >= "2026":
        headers["Mcp-Method"] = method
        if method == "tools/call":
            headers["Mcp-Name"] = params["name"]
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientInfo": {"name": "isolation", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    with httpx2.Client(trust_env=False) as client:
        answer = client.post(f"{live.base_url}/mcp/{path}", json=body, headers=headers, timeout=60)
    kept = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "date"}}
    text = answer.text.replace(answer.headers["x-request-id"], "")
    return answer.status_code, kept, json.loads(text)


@pytest.mark.parametrize(("method", "version"), CASES)
def test_another_teams_key_answers_as_an_unknown_key(
    live_marina: LiveMarina, mine: Furnished, theirs: Furnished, method: str, version: str
) -> None:
    unknown_key = mine.key[:-6] + "zzzzzz"
    foreign = _call(live_marina, theirs.team.slug, mine.key, method, version)
    unknown = _call(live_marina, theirs.team.slug, unknown_key, method, version)
    nowhere = _call(live_marina, "no-such-team", mine.key, method, version)
    named = [
        json.loads(json.dumps(answer).replace(slug, "TEAM"))
        for answer, slug in (
            (foreign, theirs.team.slug),
            (unknown, theirs.team.slug),
            (nowhere, "no-such-team"),
        )
    ]
    assert named[0] == named[1] == named[2]
    assert foreign[0] == 401


@pytest.mark.parametrize(("method", "version"), CASES)
def test_a_server_of_another_team_answers_as_an_unknown_server(
    live_marina: LiveMarina, mine: Furnished, method: str, version: str
) -> None:
    bare: Team = make_team()
    key = bare.key()
    # "extra" is a server of the other team, "exile" of nobody.
    foreign = _call(live_marina, f"{bare.slug}/extra", key, method, version)
    unknown = _call(live_marina, f"{bare.slug}/exile", key, method, version)
    assert foreign[0] == unknown[0] == 404
    assert json.loads(json.dumps(foreign).replace("extra", "exile")) == json.loads(json.dumps(unknown))


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_a_list_shows_only_the_teams_own_tools(
    live_marina: LiveMarina, mine: Furnished, theirs: Furnished, version: str
) -> None:
    status, _, document = _call(live_marina, mine.team.slug, mine.key, "tools/list", version)
    assert status == 200
    assert document["result"]["tools"]
    assert theirs.marks_in(json.dumps(document)) == []
    status, _, empty = _call(live_marina, (bare := make_team()).slug, bare.key(), "tools/list", version)
    assert status == 200
    assert empty["result"]["tools"] == []
