"""A source opened for one call: its files, what its settings allow, and the arguments of tools read. Runs no tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from core.errors import SourceError
from servers.execution.backends.files.paths import extension_of
from servers.execution.backends.files.settings import FilesSettings
from servers.execution.backends.files.storage import Storage
from servers.execution.contract import Context, Outcome
from servers.execution.folders.paths import clean_path, refuse
from servers.execution.folders.threads import Stop


@dataclass(frozen=True, slots=True)
class Opened:
    """``uri`` is what the URIs of its files begin with."""

    storage: Storage
    settings: FilesSettings
    uri: str
    stop: Stop
    context: Context

    def uri_of(self, path: str) -> str:
        """The URI of a file, as the source's resource template has it."""
        return self.uri + quote(path, safe="/-._~")

    def check_extension(self, path: str) -> None:
        """Raise ``SourceError`` where the settings block the file's extension."""
        extension = extension_of(path)
        if extension in self.settings.blocked:
            raise SourceError(
                f"Files that end in {extension} are blocked in this data source; its settings say which are.",
                code="source_denied",
                data={"path": path},
            )


def path_argument(arguments: Mapping[str, Any], name: str, *, folder: bool = False) -> str:
    """The path in an argument; of a folder that is not given, the root. Raises ``InvalidInput``."""
    return clean_path(arguments.get(name, "" if folder else None), name, folder=folder)


def flag_argument(arguments: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """True or false. Raises ``InvalidInput``."""
    value = arguments.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        refuse(name, "Give true or false.")
    return value


def number_argument(
    arguments: Mapping[str, Any], name: str, *, low: int, high: int, default: int | None = None
) -> int | None:
    """A whole number; ``default`` where it is not given. Raises ``InvalidInput``."""
    value = arguments.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse(name, f"Give a whole number from {low} to {high}.")
    return value


def outcome(structured: dict[str, Any], *, rows: int | None = None, truncated: bool = False) -> Outcome:
    """A tool's result, and the same as text."""
    text = orjson.dumps(structured)
    return Outcome(structured, text.decode(), rows=rows, size=len(text), truncated=truncated)
