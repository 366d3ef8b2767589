"""What the tools of a files source give: folders, text and bytes in whole and in parts, names and lines."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import InvalidInput, NotFound, SourceError
from servers.execution.contract import Operation
from servers.execution.engine import Engine
from tests.servers.execution.files.conftest import Caller, Shelves, odd_name, source_of

pytestmark = pytest.mark.anyio


def paths(result: Any, key: str = "entries") -> list[str]:
    return [entry["path"] for entry in result[key]]


async def test_a_folder_is_listed_by_name_with_type_size_and_time(call: Caller) -> None:
    result = await call("list_directory")
    assert paths(result) == ["docs", "notes.txt", "picture.png"]
    docs, notes, _ = result["entries"]
    assert (docs["type"], docs["size"]) == ("directory", None)
    assert (notes["type"], notes["size"]) == ("file", 34)
    assert notes["modified"].endswith("Z")
    assert result["truncated"] is False


async def test_listing_goes_into_folders_and_shows_hidden_names_when_asked(call: Caller) -> None:
    assert paths(await call("list_directory", path="docs", recursive=True)) == [
        "docs/deep",
        "docs/guide.md",
        "docs/deep/depth.csv",
    ]
    assert ".hidden" in paths(await call("list_directory", include_hidden=True))
    everything = await call("list_directory", recursive=True, include_hidden=True, pattern="*.txt")
    assert paths(everything) == ["notes.txt", ".hidden/inside.txt"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.md", ["docs/guide.md"]),
        ("d*.?sv", ["docs/deep/depth.csv"]),
        ("docs/**/*.csv", ["docs/deep/depth.csv"]),
        ("**/*.csv", ["docs/deep/depth.csv"]),
        ("docs/*", ["docs/guide.md"]),
        ("[!d]*", ["notes.txt", "picture.png", "docs/guide.md"]),
        ("[a-n]*.txt", ["notes.txt"]),
        ("notes.tx[t]", ["notes.txt"]),
        ("(a|a)*+{}^$", []),
    ],
)
async def test_files_are_found_by_patterns_of_names_and_paths(
    call: Caller, pattern: str, found: list[str]
) -> None:
    assert paths(await call("search_files", pattern=pattern), "files") == found


async def test_search_of_names_stops_at_its_limit_and_says_so(call: Caller) -> None:
    result = await call("search_files", pattern="*", max_results=2)
    assert (result["count"], result["truncated"]) == (2, True)
    assert paths(await call("search_files", pattern="*", recursive=False), "files") == [
        "notes.txt",
        "picture.png",
    ]


async def test_text_is_read_with_size_type_time_and_checksum(call: Caller, shelves: Shelves) -> None:
    result = await call("read_file", path="docs/guide.md")
    content = (shelves.own / "docs" / "guide.md").read_bytes()
    assert result["content"].encode() == content
    assert result["sha256"] == hashlib.sha256(content).hexdigest()
    assert (result["mime_type"], result["encoding"], result["lines"]) == ("text/markdown", "utf-8", 3)
    assert (result["size"], result["truncated"], result["next_offset"]) == (len(content), False, None)


async def test_bytes_come_as_base64_and_as_an_embedded_resource(call: Caller, shelves: Shelves) -> None:
    outcome = await call.outcome("read_file", path="picture.png")
    content = (shelves.own / "picture.png").read_bytes()
    assert outcome.structured["encoding"] == "base64"
    assert base64.b64decode(outcome.structured["content"]) == content
    assert outcome.content is not None
    embedded = outcome.content[1]["resource"]
    assert (embedded["uri"], embedded["mimeType"]) == ("file:///picture.png", "image/png")
    assert base64.b64decode(embedded["blob"]) == content


async def test_reading_goes_on_where_a_part_ended(caller_of: Callable[..., Caller], shelves: Shelves) -> None:
    call = caller_of(max_bytes=1_024)
    text = "".join(f"line {number} with an ü and a 🐚\n" for number in range(300))
    (shelves.own / "long.txt").write_text(text)
    parts: list[str] = []
    offset: int | None = 0
    while offset is not None:
        result = await call("read_file", path="long.txt", offset=offset)
        parts.append(result["content"])
        offset = result["next_offset"]
    assert len(parts) > 5
    assert "".join(parts) == text


async def test_lines_are_counted_and_cut_with_their_ends(call: Caller, shelves: Shelves) -> None:
    (shelves.own / "dos.txt").write_bytes(b"one\r\ntwo\r\nthree")
    result = await call("read_file", path="dos.txt", max_lines=2)
    assert (result["content"], result["lines"]) == ("one\r\ntwo\r\n", 2)
    assert (result["truncated"], result["next_offset"]) == (True, 10)
    rest = await call("read_file", path="dos.txt", offset=10)
    assert (rest["content"], rest["lines"], rest["truncated"]) == ("three", 1, False)


async def test_a_range_is_read_of_any_file(caller_of: Callable[..., Caller], shelves: Shelves) -> None:
    call = caller_of(max_size=1_000)
    (shelves.own / "big.bin").write_bytes(bytes(range(256)) * 40)
    fault = await call.refused("read_file", path="big.bin")
    assert fault.code == "result_too_large"
    assert "10240 bytes" in fault.message
    result = await call("read_file", path="big.bin", offset=250, length=4)
    assert base64.b64decode(result["content"]) == bytes([250, 251, 252, 253])
    assert (result["sha256"], result["size"], result["next_offset"]) == (None, 10_240, 254)


@pytest.mark.parametrize(
    ("content", "encoding", "text", "told"),
    [
        (b"\xef\xbb\xbfmarked", None, "marked", "utf-8"),
        ("größe".encode("latin-1"), "iso-8859-1", "größe", "iso-8859-1"),
        ("€".encode("cp1252"), "windows-1252", "€", "windows-1252"),
        ("é".encode("utf-16"), "utf-16", "é", "utf-16-le"),
        (b"\xfe\xff\x00a", "utf-16", "a", "utf-16-be"),
        ("港".encode("shift_jis"), "shift_jis", "港", "shift_jis"),
        (b"", None, "", "utf-8"),
    ],
)
async def test_text_is_read_in_the_encoding_that_is_named(
    call: Caller, shelves: Shelves, content: bytes, encoding: str | None, text: str, told: str
) -> None:
    (shelves.own / "text").write_bytes(content)
    given = {} if encoding is None else {"encoding": encoding}
    result = await call("read_file", path="text", **given)
    assert (result["content"], result["encoding"], result["truncated"]) == (text, told, False)


async def test_text_that_is_not_in_the_named_encoding_is_refused_with_the_place(
    call: Caller, shelves: Shelves
) -> None:
    (shelves.own / "text").write_bytes(b"ab\xff\xfe")
    fault = await call.refused("read_file", path="text", encoding="utf-8")
    assert "byte 2" in fault.message
    assert (await call("read_file", path="text"))["encoding"] == "base64"
    assert (await call("read_file", path="notes.txt", encoding="binary"))["encoding"] == "base64"


async def test_lines_that_match_are_found_with_their_numbers(call: Caller, shelves: Shelves) -> None:
    (shelves.own / "dos.log").write_bytes(b"ok\r\nERROR here\r\nok\r\nlast ERROR")
    result = await call("search_content", content_pattern="ERROR( here)?$")
    assert result["matches"] == [
        {"path": "dos.log", "line": 2, "text": "ERROR here"},
        {"path": "dos.log", "line": 4, "text": "last ERROR"},
    ]
    assert result["skipped"] == {"blocked": 0, "too_large": 0, "binary": 1, "unreadable": 0}
    assert (result["files_searched"], result["truncated"]) == (4, False)
    narrowed = await call(
        "search_content", content_pattern="(?i)HARBOUR", file_pattern="*.md", directory="docs"
    )
    assert narrowed["matches"] == [{"path": "docs/guide.md", "line": 3, "text": "Ask the harbour master."}]


async def test_content_search_stops_at_its_limit_and_says_so(call: Caller) -> None:
    result = await call("search_content", content_pattern="line", max_results=2)
    assert [match["line"] for match in result["matches"]] == [1, 2]
    assert result["truncated"] is True


async def test_lines_are_numbered_across_pieces_and_long_lines_are_found_once(
    call: Caller, shelves: Shelves
) -> None:
    long = b"x" * 700_000 + b"needle" + b"y" * 700_000 + b"needle"
    (shelves.own / "wide.txt").write_bytes(b"a\n" * 400_000 + long + b"\nneedle\n")
    result = await call("search_content", content_pattern="need+le", file_pattern="wide.txt")
    assert [match["line"] for match in result["matches"]] == [400_001, 400_002]
    assert "needle" in result["matches"][0]["text"]
    assert len(result["matches"][0]["text"]) < 500


@pytest.mark.parametrize("expression", [r"\Asecond", "(?-m)^second", "^second line$", r"[^q]*nd lin", "s.c"])
async def test_an_expression_means_the_same_for_a_line_as_by_itself(call: Caller, expression: str) -> None:
    result = await call("search_content", content_pattern=expression, file_pattern="notes.txt")
    assert [match["line"] for match in result["matches"]] == [2]


@pytest.mark.parametrize(
    "expression", ["(", "(?=a)", r"(a)\1", "", "a" * 1_001, "((a{1000}){1000}){1000}", "\ud800"]
)
async def test_an_expression_that_cannot_be_run_in_linear_time_is_refused(
    call: Caller, expression: str
) -> None:
    fault = await call.refused("search_content", content_pattern=expression)
    assert isinstance(fault, InvalidInput)
    assert fault.errors[0]["path"] == "content_pattern"


async def test_names_that_are_no_text_are_shown_and_never_opened(call: Caller, shelves: Shelves) -> None:
    for name in (
        b"caf\xe9.txt",
        b"line\nbreak.txt",
        b"back\\slash.txt",
        "grüße 港 🐚.txt".encode(),
        b"100%.txt",
    ):
        odd_name(shelves.own / "docs" / "deep", name)
    listed = await call("list_directory", path="docs/deep")
    kinds = {entry["name"]: entry["type"] for entry in listed["entries"]}
    assert kinds == {
        "caf\ufffd.txt": "other",
        "line\ufffdbreak.txt": "other",
        "back\\slash.txt": "other",
        "grüße 港 🐚.txt": "file",
        "100%.txt": "file",
        "depth.csv": "file",
    }
    assert (await call("read_file", path="docs/deep/grüße 港 🐚.txt"))["content"] == "odd\n"
    assert (await call("search_content", content_pattern="odd"))["count"] == 2


async def test_a_file_is_a_resource_by_its_path(files: Engine, call: Caller) -> None:
    (template,) = files.backend("files").offered(call.source.settings).resources
    assert (template.uri, template.template) == ("file:///{+path}", True)
    outcome = await files.execute(
        call.source, template.operation, {"uri": "file:///docs/guide.md", "path": "docs/guide.md"}
    )
    assert outcome.content == [
        {
            "uri": "file:///docs/guide.md",
            "mimeType": "text/markdown",
            "text": "# Guide\n\nAsk the harbour master.\n",
        }
    ]
    picture = await files.execute(
        call.source, template.operation, {"uri": "file:///picture.png", "path": "picture.png"}
    )
    assert picture.content is not None
    assert base64.b64decode(picture.content[0]["blob"]).startswith(b"\x89PNG")
    for path in ("nothing.txt", "docs", "../8/secret.txt", "/etc/passwd"):
        with pytest.raises(NotFound):
            await files.execute(call.source, template.operation, {"uri": f"file:///{path}", "path": path})


async def test_paths_of_the_template_are_completed(files: Engine, call: Caller) -> None:
    async def complete(value: str) -> list[str]:
        found = await files.complete(call.source, Operation("read_resource", {}), "path", value, {})
        return list(found.values)

    assert await complete("") == ["docs/", "notes.txt", "picture.png"]
    assert await complete("docs/g") == ["docs/guide.md"]
    assert await complete("../") == []
    assert await complete("nowhere/") == []


async def test_two_sources_of_a_team_have_uris_of_their_own(files: Engine, shelves: Shelves) -> None:
    def template(root: str) -> str:
        return files.backend("files").offered(source_of(root=root).settings).resources[0].uri

    assert template("docs") == "file:///docs/{+path}"
    assert template(str(shelves.own / "docs" / "deep")) == "file:///docs/deep/{+path}"
    assert template("a b{c}") == "file:///a%20b%7Bc%7D/{+path}"


async def test_arguments_that_no_schema_let_through_are_refused_all_the_same(call: Caller) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("list_directory", {"path": 7}),
        ("list_directory", {"recursive": "yes"}),
        ("list_directory", {"pattern": ""}),
        ("read_file", {}),
        ("read_file", {"path": "notes.txt", "encoding": "rot13"}),
        ("read_file", {"path": "notes.txt", "offset": -1}),
        ("read_file", {"path": "notes.txt", "offset": 35}),
        ("read_file", {"path": "notes.txt", "length": True}),
        ("search_files", {}),
        ("search_files", {"pattern": "*", "max_results": 1_001}),
        ("search_content", {"content_pattern": "a", "file_pattern": "x" * 501}),
    ]
    for tool, arguments in wrong:
        assert isinstance(await call.refused(tool, **arguments), InvalidInput), (tool, arguments)


async def test_what_is_missing_is_said_with_what_to_do_next(call: Caller) -> None:
    for tool, arguments in (
        ("read_file", {"path": "nothing.txt"}),
        ("read_file", {"path": "notes.txt/inside"}),
        ("list_directory", {"path": "nothing"}),
        ("search_files", {"directory": "nothing", "pattern": "*"}),
        ("search_content", {"directory": "nothing", "content_pattern": "a"}),
    ):
        fault = await call.refused(tool, **arguments)
        assert isinstance(fault, SourceError)
        assert fault.code == "source_missing"
        assert "list_directory" in fault.message
