"""Shows folders and reads files: list_directory, read_file, the resource, and the completion of its path."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from core.errors import InvalidInput, NotFound, SourceError
from servers.execution.backends.files.decoding import BINARY, ENCODINGS, decode, first_lines
from servers.execution.backends.files.opened import (
    Opened,
    flag_argument,
    number_argument,
    outcome,
    path_argument,
)
from servers.execution.backends.files.paths import compile_glob, mime_type_of
from servers.execution.backends.files.storage import (
    FileEntry,
    PathMissing,
    Piece,
    Walk,
    as_unknown_resource,
    too_large,
)
from servers.execution.contract import Completion, Outcome
from servers.execution.folders.paths import clean_path, refuse

MAX_ENTRIES: Final = 1_000
MAX_OFFSET: Final = 2**53 - 1
_COMPLETIONS: Final = 100


async def list_directory(opened: Opened, arguments: Mapping[str, Any]) -> Outcome:
    """The entries of a folder. Raises ``SourceError`` or ``InvalidInput``."""
    path = path_argument(arguments, "path", folder=True)
    pattern = arguments.get("pattern")
    fits = None if pattern is None else compile_glob(pattern)

    def wanted(entry: FileEntry) -> bool:
        return fits is None or fits(entry.name, below(entry.path, path))

    listing = await opened.storage.list(
        Walk(
            directory=path,
            recursive=flag_argument(arguments, "recursive", default=False),
            hidden=flag_argument(arguments, "include_hidden", default=False),
            most=MAX_ENTRIES,
            wanted=wanted,
        )
    )
    entries = [shown_entry(entry) for entry in listing.entries]
    return outcome(
        {"path": path, "entries": entries, "count": len(entries), "truncated": listing.truncated},
        rows=len(entries),
        truncated=listing.truncated,
    )


async def read_file(opened: Opened, arguments: Mapping[str, Any]) -> Outcome:
    """A file, or a part of one. Raises ``SourceError`` or ``InvalidInput``."""
    path = path_argument(arguments, "path")
    encoding = arguments.get("encoding")
    if encoding is not None and encoding not in (*ENCODINGS, BINARY):
        refuse("encoding", f"Give one of {', '.join((*ENCODINGS, BINARY))}.")
    most_lines = number_argument(arguments, "max_lines", low=1, high=1_000_000)
    most = opened.settings.max_bytes
    length = number_argument(arguments, "length", low=1, high=most, default=most) or most
    offset = number_argument(arguments, "offset", low=0, high=MAX_OFFSET, default=0) or 0
    part = arguments.get("length") is not None or arguments.get("offset") is not None
    whole = min(
        opened.settings.max_size, number_argument(arguments, "max_size", low=1, high=MAX_OFFSET) or MAX_OFFSET
    )
    piece = await _read(opened, path, offset=offset, most=length, whole=whole, part=part)
    return _shown_file(opened, path, piece, encoding, most_lines)


async def read_resource(opened: Opened, arguments: Mapping[str, Any]) -> Outcome:
    """A file as a resource's contents. Raises ``NotFound`` where there is none that may be read."""
    uri = str(arguments.get("uri", ""))
    most = opened.settings.max_bytes
    try:
        path = clean_path(arguments.get("path"))
        piece = await _read(opened, path, offset=0, most=most, whole=opened.settings.max_size, part=False)
    except InvalidInput as fault:
        raise NotFound(fault.message, code="resource_unknown") from None
    except PathMissing as fault:
        raise as_unknown_resource(fault) from None
    if piece.size > len(piece.data):
        raise SourceError(
            f"{path} has {piece.size} bytes; a resource of this data source has at most {most}. Read it in parts with "
            "read_file.",
            code="result_too_large",
            data={"path": path, "size": piece.size, "max_bytes": most},
        )
    text = decode(piece.data, None, begins=True, ends=True)
    contents: dict[str, Any] = {"uri": uri, "mimeType": mime_type_of(path, binary=text is None)}
    if text is None:
        contents["blob"] = base64.b64encode(piece.data).decode()
    else:
        contents["text"] = text.text
    return Outcome(None, "", size=len(piece.data), content=[contents])


async def complete_path(opened: Opened, value: str) -> Completion:
    """The entries of the folder that a path is in, so far as it is typed, that begin with its last part."""
    folder, _, begun = value.rpartition("/")
    try:
        directory = clean_path(folder, folder=True)
    except InvalidInput:
        return Completion(())

    def wanted(entry: FileEntry) -> bool:
        return entry.type != "other" and entry.name.startswith(begun)

    walk = Walk(directory, recursive=False, hidden=begun.startswith("."), most=_COMPLETIONS, wanted=wanted)
    try:
        listing = await opened.storage.list(walk)
    except PathMissing:
        return Completion(())
    values = [entry.path + ("/" if entry.type == "directory" else "") for entry in listing.entries]
    return Completion(values, None if listing.truncated else len(values), has_more=listing.truncated)


def below(path: str, directory: str) -> str:
    """A path from a folder on that it is in."""
    return path[len(directory) + 1 :] if directory else path


def shown_entry(entry: FileEntry) -> dict[str, Any]:
    """An entry as results have it."""
    return {
        "path": entry.path,
        "name": entry.name,
        "type": entry.type,
        "size": entry.size,
        "modified": entry.modified,
    }


async def _read(opened: Opened, path: str, *, offset: int, most: int, whole: int, part: bool) -> Piece:
    opened.check_extension(path)
    piece = await opened.storage.read(path, offset=offset, most=most, whole=whole)
    if piece.digest is None and not part:
        raise too_large(path, piece.size, whole)
    if offset > piece.size:
        refuse("offset", f"The file ends at byte {piece.size}.")
    return piece


def _shown_file(
    opened: Opened, path: str, piece: Piece, encoding: str | None, most_lines: int | None
) -> Outcome:
    begins, ends = piece.offset == 0, piece.offset + len(piece.data) >= piece.size
    text = None if encoding == BINARY else decode(piece.data, encoding, begins=begins, ends=ends)
    taken = len(piece.data)
    if text is not None:
        text = text if most_lines is None else first_lines(text, most_lines)
        taken = text.taken
    end = piece.offset + taken
    truncated = end < piece.size
    mime_type = mime_type_of(path, binary=text is None)
    blob = "" if text is not None else base64.b64encode(piece.data).decode()
    structured: dict[str, Any] = {
        "path": path,
        "size": piece.size,
        "mime_type": mime_type,
        "modified": piece.modified,
        "sha256": piece.digest,
        "encoding": "base64" if text is None else text.encoding,
        "content": blob if text is None else text.text,
        "offset": piece.offset,
        "length": taken,
        "lines": None if text is None else _count_lines(text.text),
        "truncated": truncated,
        "next_offset": end if truncated else None,
    }
    if text is not None:
        return outcome(structured, rows=structured["lines"], truncated=truncated)
    summary = outcome({**structured, "content": ""}, truncated=truncated)
    resource = {"uri": opened.uri_of(path), "mimeType": mime_type, "blob": blob}
    return Outcome(
        structured,
        summary.text,
        size=summary.size + 2 * len(blob),
        truncated=truncated,
        content=[{"type": "text", "text": summary.text}, {"type": "resource", "resource": resource}],
    )


def _count_lines(text: str) -> int:
    return text.count("\n") + (0 if not text or text.endswith("\n") else 1)
