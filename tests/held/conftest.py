"""The team that sends bad input, its tools, and the far side that it reaches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import orjson
import pytest

from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.bench.document import make_document
from tests.factories import make_database, make_team
from tests.farside import far_side
from tests.farside import reply as answer
from tests.held.bad_input import CODE, ENDLESS, Place, endless
from tests.held.bad_upstreams import serve_wreck
from tests.plugins.live_marina import LiveMarina
from tests.protocol.test_large_documents import large_document


@pytest.fixture(scope="module")
def place(
    request: pytest.FixtureRequest, database: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A web process; with a heavy process beside it where the module's ``HEAVY`` says so."""
    team = make_team()
    log = tmp_path_factory.mktemp("held") / "web.log"
    numbers = (
        "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items SELECT generate_series(1, 20000); "
        "GRANT DELETE ON items TO PUBLIC"
    )
    dsn = make_database(numbers)
    # One value of 1 GB takes PostgreSQL ten seconds in a slow hour.
    settings = {
        "dsn": dsn,
        "allow_writes": True,
        "slow_query_seconds": 0.05,
        "statement_timeout": 25,
    }
    marina = LiveMarina(log, module="tests.held.metered_web:application")
    beside = marina.with_heavy() if getattr(request.module, "HEAVY", False) else nullcontext()
    with beside, marina.running(), far_side() as api:
        api.last = True
        api.serve("/text", endless("text/plain", b"some words and " * 5_000))
        api.serve("/json", endless("application/json", b'{"a": [1, "b"]}, ' * 5_000))
        api.serve("/right", answer(orjson.dumps({"rows": [{"id": 1}] * 100}), kind="application/json"))
        api.serve("/large.json", answer(large_document(), kind="application/json"))
        api.serve("/thousand.json", answer(orjson.dumps(make_document()), kind="application/json"))
        serve_wreck(api)
        create_source("wreck", "mcp", {"url": f"{api.origin}/wreck", "prefix": "wreck_"}, caller=team.owner)
        create_source("api", "http", {"base_url": api.origin}, caller=team.owner)
        create_source("toolkit", "toolkit", {}, caller=team.owner)
        create_source("items", "postgres", settings, caller=team.owner)
        create_source("code", "code", {"max_seconds": 0.5, "max_memory_mb": 64}, caller=team.owner)
        create_source("flows", "flows", {}, caller=team.owner)
        for name, code in CODE.items():
            tools = {"tools": ["calculate"]} if name == "call" else {}
            create_tool(name, "code", "python", {"code": code, **tools}, caller=team.owner)
        steps = {"steps": [{"tool": "calculate", "args": {"expression": "1"}}]}
        circle = create_tool("circle", "flows", "pipeline", steps, caller=team.owner)
        create_tool("endless", "flows", "workflow", ENDLESS, caller=team.owner)
        keys = team.key("tools:read", "tools:execute"), team.key("admin")
        yield Place(team, marina, api, dsn, *keys, {"circle": str(circle.pk)})
