"""The same tools over S3-compatible storage, on a real server of it; and what a hostile one makes of them: an error."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.errors import InvalidInput, NotFound
from servers.execution.backends.files import FilesBackend
from servers.execution.backends.files.answers import BadAnswer, read_code, read_page
from servers.execution.contract import Operation
from servers.execution.engine import Engine
from tests.objectstorage import KEYS, make_bucket, object_storage, storage_client
from tests.servers.execution.files.conftest import Caller, source_of

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def storage() -> Iterator[str]:
    """The address of a server of S3."""
    with object_storage() as address:
        yield address


@pytest.fixture
def s3(storage: str) -> Any:
    """A client of Amazon's, to look from the other side."""
    return storage_client(storage)


@pytest.fixture
def bucket(s3: Any) -> str:
    """A bucket with files, below ``team/`` and beside it."""
    return make_bucket(s3)


@pytest.fixture
def settings(storage: str, bucket: str) -> dict[str, Any]:
    return {"bucket": bucket, "endpoint": storage, "prefix": "team", **KEYS}


@pytest.fixture
def call(caller_of: Callable[..., Caller], settings: dict[str, Any]) -> Caller:
    return caller_of(**settings)


@pytest.fixture
def writing(caller_of: Callable[..., Caller], settings: dict[str, Any]) -> Caller:
    return caller_of(allow_writes=True, **settings)


def kinds(result: Any, key: str = "entries") -> dict[str, str]:
    return {entry["path"]: entry["type"] for entry in result[key]}


async def test_keys_are_listed_as_folders_and_files(call: Caller) -> None:
    result = await call("list_directory")
    assert kinds(result) == {
        "a": "directory",
        "docs": "directory",
        "gr\u00fc\u00dfe & <more>+?#%.txt": "file",
        "notes.txt": "file",
        "picture.png": "file",
    } | {key: kind for key, kind in kinds(result).items() if key.startswith("..")}
    notes = next(entry for entry in result["entries"] if entry["path"] == "notes.txt")
    assert notes["size"] == 34
    assert notes["modified"].endswith("Z")
    assert kinds(await call("list_directory", path="docs")) == {
        "docs/deep": "directory",
        "docs/guide.md": "file",
    }
    recursive = await call("list_directory", path="docs", recursive=True)
    assert kinds(recursive) == {
        "docs/deep": "directory",
        "docs/deep/depth.csv": "file",
        "docs/guide.md": "file",
    }
    assert ".hidden" in kinds(await call("list_directory", include_hidden=True))


async def test_keys_that_are_no_paths_are_shown_and_never_opened(call: Caller) -> None:
    listed = kinds(await call("list_directory", recursive=True, include_hidden=True))
    assert listed["a//b.txt"] == "other"
    assert listed["../escape.txt"] == "other"
    assert isinstance(await call.refused("read_file", path="../escape.txt"), InvalidInput)


async def test_text_bytes_and_ranges_are_read(call: Caller) -> None:
    guide = await call("read_file", path="docs/guide.md")
    assert guide["content"] == "# Guide\n\nAsk the harbour master.\n"
    assert guide["sha256"] == hashlib.sha256(guide["content"].encode()).hexdigest()
    assert (guide["mime_type"], guide["modified"][-1]) == ("text/markdown", "Z")
    picture = await call("read_file", path="picture.png")
    assert base64.b64decode(picture["content"]).startswith(b"\x89PNG")
    part = await call("read_file", path="notes.txt", offset=6, length=4)
    assert (part["content"], part["next_offset"], part["size"]) == ("line", 10, 34)
    assert (await call("read_file", path="gr\u00fc\u00dfe & <more>+?#%.txt"))["content"] == "odd\n"


async def test_a_large_object_is_read_in_parts_only(
    caller_of: Callable[..., Caller], settings: dict[str, Any], s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="team/large.bin", Body=bytes(range(256)) * 40)
    call = caller_of(**settings, max_size=1_000)
    assert (await call.refused("read_file", path="large.bin")).code == "result_too_large"
    part = await call("read_file", path="large.bin", offset=250, length=4)
    assert base64.b64decode(part["content"]) == bytes([250, 251, 252, 253])
    assert (part["sha256"], part["size"]) == (None, 10_240)
    assert isinstance(await call.refused("read_file", path="large.bin", offset=10_241), InvalidInput)
    found = await call("search_content", content_pattern="x", file_pattern="large.bin")
    assert found["skipped"]["too_large"] == 1


