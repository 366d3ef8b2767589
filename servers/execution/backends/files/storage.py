"""What the tools need of a place where files are, and the faults that all such places have in common. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from core.errors import NotFound, SourceError

EntryType = Literal["file", "directory", "other"]

MAX_SEEN: Final = 50_000
"""Entries that one listing or search looks at."""


TEMPORARY: Final = ".marina-"
"""What the names of files begin with while they are written. They are hidden, and never listed."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What lies at a path, told from the source's root on. ``other`` is what is never opened: links, pipes, devices.

    ``size`` in bytes, of files only; ``modified`` in ISO 8601, UTC.
    """

    path: str
    name: str
    type: EntryType
    size: int | None = None
    modified: str | None = None


@dataclass(frozen=True, slots=True)
class Walk:
    """What to list. ``wanted`` is asked for each entry; ``most`` of those that it wants are given.

    Folders that it does not want are looked into all the same.
    """

    directory: str
    recursive: bool
    hidden: bool
    most: int
    wanted: Callable[[FileEntry], bool]


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries by path. ``truncated``: there may be more than were looked at or asked for."""

    entries: Sequence[FileEntry]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file from ``offset`` on. ``size`` is the whole file's, ``digest`` its SHA-256 where all was read."""

    data: bytes
    offset: int
    size: int
    modified: str | None
    digest: str | None


class Reader(Protocol):
    """Takes files one after the other, in a thread."""

    def begin(self, path: str) -> bool:
        """A file begins. ``False`` where neither it nor the others are wanted."""
        ...

    def take(self, piece: bytes) -> bool:
        """More of it. ``False`` where no more of it is wanted."""
        ...

    def end(self, fault: SourceError | None) -> None:
        """That was the file, or it could not be read. What is raised here ends the reading."""
        ...


class Storage(Protocol):
    """One source's files. Paths are clean (``folders.paths.clean_path``). Raises ``SourceError``."""

    async def list(self, walk: Walk) -> Listing:
        """The entries of a folder, by path."""
        ...

    async def read(self, path: str, *, offset: int, most: int, whole: int) -> Piece:
        """At most ``most`` bytes of a file. A file of at most ``whole`` bytes is read whole, for its digest."""
        ...

    async def scan(self, paths: Sequence[str], reader: Reader, *, most: int) -> None:
        """Hand the files, one after the other, to ``reader`` in a thread: of each ``most`` bytes at most."""
        ...

    async def write(self, path: str, content: bytes, *, create_dirs: bool) -> bool:
        """Put a file there, whole or not at all. Whether there was none before."""
        ...

    async def make_directory(self, path: str) -> bool:
        """Make a folder and those above it. Whether there was none before."""
        ...


class PathMissing(SourceError):
    """There is nothing at the path, or nothing that may be opened."""


def missing(path: str, *, folder: bool = False) -> PathMissing:
    """There is no such file or folder."""
    what = "folder" if folder else "file"
    named = f" {path}" if path else ""
    return PathMissing(
        f"There is no {what}{named} in this data source. list_directory and search_files show what there is.",
        code="source_missing",
        data={"path": path},
    )


def not_plain(path: str) -> PathMissing:
    """What lies there is never opened."""
    return PathMissing(
        f"{path} is not opened: only regular files are that have one name, below the source's root. Links, pipes, "
        "devices and other file systems are not followed.",
        code="source_denied",
        data={"path": path},
    )


def denied(path: str, doing: str) -> SourceError:
    """The system, or the storage, does not let Marina."""
    return SourceError(
        f"Marina may not {doing} {path or 'the root'}. Ask whoever keeps these files for the right to.",
        code="source_denied",
        data={"path": path},
    )


def too_large(path: str, size: int, most: int) -> SourceError:
    """A file is larger than is read whole."""
    return SourceError(
        f"{path} has {size} bytes; at most {most} are read whole. Read a part of it with offset and length.",
        code="result_too_large",
        data={"path": path, "size": size, "max_bytes": most},
    )


def as_unknown_resource(fault: SourceError) -> NotFound:
    """The same for a resource: what cannot be opened is not there."""
    return NotFound(fault.message, code="resource_unknown")
