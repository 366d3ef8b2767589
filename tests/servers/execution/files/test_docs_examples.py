"""The examples of the guide's page on files do what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from servers.execution.engine import Engine
from tests.servers.execution.files.conftest import Caller, Shelves, source_of

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).resolve().parents[4] / "docs" / "files.md"
BLOCKS = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
EXAMPLES = [json.loads(block) for block in BLOCKS]
CALLS = [example for example in EXAMPLES if "arguments" in example]


async def test_every_call_of_the_page_runs(writing: Caller, shelves: Shelves) -> None:
    results: dict[str, Any] = {}
    for example in CALLS:
        results[example["name"]] = await writing(example["name"], **example["arguments"])
    assert set(results) == set(writing.tools)
    assert [entry["path"] for entry in results["list_directory"]["entries"]] == ["docs/guide.md"]
    assert results["read_file"]["content"].startswith("# Guide")
    assert [entry["path"] for entry in results["search_files"]["files"]] == ["docs/deep/depth.csv"]
    assert results["search_content"]["matches"][0]["line"] == 3
    assert (shelves.own / "out" / "2024" / "summary.txt").read_text() == "All is well.\n"
    assert (shelves.own / "out" / "2025").is_dir()


async def test_the_pages_source_can_be_made(files: Engine, shelves: Shelves) -> None:
    source, bucket = [example for example in EXAMPLES if example.get("kind") == "files"]
    cleaned = files.backend("files").clean_settings(bucket["settings"])
    assert files.backend("files").offered(cleaned).resources[0].uri == "s3://archive/reports/{+path}"
    (shelves.own / source["settings"]["root"]).mkdir()
    settings = files.backend("files").clean_settings(source["settings"])
    assert (await files.check(source_of(**settings))).state == "healthy"
    offered = files.backend("files").offered(settings)
    assert "write_file" in {tool.name for tool in offered.tools}
    assert offered.resources[0].uri == "file:///reports/{+path}"


async def test_the_page_names_every_argument_of_every_tool(writing: Caller) -> None:
    page = PAGE.read_text()
    for name, tool in writing.tools.items():
        (row,) = re.findall(rf"^\| `{name}` \|(.*)\|.*\|$", page, re.MULTILINE)
        assert re.findall(r"`(\w+)`", row) == list(tool.input_schema["properties"])
