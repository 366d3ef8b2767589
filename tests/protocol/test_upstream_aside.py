"""An upstream of before 2026-07-28 that asks on its session's own stream, by the official client of both eras."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mcp.client import ClientRequestContext
from mcp_types import ListRootsResult, Root, TextContent
from pydantic import FileUrl

from servers.services.sources import create_source
from tests.factories import make_team
from tests.marina.harbour import Harbour
from tests.protocol.conftest import ALL_SCOPES
from tests.protocol.officialclient import connected
from tests.protocol.test_upstream_servers import answer, sample
from tests.protocol.wireclient import Endpoint
from tests.servers.execution.mcp.shipyard import open_shipyard

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:The (sampling|roots) capability is deprecated"),
]


@pytest.fixture(scope="module")
def yard() -> Iterator[Harbour]:
    with open_shipyard("legacy") as harbour:
        yield harbour


@pytest.fixture(scope="module")
def access(port: int, yard: Harbour) -> Endpoint:
    team = make_team()
    create_source("yard", "mcp", {"url": yard.url}, caller=team.owner)
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


async def roots(context: ClientRequestContext) -> ListRootsResult:
    """The folders of somebody's client."""
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///ships"))])


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
@pytest.mark.parametrize(
    ("tool", "said"),
    [("name_aside", "Argo and Argo"), ("compose_aside", "yo ho"), ("survey", "file:///ships")],
)
async def test_what_is_asked_aside_crosses(
    mode: str, tool: str, said: str, access: Endpoint, yard: Harbour
) -> None:
    before = len(yard.of("tools/call"))
    async with connected(
        access, mode, elicitation_callback=answer, sampling_callback=sample, list_roots_callback=roots
    ) as client:
        result = await client.call_tool(tool, {})
    assert isinstance(result.content[0], TextContent)
    assert result.content[0].text == said
    assert len(yard.of("tools/call")) == before + 1
