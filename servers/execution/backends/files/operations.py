"""The tools and the resource template that every files source brings along, with their schemas. Runs none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from servers.execution.backends.files.decoding import BINARY, ENCODINGS
from servers.execution.backends.files.lines import MAX_EXPRESSION
from servers.execution.backends.files.paths import MAX_PATTERN
from servers.execution.backends.files.reading import MAX_ENTRIES, MAX_OFFSET
from servers.execution.backends.files.searching import DEFAULT_RESULTS, MAX_RESULTS
from servers.execution.backends.files.settings import FilesSettings
from servers.execution.backends.files.writing import CONTENT_ENCODINGS
from servers.execution.contract import Offered, OfferedResource, Offering, Operation
from servers.execution.folders.paths import MAX_PATH

RESOURCE: Final = "read_resource"

_READS: Final[Mapping[str, Any]] = {
    "readOnlyHint": True,
    "destructiveHint": False,
    "idempotentHint": True,
    "openWorldHint": False,
}
_WRITES: Final[Mapping[str, Any]] = {**_READS, "readOnlyHint": False, "destructiveHint": True}
_MAKES: Final[Mapping[str, Any]] = {**_READS, "readOnlyHint": False}
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

_TEXT: Final[Mapping[str, Any]] = {"type": "string"}
_COUNT: Final[Mapping[str, Any]] = {"type": "integer", "minimum": 0}
_FLAG: Final[Mapping[str, Any]] = {"type": "boolean"}
_MAYBE_TEXT: Final[Mapping[str, Any]] = {"type": ["string", "null"]}
_MAYBE_COUNT: Final[Mapping[str, Any]] = {"type": ["integer", "null"], "minimum": 0}

_ENTRIES: Final[Mapping[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["path", "name", "type", "size", "modified"],
        "additionalProperties": False,
        "properties": {
            "path": _TEXT,
            "name": _TEXT,
            "type": {"enum": ["file", "directory", "other"]},
            "size": _MAYBE_COUNT,
            "modified": _MAYBE_TEXT,
        },
    },
}


def offer(settings: FilesSettings, uri: str) -> Offering:
    """What a source with these settings brings. ``uri`` is what the URIs of its files begin with."""
    tools = [_list_directory(), _read_file(settings), _search_files(), _search_content(settings)]
    if settings.allow_writes:
        tools += [_write_file(settings), _create_directory()]
    return Offering(tools=tools, resources=[_resource(settings, uri)])


def _list_directory() -> Offered:
    return _tool(
        "list_directory",
        "List a folder",
        "List files and folders with their size and time of change, by path. Paths are told from the source's root on, "
        f"with slashes. At most {MAX_ENTRIES} entries come back: narrow the list with pattern, or list a folder below.",
        given={
            "path": _path("The folder; left out: the root.", folder=True),
            "pattern": _pattern(
                "Only names that fit, such as *.txt. With a slash in it: paths, such as docs/**/*.md."
            ),
            "recursive": {**_FLAG, "default": False, "description": "Look into folders below as well."},
            "include_hidden": {
                **_FLAG,
                "default": False,
                "description": "Names that begin with a dot as well.",
            },
        },
        gives={"path": _TEXT, "entries": _ENTRIES, "count": _COUNT, "truncated": _FLAG},
    )


def _read_file(settings: FilesSettings) -> Offered:
    return _tool(
        "read_file",
        "Read a file",
        "Read a file: its text, or for one that is not text its bytes as base64; with size, MIME type, time of change "
        f"and SHA-256. At most {settings.max_bytes} bytes come back at once; where truncated is true, go on with "
        f"offset set to next_offset. A file of more than {settings.max_size} bytes is read in parts only: give offset "
        "or length.",
        given={
            "path": _path("The file."),
            "encoding": {
                "enum": [*ENCODINGS, BINARY],
                "description": "Left out: UTF-8 where the file is, else binary.",
            },
            "max_lines": {
                "type": "integer",
                "minimum": 1,
                "maximum": 1_000_000,
                "description": "Most lines.",
            },
            "max_size": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_OFFSET,
                "description": "Read the file only if it has at most so many bytes.",
            },
            "offset": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_OFFSET,
                "description": "The byte to begin at.",
            },
            "length": {
                "type": "integer",
                "minimum": 1,
                "maximum": settings.max_bytes,
                "description": "Most bytes.",
            },
        },
        required=("path",),
        gives={
            "path": _TEXT,
            "size": _COUNT,
            "mime_type": _TEXT,
            "modified": _MAYBE_TEXT,
            "sha256": _MAYBE_TEXT,
            "encoding": _TEXT,
            "content": _TEXT,
            "offset": _COUNT,
            "length": _COUNT,
            "lines": _MAYBE_COUNT,
            "truncated": _FLAG,
            "next_offset": _MAYBE_COUNT,
        },
    )


def _search_files() -> Offered:
    return _tool(
        "search_files",
        "Find files by name",
        "Find files whose names fit a pattern, in a folder and those below. Hidden files are left out.",
        given={
            "directory": _path("Where to look; left out: the root.", folder=True),
            "pattern": _pattern("Such as report-*.csv. With a slash in it: paths, such as 2024/**/*.csv."),
            "recursive": {**_FLAG, "default": True, "description": "Look into folders below as well."},
            "max_results": _most(),
        },
        required=("pattern",),
        gives={"directory": _TEXT, "files": _ENTRIES, "count": _COUNT, "truncated": _FLAG},
    )


def _search_content(settings: FilesSettings) -> Offered:
    return _tool(
        "search_content",
        "Find lines in files",
        "Find lines that match an expression (RE2; for any case begin it with (?i)), with path and line number. "
        f"Hidden and binary files are left out, and those of more than {settings.max_size} bytes. Where truncated is "
        "true, not everything was searched: narrow it with directory and file_pattern.",
        given={
            "directory": _path("Where to look; left out: the root.", folder=True),
            "content_pattern": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_EXPRESSION,
                "description": "What a line must match, such as ERROR.*timeout.",
            },
            "file_pattern": _pattern("Only files whose names fit, such as *.log."),
            "max_results": _most(),
        },
        required=("content_pattern",),
        gives={
            "directory": _TEXT,
            "matches": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["path", "line", "text"],
                    "additionalProperties": False,
                    "properties": {"path": _TEXT, "line": _COUNT, "text": _TEXT},
                },
            },
            "count": _COUNT,
            "files_searched": _COUNT,
            "bytes_searched": _COUNT,
            "skipped": {
                "type": "object",
                "required": ["blocked", "too_large", "binary", "unreadable"],
                "additionalProperties": False,
                "properties": {
                    "blocked": _COUNT,
                    "too_large": _COUNT,
                    "binary": _COUNT,
                    "unreadable": _COUNT,
                },
            },
            "truncated": _FLAG,
        },
    )


def _write_file(settings: FilesSettings) -> Offered:
    return _tool(
        "write_file",
        "Write a file",
        "Write a file, in place of one that is there: readers see the old one or the new one, never half of it. At "
        f"most {settings.max_size} bytes.",
        given={
            "path": _path("The file."),
            "content": {"type": "string", "description": "All that is to be in the file."},
            "create_dirs": {
                **_FLAG,
                "default": False,
                "description": "Make the folders above it that are missing.",
            },
            "encoding": {
                "enum": list(CONTENT_ENCODINGS),
                "default": "utf-8",
                "description": "base64: the content is bytes, written as base64.",
            },
        },
        required=("path", "content"),
        gives={"path": _TEXT, "size": _COUNT, "mime_type": _TEXT, "sha256": _TEXT, "created": _FLAG},
        hints=_WRITES,
    )


def _create_directory() -> Offered:
    return _tool(
        "create_directory",
        "Make a folder",
        "Make a folder, with those above it that are missing. One that is there already is left as it is.",
        given={"path": _path("The folder.")},
        required=("path",),
        gives={"path": _TEXT, "created": _FLAG},
        hints=_MAKES,
    )


def _resource(settings: FilesSettings, uri: str) -> OfferedResource:
    return OfferedResource(
        uri=f"{uri}{{+path}}",
        name="file",
        title="A file",
        description=f"A file by its path, as text or bytes. At most {settings.max_bytes} bytes: larger ones are "
        "read in parts with read_file.",
        mime_type="",
        operation=Operation(RESOURCE, {}),
        template=True,
    )


def _tool(
    name: str,
    title: str,
    description: str,
    *,
    given: Mapping[str, Any],
    gives: Mapping[str, Any],
    required: tuple[str, ...] = (),
    hints: Mapping[str, Any] = _READS,
) -> Offered:
    return Offered(
        name=name,
        title=title,
        description=description,
        input_schema=_object(given, required),
        output_schema=_object(gives, tuple(gives)),
        annotations=hints,
        operation=Operation(name, {}),
    )


def _object(properties: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {
        "$schema": _DRAFT,
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": properties,
    }


def _path(description: str, *, folder: bool = False) -> dict[str, Any]:
    rule = {"type": "string", "maxLength": MAX_PATH, "description": description}
    return {**rule, "default": ""} if folder else {**rule, "minLength": 1}


def _pattern(description: str) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": MAX_PATTERN, "description": description}


def _most() -> dict[str, Any]:
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_RESULTS,
        "default": DEFAULT_RESULTS,
        "description": "Most results.",
    }
