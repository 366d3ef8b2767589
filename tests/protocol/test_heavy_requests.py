"""Large calls, and data sources, with a heavy process beside the web process: clients see one Marina."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from mcp_types import TextContent

from config.protocol import HEAVY_BYTES
from servers.services.sources import create_source
from tests.bench.document import make_document
from tests.factories import Team, make_team
from tests.farside import far_side
from tests.plugins.live_marina import LiveMarina
from tests.protocol.conftest import ALL_SCOPES
from tests.protocol.officialclient import connected
from tests.protocol.test_upstream_servers import answer
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Answer, Endpoint
from tests.servers.execution.mcp.shipyard import open_shipyard

pytestmark = pytest.mark.anyio

CSV = "name,masts\n" + "Argo,3\n" * (HEAVY_BYTES // 7)


@pytest.fixture(scope="module")
def marina(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    marina = LiveMarina(tmp_path_factory.mktemp("heavy") / "web.log")
    with marina.with_heavy(), marina.running():
        yield marina


@pytest.fixture(scope="module")
def team() -> Team:
    team = make_team()
    create_source("toolkit", "toolkit", {}, caller=team.owner)
    return team


@pytest.fixture(scope="module")
def access(marina: LiveMarina, team: Team) -> Endpoint:
    return Endpoint(marina.port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES, "admin"))


@pytest.fixture(scope="module")
def asking(marina: LiveMarina) -> Iterator[Endpoint]:
    """A team whose upstream asks in the middle of a call."""
    team = make_team()
    with open_shipyard("legacy") as yard:
        create_source("yard", "mcp", {"url": yard.url}, caller=team.owner)
        yield Endpoint(marina.port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


def ended(answer: Answer) -> bool:
    """Whether the connection ended with an answer: of the heavy process each does, of a web process none."""
    return answer.headers["Connection"] == "close"


def test_large_calls_are_answered_there(access: Endpoint) -> None:
    large = access.call("parse_csv", {"content": CSV})
    assert large.result["structuredContent"]["row_count"] == HEAVY_BYTES // 7
    assert ended(large)
    assert not ended(access.call("calculate", {"expression": "1 + 1"}))


def test_who_is_not_let_in_with_a_large_call_is_told_so(access: Endpoint) -> None:
    """Refused before its body is read, which the client is sending yet."""
    refused = access.with_key("mcp_live_nobody_" + "x" * 32).call("parse_csv", {"content": CSV * 10})
    assert refused.status == 401
    assert "www-authenticate" in {name.lower() for name in refused.headers}
    assert ended(refused)


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_session_goes_on_around_a_large_call(mode: str, access: Endpoint) -> None:
    async with connected(access, mode) as client:
        assert (await client.call_tool("calculate", {"expression": "1 + 1"})).structured_content is not None
        large = await client.call_tool("parse_csv", {"content": CSV})
        assert not large.is_error
        assert large.structured_content is not None
        assert large.structured_content["row_count"] == HEAVY_BYTES // 7
        assert (await client.call_tool("calculate", {"expression": "1 + 1"})).structured_content is not None


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_what_a_large_call_asks_reaches_its_client(mode: str, asking: Endpoint) -> None:
    """Its answers come by requests of their own, which another process gets."""
    async with connected(asking, mode, elicitation_callback=answer) as client:
        named = await client.call_tool("weigh", {"ballast": "x" * HEAVY_BYTES})
    assert isinstance(named.content[0], TextContent)
    assert named.content[0].text == f"Argo carries {HEAVY_BYTES}"


def test_a_document_of_a_thousand_operations_is_taken_over_there(access: Endpoint, team: Team) -> None:
    with far_side() as api:
        source = {
            "name": "api",
            "kind": "http",
            "settings": {"openapi": make_document(), "base_url": api.origin},
        }
        made = access.at(f"/api/v1/tenants/{team.slug}/data-sources").send(orjson.dumps(source))
    assert made.status == 201
    assert ended(made)
    # Told to the web process as to any other.
    wait_for(lambda: len(access.modern("tools/list").result["tools"]) > 100)
