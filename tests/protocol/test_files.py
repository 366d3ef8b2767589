"""Files through real clients of both eras: every tool with its errors, the resource, completion, and the records."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from mcp.types import BlobResourceContents, ResourceTemplateReference, TextResourceContents

from core.threads import run_sync
from servers.services.sources import create_source
from tests.factories import Team, make_team
from tests.protocol.conftest import ALL_SCOPES, HearAll, Records
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio


@pytest.fixture
def shelf(hear_all: HearAll) -> Team:
    """A team whose source may be written."""
    team = make_team()
    folder: Path = settings.ENV.files_roots[0] / str(team.tenant_id)
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "guide.md").write_text("# Guide\n\nAsk the harbour master.\n")
    (folder / "raw.bin").write_bytes(bytes(range(256)))
    (folder / "linked").symlink_to("/etc")
    create_source("shelf", "files", {"root": ".", "allow_writes": True}, caller=team.owner)
    hear_all()
    return team


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_every_tool_is_called_with_its_errors(
    port: int, shelf: Team, records: Records, mode: str
) -> None:
    key = await run_sync(shelf.key, *ALL_SCOPES)
    endpoint = Endpoint(port, f"/mcp/{shelf.slug}", key)
    async with connected(endpoint, mode) as client:

        async def call(name: str, **arguments: Any) -> Any:
            answer = await client.call_tool(name, arguments)
            assert not answer.is_error, answer
            return answer.structured_content

        async def fail(name: str, **arguments: Any) -> str:
            answer = await client.call_tool(name, arguments)
            assert answer.is_error, answer
            return str(answer.content[0])

        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools] == [
            "create_directory",
            "list_directory",
            "read_file",
            "search_content",
            "search_files",
            "write_file",
        ]
        entries = (await call("list_directory", recursive=True))["entries"]
        assert [(entry["path"], entry["type"]) for entry in entries] == [
            ("docs", "directory"),
            ("linked", "other"),
            ("raw.bin", "file"),
            ("docs/guide.md", "file"),
        ]
        assert (await call("read_file", path="docs/guide.md", max_lines=1))["content"] == "# Guide\n"
        raw = await client.call_tool("read_file", {"path": "raw.bin"})
        embedded = raw.content[1]
        assert embedded.type == "resource"
        assert isinstance(embedded.resource, BlobResourceContents)
        assert base64.b64decode(embedded.resource.blob) == bytes(range(256))
        assert (await call("search_files", pattern="*.md"))["count"] == 1
        assert (await call("search_content", content_pattern="harbour"))["matches"][0]["line"] == 3
        assert (await call("create_directory", path="out"))["created"] is True
        assert (await call("write_file", path="out/new.txt", content="new\n"))["created"] is True
        assert (await call("read_file", path="out/new.txt"))["content"] == "new\n"

        assert "no file nothing.txt" in await fail("read_file", path="nothing.txt")
        assert "not opened" in await fail("read_file", path="linked/passwd")
        assert "blocked" in await fail("write_file", path="run.sh", content="x")
        assert "There is no folder" in await fail("write_file", path="a/b/c", content="x")
        assert "There is no folder" in await fail("list_directory", path="nowhere")
        assert "There is no folder" in await fail("search_files", directory="nowhere", pattern="*")
        assert "not opened" in await fail("create_directory", path="raw.bin")

        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "file:///{+path}"
        contents = (await client.read_resource("file:///docs/guide.md")).contents
        assert isinstance(contents[0], TextResourceContents)
        assert contents[0].text == "# Guide\n\nAsk the harbour master.\n"
        for missing in ("file:///nothing", "file:///linked/passwd", "file:///docs/%2e%2e/raw.bin"):
            with pytest.raises(Exception, match=r"no file|not opened|Unknown resource"):
                await client.read_resource(missing)
        completed = await client.complete(
            ResourceTemplateReference(type="ref/resource", uri="file:///{+path}"),
            {"name": "path", "value": "docs/"},
        )
        assert completed.completion.values == ["docs/guide.md"]

    done = await run_sync(records, shelf)
    tools = [record["tool"] for record in done if record["kind"] == "tools/call"]
    assert tools.count("read_file") == 5
    assert [record for record in done if record["kind"] == "resources/read"]


async def test_an_expression_that_cannot_be_is_told_as_an_argument(port: int, shelf: Team) -> None:
    endpoint = Endpoint(port, f"/mcp/{shelf.slug}", await run_sync(shelf.key))
    answer = endpoint.legacy(
        "tools/call", {"name": "search_content", "arguments": {"content_pattern": "("}}, version="2025-11-25"
    )
    assert answer.result["isError"] is True
    assert "cannot be read" in str(answer.result["content"])
