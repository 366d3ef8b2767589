"""The examples and the bounds of docs/caching.md, as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from servers.models import MAX_CACHE_SECONDS
from servers.services.results import memory, store
from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.factories import make_team
from tests.farside import far_side, reply
from tests.rest import Rest

PAGE = (Path(__file__).parents[2] / "docs" / "caching.md").read_text(encoding="utf-8")
(SET,) = re.findall(r"api -X PATCH \$MARINA/api/v1/tenants/demo/tools/\$TOOL/(\w+) -d '(.*?)'", PAGE)
(CLEAR,) = re.findall(r"`POST …/tools/\{id\}/([\w/]+)`", PAGE)
(SWITCH,) = re.findall(r"in REST `(\{.*?\})`", PAGE)
TIDE: dict[str, Any] = {
    "method": "GET",
    "path": "/tides/{station}",
    "parameters": {"station": {"type": "string"}},
}


def test_the_examples_run_as_they_stand() -> None:
    team = make_team()
    rest = Rest.admin(team)
    with far_side() as api:
        api.serve("/tides/dover", reply(b'{"metres": 1.5}', kind="application/json"))
        create_source("sea", "http", {"base_url": api.origin}, caller=team.owner)
        tide = create_tool("tide", "sea", "http", TIDE, caller=team.owner)
        below = f"/tenants/{team.slug}/tools/{tide.pk}"

        def call() -> int:
            answer = rest.post(f"{below}/call", {"arguments": {"station": "dover"}})
            assert answer.body["structured"] == {"metres": 1.5}, answer.body
            return len(api.asked)

        assert (call(), call()) == (1, 2)
        path, body = SET
        assert rest.patch(f"{below}/{path}", json.loads(body)).body["seconds"] == 300
        assert (call(), call(), call()) == (3, 3, 3)
        assert rest.post(f"{below}/{CLEAR}").status == 204
        assert (call(), call()) == (4, 4)
        assert rest.patch(f"{below}/{path}", json.loads(SWITCH)).body["collapses"] is False
        counts = rest.get(f"{below}/{path}").body["counts"]
        assert counts.keys() >= {"hits", "joined", "runs", "hit_rate"}
    records = rest.get(f"/tenants/{team.slug}/audit/records?tool=tide").body["results"]
    assert [each.get("served_from") for each in records].count("cache") == 3


def test_the_bounds_are_those_of_the_page() -> None:
    plain = " ".join(PAGE.split())
    assert f"{MAX_CACHE_SECONDS:,} (a day) is the most" in plain
    assert (
        f"{memory.MAX_BYTES >> 20} MB in all, {memory.TENANT_BYTES >> 20} MB of them a team's at most, "
        f"{memory.ENTRY_BYTES >> 20} MB a result" in plain
    )
    assert f"{store.TENANT_BYTES >> 20} MB a team" in plain
    assert f"{store.VALUE_BYTES >> 10} KB a result" in plain
