"""Every example of the guide's page gives what the page says."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.errors import MarinaError
from servers.execution.backends.toolkit.operations import offer_operations
from servers.execution.contract import Outcome

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "toolkit.md").read_text(encoding="utf-8")
FETCHES = "fetch_json"
"""Its example's host is nobody's; ``test_fetching`` fetches from a server of its own."""
EXAMPLES = [
    pair
    for pair in re.findall(r"```json\n(\{\"name\".*?)```\n+```json\n(.*?)```", PAGE, re.DOTALL)
    if FETCHES not in pair[0]
]


@pytest.mark.parametrize(("call", "result"), EXAMPLES)
async def test_an_example_gives_what_the_page_says(
    run: Callable[..., Awaitable[Outcome]], call: str, result: str
) -> None:
    given: dict[str, Any] = orjson.loads(call)
    outcome = await run(given["name"], **given["arguments"])
    assert orjson.loads(outcome.text) == orjson.loads(result)


def test_every_tool_has_an_example() -> None:
    assert {orjson.loads(call)["name"] for call, _ in EXAMPLES} == {tool.name for tool in offer_operations()}


async def test_the_quoted_faults_are_said(refused: Callable[..., Awaitable[MarinaError]]) -> None:
    rows = [{"price": 1}, {"price": 2}, {"price": "n/a"}]
    said = {
        (await refused("calculate", expression="(7-3)/0")).message,
        (await refused("aggregate_data", data=rows, group_by=[], aggregations={"price": "sum"})).message,
    }
    assert said == set(re.findall(r"^> (.*)$", PAGE, re.MULTILINE))
