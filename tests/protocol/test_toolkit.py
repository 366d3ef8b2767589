"""The toolkit through the official Python client, in both eras: each tool's result, and an error with its place."""

from __future__ import annotations

from typing import Any

import pytest

from servers.services.sources import create_source
from tests.factories import make_team
from tests.farside import far_side, reply
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio

ROWS = [{"k": "a", "x": 1}, {"k": "b", "x": "2.5"}]

CALLS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("calculate", {"expression": "0.1 + 0.2"}, {"result": 0.3, "exact": True}),
    ("parse_csv", {"content": "a\n1\n"}, {"columns": ["a"], "rows": [{"a": "1"}], "row_count": 1}),
    (
        "filter_data",
        {"data": ROWS, "field": "x", "operator": "gt", "value": 2},
        {"rows": [{"k": "b", "x": "2.5"}], "row_count": 1, "total_rows": 2},
    ),
    (
        "map_fields",
        {"data": ROWS, "field_mapping": {"k": "key"}},
        {"rows": [{"key": "a"}, {"key": "b"}], "row_count": 2},
    ),
    (
        "aggregate_data",
        {"data": ROWS, "group_by": [], "aggregations": {"x": "sum"}},
        {"rows": [{"x_sum": 3.5}], "row_count": 1, "total_rows": 2},
    ),
]


@pytest.fixture(scope="module")
def endpoint(port: int) -> Endpoint:
    team = make_team()
    create_source("toolkit", "toolkit", {}, caller=team.owner)
    return Endpoint(port, f"/mcp/{team.slug}", team.key())


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_every_tool_answers_and_says_where_its_input_is_wrong(endpoint: Endpoint, mode: str) -> None:
    async with connected(endpoint, mode) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert listed == {name for name, _, _ in CALLS} | {
            "analyze_structure",
            "fetch_json",
            "summarize_numeric",
        }
        for name, arguments, expected in CALLS:
            called = await client.call_tool(name, arguments)
            assert (called.is_error, called.structured_content) == (False, expected)
        analysed = await client.call_tool("analyze_structure", {"data": {"a": [1]}})
        assert analysed.structured_content is not None
        assert analysed.structured_content["type"] == "object"
        summed = await client.call_tool("summarize_numeric", {"data": ROWS})
        assert summed.structured_content is not None
        assert summed.structured_content["fields"]["x"]["avg"] == 1.75
        with far_side() as server:
            server.serve("/towns", reply(b'[{"town": "Delft"}]', kind="application/json"))
            fetched = await client.call_tool("fetch_json", {"url": f"{server.origin}/towns"})
        assert fetched.structured_content is not None
        assert fetched.structured_content["data"] == [{"town": "Delft"}]
        wrong = await client.call_tool("fetch_json", {"url": "http://169.254.169.254/latest/meta-data"})
        assert wrong.is_error
        assert "an address that Marina does not connect to" in str(wrong.content[0])
        wrong = await client.call_tool("calculate", {"expression": "1 / 0"})
        assert wrong.is_error
        assert "Column 3: division by zero" in str(wrong.content[0])
        wrong = await client.call_tool("summarize_numeric", {"data": ROWS, "fields": ["k"]})
        assert "Row 1, field k" in str(wrong.content[0])
