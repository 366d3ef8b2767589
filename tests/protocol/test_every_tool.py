"""Every tool of every kind of data source, through the official client in both eras: it answers, and it fails well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from servers.execution.backends import list_makers
from tests.factories import make_team
from tests.farside import far_side
from tests.objectstorage import object_storage
from tests.protocol.conftest import ALL_SCOPES
from tests.protocol.everytool import KINDS, FarSides, Kind, serve_tides
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio

WITHOUT = {"handmade", "mcp"}
"""Kinds that bring no tool of their own: resources and prompts made by hand, and what other servers offer."""


@pytest.fixture(scope="module")
def far() -> Iterator[FarSides]:
    with far_side() as web, object_storage() as storage:
        serve_tides(web)
        yield FarSides(web, storage)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """A row of the table."""
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def endpoint(port: int, kind: Kind, far: FarSides) -> Endpoint:
    """A team that has a source of the kind."""
    team = make_team()
    kind.furnish(team, far)
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_every_tool_answers_and_fails_with_its_reason(
    endpoint: Endpoint, kind: Kind, far: FarSides, mode: str
) -> None:
    async with connected(endpoint, mode) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert listed == kind.tools | kind.beside
        assert {call.tool for call in kind.calls} == {fault.tool for fault in kind.faults} == kind.tools
        assert all(call.gives for call in kind.calls)
        wrong: list[Any] = []
        for tool, arguments, gives in kind.calls:
            called = await client.call_tool(tool, far.filled(arguments))
            found: dict[str, Any] = called.structured_content or {}
            if called.is_error or {name: found.get(name) for name in gives} != gives:
                wrong.append((tool, arguments, called.structured_content or called.content))
        for tool, arguments, code, words in kind.faults:
            failed = await client.call_tool(tool, far.filled(arguments))
            told = (failed.meta or {}).get("marina/error", {}).get("code")
            if not failed.is_error or told != code or words not in str(failed.content[0]):
                wrong.append((tool, arguments, told, str(failed.content[0])[:500]))
    assert not wrong, "\n".join(map(str, wrong))


def test_no_kind_of_source_is_left_out() -> None:
    backends = [make() for make in list_makers(allow_address=lambda _: False).values()]
    kinds = {each.kind for each in backends if type(each).__module__.startswith("servers.")}
    assert kinds == {kind.kind for kind in KINDS} | WITHOUT
    assert {row for kind in KINDS for row in kind.rows} >= {"S1", "S2", "S3", "S4", "S5", "S6", "C1"}
