"""Every example of the page on HTTP APIs works as it stands there, on an API of the test's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from servers.execution.backends.http import HttpBackend
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from tests.farside import Asked, FarSide, Send
from tests.servers.execution.http.conftest import as_json

PAGE = Path(__file__).resolve().parents[4] / "docs" / "http-apis.md"
EXAMPLES: list[dict[str, Any]] = [
    json.loads(block)
    for block in re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
]


@pytest.mark.anyio
async def test_examples_work(api: FarSide, engine: Engine) -> None:
    def shop(asked: Asked, send: Send) -> None:
        assert asked.headers["authorization"].startswith("Bearer ")
        send(as_json({"id": 7, "total": 12.5, "asked": f"{asked.method} {asked.target}"}))

    for path in ("/v1/orders", "/v1/orders/7", "/v1/orders/8", "/v1/orders/7/notes"):
        api.serve(path, shop)
    [made] = [each for each in EXAMPLES if "settings" in each]
    backend = engine.backend(made["kind"])
    settings = backend.clean_settings({**made["settings"], "base_url": f"{api.origin}/v1"})
    source = Source(uuid4(), 1, made["name"], made["kind"], 1, settings)
    offered = {tool.name: tool.operation for tool in backend.offered(settings).tools}
    said = []
    for each in EXAMPLES:
        if "arguments" in each:
            got = await engine.execute(source, offered[each["name"]], each["arguments"])
            assert not got.failed
            said.append(got.structured)
        elif "method" in each:
            tool = backend.compile("http", each)
            got = await engine.execute(source, tool.operation, {"id": 7, "fields": ["total"]})
            said.append(got.structured)
    assert [each.get("succeeded", each.get("status", 200)) for each in said] == [200, 200, 3, 200]
    assert [f"{asked.method} {asked.target}" for asked in api.asked[:2]] == [
        "GET /v1/orders/7?fields=total&fields=placed",
        "POST /v1/orders/7/notes",
    ]
    assert api.asked[1].body == b'{"text":"Call first"}'
    assert said[3]["asked"] == "GET /v1/orders/7?fields=total"


def test_curl_line_of_the_page_becomes_a_tool() -> None:
    [line] = re.findall(r"^```sh\n(curl .*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    draft = HttpBackend().draft("http", line, {"base_url": "https://api.example.com/v1"})
    assert (draft.definition["method"], draft.definition["path"]) == ("POST", "/orders/{order_id}/notes")
    assert draft.definition["parameters"].keys() == {"order_id", "draft", "text"}
    assert "the-token" not in str(draft)


@pytest.mark.anyio
async def test_page_names_every_tool_setting_and_code(engine: Engine) -> None:
    text = PAGE.read_text()
    backend = engine.backend("http")
    offering = backend.offered({"base_url": "https://api.example.com"})
    named = {name for tool in offering.tools for name in (tool.name, *tool.input_schema["properties"])}
    for name in (*named, *backend.settings_schema["properties"]):
        assert f"`{name}`" in text
    with pytest.raises(Exception, match="no operation"):
        await engine.execute(
            Source(uuid4(), 1, "x", "http", 1, {"base_url": "https://api.example.com"}),
            Operation("x", {}),
            {},
        )
