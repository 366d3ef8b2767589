"""Writes files and makes folders: write_file, create_directory. Only where the settings of the source allow it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from core.errors import SourceError
from servers.execution.backends.files.opened import Opened, flag_argument, outcome, path_argument
from servers.execution.backends.files.paths import mime_type_of
from servers.execution.backends.files.storage import TEMPORARY
from servers.execution.contract import Outcome
from servers.execution.folders.paths import refuse

CONTENT_ENCODINGS: Final = ("utf-8", "base64")


async def write_file(opened: Opened, arguments: Mapping[str, Any]) -> Outcome:
    """Put a file there, in place of one that is there. Raises ``SourceError`` or ``InvalidInput``."""
    _check_writes_allowed(opened)
    path = _path(arguments)
    opened.check_extension(path)
    content = _content(arguments)
    most = opened.settings.max_size
    if len(content) > most:
        refuse(
            "content", f"The content has {len(content)} bytes; a file of this data source has at most {most}."
        )
    create_dirs = flag_argument(arguments, "create_dirs", default=False)
    created = await opened.storage.write(path, content, create_dirs=create_dirs)
    await opened.context.resource_updated(opened.uri_of(path))
    return outcome(
        {
            "path": path,
            "size": len(content),
            "mime_type": mime_type_of(path, binary=arguments.get("encoding") == "base64"),
            "sha256": hashlib.sha256(content).hexdigest(),
            "created": created,
        }
    )


async def create_directory(opened: Opened, arguments: Mapping[str, Any]) -> Outcome:
    """Make a folder, and those above it. Raises ``SourceError`` or ``InvalidInput``."""
    _check_writes_allowed(opened)
    path = _path(arguments)
    return outcome({"path": path, "created": await opened.storage.make_directory(path)})


def _check_writes_allowed(opened: Opened) -> None:
    if not opened.settings.allow_writes:
        raise SourceError(
            "This data source only reads. An admin may allow writes in its settings (allow_writes).",
            code="source_denied",
        )


def _path(arguments: Mapping[str, Any]) -> str:
    path = path_argument(arguments, "path")
    if any(part.startswith(TEMPORARY) for part in path.split("/")):
        refuse("path", f"Names that begin with {TEMPORARY} are kept for files that are being written.")
    return path


def _content(arguments: Mapping[str, Any]) -> bytes:
    content, encoding = arguments.get("content"), arguments.get("encoding") or "utf-8"
    if not isinstance(content, str):
        refuse("content", "Give the content as text.")
    if encoding not in CONTENT_ENCODINGS:
        refuse("encoding", f"Give one of {', '.join(CONTENT_ENCODINGS)}.")
    try:
        if encoding == "base64":
            return base64.b64decode(content, validate=True)
        return content.encode()
    except binascii.Error:
        refuse("content", "It is not base64. Give base64, or leave out the encoding for text.")
    except UnicodeEncodeError:
        refuse("content", "It holds half of a surrogate pair, which is no character.")