async def test_names_and_lines_are_found(call: Caller) -> None:
    assert kinds(await call("search_files", pattern="*.csv"), "files") == {"docs/deep/depth.csv": "file"}
    assert kinds(await call("search_files", pattern="docs/**/*.md"), "files") == {"docs/guide.md": "file"}
    found = await call("search_content", content_pattern="(?i)HARBOUR")
    assert found["matches"] == [{"path": "docs/guide.md", "line": 3, "text": "Ask the harbour master."}]
    assert found["skipped"]["binary"] == 1
    assert (await call("search_content", content_pattern="secret|upwards"))["matches"] == []


async def test_more_keys_than_a_page_holds_are_listed(
    call: Caller, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.execution.backends.files.bucket.PAGE_KEYS", 10)
    for number in range(25):
        s3.put_object(Bucket=bucket, Key=f"team/many/{number:02}.txt", Body=b"")
    files = await call("search_files", pattern="*", directory="many", max_results=20)
    assert (files["count"], files["truncated"]) == (20, True)
    last = await call("search_files", pattern="2?.txt", directory="many")
    assert [entry["name"] for entry in last["files"]] == [f"{number}.txt" for number in range(20, 25)]
    assert last["truncated"] is False


async def test_objects_are_written_and_replaced(writing: Caller, s3: Any, bucket: str) -> None:
    made = await writing("write_file", path="out/gr\u00f6\u00dfe.txt", content="ü\r\n")
    assert made["created"] is True
    stored = s3.get_object(Bucket=bucket, Key="team/out/gr\u00f6\u00dfe.txt")
    assert (stored["Body"].read(), stored["ContentType"]) == ("ü\r\n".encode(), "text/plain")
    assert (await writing("write_file", path="out/gr\u00f6\u00dfe.txt", content="x"))["created"] is False
    assert (await writing("create_directory", path="new/folder"))["created"] is True
    assert (await writing("create_directory", path="new/folder"))["created"] is False
    assert kinds(await writing("list_directory", path="new")) == {"new/folder": "directory"}
    big = "0123456789abcdef" * 40_000
    await writing("write_file", path="big.txt", content=big)
    assert s3.get_object(Bucket=bucket, Key="team/big.txt")["Body"].read().decode() == big


@pytest.mark.parametrize(
    "path",
    ["../team2/secret.txt", "/secret.txt", "..", "docs/../../secret.txt", "a\\b", "x\x00", "\ud800", ""],
)
async def test_no_path_leaves_the_prefix(writing: Caller, s3: Any, bucket: str, path: str) -> None:
    before = {each["Key"]: each["ETag"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    for tool, more in (("read_file", {}), ("write_file", {"content": "x"}), ("create_directory", {})):
        assert isinstance(await writing.refused(tool, path=path, **more), InvalidInput)
    assert {each["Key"]: each["ETag"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]} == before


async def test_paths_that_look_encoded_are_names(call: Caller) -> None:
    for path in ("%2e%2e/secret.txt", "..%2fsecret.txt", "?list-type=2", "#x", "team/notes.txt", "a&b=c"):
        assert (await call.refused("read_file", path=path)).code == "source_missing"


async def test_an_object_is_a_resource(files: Engine, call: Caller, bucket: str) -> None:
    (template,) = files.backend("files").offered(call.source.settings).resources
    assert template.uri == f"s3://{bucket}/team/{{+path}}"
    uri = f"s3://{bucket}/team/docs/guide.md"
    read = await files.execute(call.source, template.operation, {"uri": uri, "path": "docs/guide.md"})
    assert read.content == [
        {"uri": uri, "mimeType": "text/markdown", "text": "# Guide\n\nAsk the harbour master.\n"}
    ]
    with pytest.raises(NotFound):
        await files.execute(call.source, template.operation, {"uri": uri, "path": "nothing"})
    found = await files.complete(call.source, Operation("read_resource", {}), "path", "docs/", {})
    assert found.values == ["docs/deep/", "docs/guide.md"]


async def test_health_says_what_is_wrong_with_a_bucket(files: Engine, settings: dict[str, Any]) -> None:
    assert (await files.check(source_of(**settings))).state == "healthy"
    missing = await files.check(source_of(**{**settings, "bucket": "no-such-bucket"}))
    assert (missing.state, missing.code) == ("unhealthy", "source_missing")
    assert "no-such-bucket" in missing.reason
    nobody = await files.check(source_of(**{**settings, "endpoint": "http://127.0.0.1:1"}))
    assert (nobody.state, nobody.code) == ("unhealthy", "source_unreachable")
    private = await files.check(source_of(**{**settings, "endpoint": "http://10.1.2.3"}))
    assert (private.state, private.code) == ("unhealthy", "source_denied")
    for health in (missing, nobody, private):
        assert KEYS["secret_key"] not in health.reason


async def test_each_tool_says_that_the_bucket_is_not_there(
    caller_of: Callable[..., Caller], settings: dict[str, Any]
) -> None:
    call = caller_of(**{**settings, "bucket": "no-such-bucket"}, allow_writes=True)
    for tool, arguments in (
        ("list_directory", {}),
        ("read_file", {"path": "notes.txt"}),
        ("search_files", {"pattern": "*"}),
        ("search_content", {"content_pattern": "x"}),
        ("write_file", {"path": "notes.txt", "content": "x"}),
        ("create_directory", {"path": "docs"}),
    ):
        fault = await call.refused(tool, **arguments)
        assert fault.code == "source_missing", tool
        assert "no bucket no-such-bucket" in fault.message, tool


def test_the_secret_key_is_never_shown(settings: dict[str, Any]) -> None:
    backend = FilesBackend()
    cleaned = backend.clean_settings(settings)
    assert cleaned["secret_key"] == KEYS["secret_key"]
    assert KEYS["secret_key"] not in str(backend.describe_settings(cleaned))
    assert KEYS["secret_key"] not in repr(source_of(**cleaned))


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "root"),
        ({"bucket": "ab"}, "bucket"),
        ({"bucket": "Upper"}, "bucket"),
        ({"bucket": "a/../b"}, "bucket"),
        ({"bucket": "a..b"}, "bucket"),
        ({"bucket": "bucket", "root": "docs"}, "root"),
        ({"root": "docs", "endpoint": "https://x.example"}, "endpoint"),
        ({"bucket": "bucket", "endpoint": "ftp://x.example"}, "endpoint"),
        ({"bucket": "bucket", "endpoint": "https://user:pass@x.example"}, "endpoint"),
        ({"bucket": "bucket", "endpoint": "https://x.example/path"}, "endpoint"),
        ({"bucket": "bucket", "endpoint": "https://x.example?q"}, "endpoint"),
        ({"bucket": "bucket", "endpoint": "https://x.example:99999"}, "endpoint"),
        ({"bucket": "bucket", "endpoint": "https://x\nexample"}, "endpoint"),
        ({"bucket": "bucket", "region": "eu west"}, "region"),
        ({"bucket": "bucket", "region": "x.evil.example/"}, "region"),
        ({"bucket": "bucket", "prefix": "../up"}, "prefix"),
        ({"bucket": "bucket", "access_key": "A"}, "secret_key"),
        ({"bucket": "bucket", "secret_key": "S"}, "access_key"),
        ({"bucket": "bucket", "access_key": "A B", "secret_key": "S"}, "access_key"),
    ],
)
def test_faults_of_a_buckets_settings_are_named(given: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        FilesBackend().clean_settings(given)
    assert path in {fault["path"] for fault in caught.value.errors}


def test_amazons_endpoint_is_that_of_the_region() -> None:
    cleaned = FilesBackend().clean_settings({"bucket": "bucket", "region": "eu-central-1"})
    assert cleaned["endpoint"] == "https://s3.eu-central-1.amazonaws.com"
    assert "access_key" not in cleaned


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<ListBucketResult><Contents><Key>&b;</Key><Size>1</Size></Contents></ListBucketResult>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<ListBucketResult><Contents><Key>&a;</Key><Size>1</Size></Contents></ListBucketResult>"""
NO_PAGES = [
    b"",
    b"no xml",
    b"<html><body>sign in</body></html>",
    b"<ListBucketResult>",
    BOMB,
    OUTSIDE,
    b"<ListBucketResult>" + b"<a>" * 1_000 + b"</a>" * 1_000 + b"</ListBucketResult>",
    b"<ListBucketResult><Contents><Key>x</Key><Size>-1</Size></Contents></ListBucketResult>",
    b"<ListBucketResult><Contents><Key>x</Key><Size>9" + b"9" * 30 + b"</Size></Contents></ListBucketResult>",
    b"<ListBucketResult><Contents><Key>" + b"x" * 10_000 + b"</Key></Contents></ListBucketResult>",
    b"<ListBucketResult>\xff\xfe</ListBucketResult>",
]


@pytest.mark.parametrize("document", NO_PAGES)
def test_what_is_no_listing_is_not_taken(document: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_page(document)
    assert read_code(document) == ""


def test_an_errors_code_is_a_word_or_nothing() -> None:
    assert read_code(b"<Error><Code>NoSuchKey</Code><Message>secret</Message></Error>") == "NoSuchKey"
    for code in (b"two words", b"<b>x</b>", b"x" * 65, "ü".encode()):
        assert read_code(b"<Error><Code>" + code + b"</Code></Error>") == ""
