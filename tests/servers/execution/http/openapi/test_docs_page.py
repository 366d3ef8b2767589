"""The examples and the limits of the page on OpenAPI documents are so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from servers.execution.backends.http import HttpBackend
from servers.execution.backends.http.openapi.conversion import INPUT_BYTES, OUTPUT_BYTES
from servers.execution.backends.http.openapi.documents import MAX_DEPTH, MAX_JSON_BYTES, MAX_YAML_BYTES
from servers.services.offerings import MAX_OFFERED
from tests.servers.execution.http.openapi.published import imported
from tests.servers.execution.http.openapi.shop import document

PAGE = (Path(__file__).resolve().parents[5] / "docs" / "openapi.md").read_text()
EXAMPLES: list[dict[str, Any]] = [
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]
ORDERS = document(
    servers=[{"url": "https://orders.example.com"}],
    paths={
        "/orders": {"get": {"operationId": "list_orders"}},
        "/orders/{id}": {"get": {"operationId": "get_order"}, "delete": {"operationId": "drop_order"}},
        "/customers": {"post": {"operationId": "add_customer", "tags": ["customers"]}},
    },
)


def names_offered(settings: dict[str, Any]) -> set[str]:
    backend = HttpBackend()
    return {tool.name for tool in backend.offered(backend.clean_settings(settings)).tools}


def test_first_example_picks_its_operations() -> None:
    settings = {**EXAMPLES[0]["settings"], "openapi": ORDERS}
    assert names_offered(settings) == {"list_orders", "get_order", "add_customer"}
    assert names_offered({**settings, "allow_writes": False}) == {"list_orders", "get_order"}


def test_last_example_makes_tools_of_marina() -> None:
    (wanted,) = {tuple(EXAMPLES[1]["settings"]["operations"])}
    tags = {tag for each in imported("marina").operations for tag in each.tags}
    assert {pick.removeprefix("tag:") for pick in wanted} <= tags


def test_limits_are_those_of_the_page() -> None:
    plain = " ".join(PAGE.split())
    assert f"over {MAX_JSON_BYTES >> 20} MiB of JSON or {MAX_YAML_BYTES >> 20} MiB of YAML" in plain
    assert f"{MAX_DEPTH} levels" in plain
    assert f"more than {MAX_OFFERED:,} tools" in plain
    assert f"about {INPUT_BYTES >> 10} KiB of arguments, {OUTPUT_BYTES >> 10} KiB of an answer" in plain
