"""Files through real clients of both eras: bytes, links, resources, completion, and the records."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from mcp.types import BlobResourceContents, ResourceTemplateReference, TextResourceContents

from core.threads import run_sync
from servers.services.sources import create_source
from tests.factories import Team, make_team
from tests.objectstorage import FILES, KEYS, make_bucket, object_storage, storage_client
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
async def test_files_are_read_written_and_recorded_and_links_are_not_followed(
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
        assert (await call("create_directory", path="out"))["created"] is True
        assert (await call("write_file", path="out/new.txt", content="new\n"))["created"] is True
        assert (await call("read_file", path="out/new.txt"))["content"] == "new\n"

        assert "not opened" in await fail("read_file", path="linked/passwd")
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
    assert tools.count("read_file") == 4
    assert [record for record in done if record["kind"] == "resources/read"]


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    """The address of a server of S3."""
    with object_storage() as address:
        yield address


@pytest.fixture(scope="module")
def buckets(port: int, storage: str) -> tuple[Endpoint, str]:
    """A team with a bucket, and with three that do not work: no such bucket, nobody there, an address inside."""
    client = storage_client(storage)
    bucket = make_bucket(client)
    team = make_team()
    well = {"bucket": bucket, "endpoint": storage, "prefix": "team", **KEYS}
    create_source("shelf", "files", well, caller=team.owner)
    for name, changed in (
        ("nobucket", {"bucket": "no-such-bucket"}),
        ("nobody", {"endpoint": "http://127.0.0.1:1"}),
        ("inside", {"endpoint": "http://10.1.2.3"}),
    ):
        create_source(name, "files", {**well, "prefix": name, **changed}, caller=team.owner)
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES)), bucket


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_buckets_files_are_tools_results_and_resources(
    buckets: tuple[Endpoint, str], mode: str
) -> None:
    endpoint, bucket = buckets
    begin = f"s3://{bucket}/team/"
    async with connected(endpoint, mode) as client:
        assert "write_file" not in {tool.name for tool in (await client.list_tools()).tools}
        listed = await client.call_tool("list_directory", {"recursive": True, "include_hidden": True})
        assert listed.structured_content is not None
        entries = {entry["path"]: entry["type"] for entry in listed.structured_content["entries"]}
        assert (entries["docs/guide.md"], entries["a//b.txt"], entries["../escape.txt"]) == (
            "file",
            "other",
            "other",
        )
        picture = await client.call_tool("read_file", {"path": "picture.png"})
        embedded = picture.content[1]
        assert embedded.type == "resource"
        assert isinstance(embedded.resource, BlobResourceContents)
        assert base64.b64decode(embedded.resource.blob) == FILES["team/picture.png"]

        assert f"{begin}{{+path}}" in {
            each.uri_template for each in (await client.list_resource_templates()).resource_templates
        }
        contents = (await client.read_resource(f"{begin}docs/guide.md")).contents
        assert isinstance(contents[0], TextResourceContents)
        assert contents[0].text == FILES["team/docs/guide.md"].decode()
        for missing in ("nothing", "../secret.txt", "%2e%2e/secret.txt", "a//b.txt"):
            with pytest.raises(Exception, match=r"no file|not opened|Unknown resource|path"):
                await client.read_resource(begin + missing)
        completed = await client.complete(
            ResourceTemplateReference(type="ref/resource", uri=f"{begin}{{+path}}"),
            {"name": "path", "value": "docs/"},
        )
        assert completed.completion.values == ["docs/deep/", "docs/guide.md"]


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("nobucket", "source_missing", "no bucket no-such-bucket"),
        ("nobody", "source_unreachable", "127.0.0.1:1"),
        ("inside", "source_denied", "does not connect to"),
    ],
)
async def test_storage_that_does_not_work_is_told_by_each_tool(
    buckets: tuple[Endpoint, str], mode: str, source: str, code: str, words: str
) -> None:
    endpoint, _ = buckets
    async with connected(endpoint, mode) as client:
        for tool, arguments in (
            ("list_directory", {}),
            ("read_file", {"path": "notes.txt"}),
            ("search_files", {"pattern": "*"}),
            ("search_content", {"content_pattern": "x"}),
        ):
            failed = await client.call_tool(f"{source}_{tool}", arguments)
            assert (failed.is_error, (failed.meta or {})["marina/error"]["code"]) == (True, code), tool
            assert words in str(failed.content[0]), tool
            assert KEYS["secret_key"] not in failed.model_dump_json()
