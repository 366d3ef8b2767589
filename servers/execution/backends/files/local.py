"""A folder of this machine as a place of files: everything beneath one descriptor, in threads, never on the loop.

Each use opens the root anew, so that nothing is kept open of a folder that its owner takes away.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Final, TypeVar

from core.errors import MarinaError, SourceError
from servers.execution.backends.files.leftovers import new_name, sweep_entry
from servers.execution.backends.files.paths import is_sayable, shown_name
from servers.execution.backends.files.storage import (
    MAX_SEEN,
    TEMPORARY,
    EntryType,
    FileEntry,
    Listing,
    Piece,
    Reader,
    Storage,
    Walk,
    denied,
    missing,
    not_plain,
    too_large,
)
from servers.execution.folders import beneath
from servers.execution.folders.paths import MAX_DEPTH
from servers.execution.folders.places import Place, make_folders, open_root
from servers.execution.folders.threads import Stop, Threads

T = TypeVar("T")

PIECE_BYTES: Final = 256 * 1024
_MOST_SWEPT: Final = 2_000
"""Entries of a root that a check looks through for what killed writes left; a listing does so wherever it comes."""

_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
_STRANGE: Final = frozenset({errno.ELOOP, errno.EXDEV, errno.ENXIO, errno.EISDIR, errno.ENODEV, errno.EINVAL})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class LocalFolder(Storage):
    """See ``storage.Storage``. One object a call."""

    def __init__(self, place: Place, tenant_id: int, threads: Threads, stop: Stop) -> None:
        self._place = place
        self._tenant_id = tenant_id
        self._threads = threads
        self._stop = stop

    async def list(self, walk: Walk) -> Listing:
        swept = self._place.make
        return await self._run(
            walk.directory, "list", lambda root: _list(root, walk, self._stop, swept=swept)
        )

    async def read(self, path: str, *, offset: int, most: int, whole: int) -> Piece:
        return await self._run(path, "read", lambda root: _read(root, path, offset, most, whole, self._stop))

    async def scan(self, paths: Sequence[str], reader: Reader, *, most: int) -> None:
        await self._run("", "read", lambda root: _scan(root, paths, reader, most, self._stop))

    async def write(self, path: str, content: bytes, *, create_dirs: bool) -> bool:
        return await self._run(
            path, "write", lambda root: _write(root, path, content, create_dirs, self._stop)
        )

    async def make_directory(self, path: str) -> bool:
        return await self._run(path, "make", lambda root: make_folders(root, path))

    async def check(self, *, writing: bool) -> None:
        """Open the root, and look whether it can be listed and, if so wanted, written. Raises ``SourceError``."""

        def look(root: int) -> None:
            with beneath.closing(beneath.open_folder(root, ".", listing=True)) as listing:
                if writing and not os.access(f"/proc/self/fd/{listing}", os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if writing:
                _entries_of(root, "", _MOST_SWEPT, self._stop, swept=True)

        await self._run("", "list and write" if writing else "list", look)

    async def _run(self, path: str, doing: str, work: Callable[[int], T]) -> T:
        def whole() -> T:
            self._stop.check()
            with _faults(path, doing), open_root(self._place) as root:
                return work(root)

        return await self._threads.run(self._tenant_id, self._stop, whole)


@contextmanager
def _faults(path: str, doing: str) -> Iterator[None]:
    """What the system says, in Marina's words: its own text names paths outside of the root."""
    try:
        yield
    except MarinaError:
        raise
    except beneath.NotPlain:
        raise not_plain(path) from None
    except OSError as fault:
        raise _told(fault, path, doing) from None


def _told(fault: OSError, path: str, doing: str) -> SourceError:
    if fault.errno in _MISSING:
        return missing(path, folder=doing in ("list", "make"))
    if fault.errno in _STRANGE:
        return not_plain(path)
    if fault.errno in _DENIED:
        return denied(path, doing)
    if fault.errno in _FULL:
        return SourceError(
            "There is no space left where these files are. Tell the operator.", code="source_full"
        )
    return SourceError(
        f"The files cannot be reached just now ({errno.errorcode.get(fault.errno or 0, 'unknown')}). "
        "Try again later; if it stays so, tell the operator.",
        code="source_unreachable",
        retryable=True,
    )


def _list(root: int, walk: Walk, stop: Stop, *, swept: bool) -> Listing:
    found: list[FileEntry] = []
    waiting = [walk.directory]
    seen, truncated = 0, False
    while waiting:
        folder = waiting.pop()
        try:
            entries, cut = _entries_of(root, folder, MAX_SEEN - seen, stop, swept=swept)
        except OSError:
            if folder == walk.directory:
                raise
            continue  # it was taken away meanwhile, or may not be read
        seen += len(entries)
        truncated |= cut
        below = []
        for entry in entries:
            if entry.name.startswith(TEMPORARY) or (entry.name.startswith(".") and not walk.hidden):
                continue
            if walk.wanted(entry):
                if len(found) == walk.most:
                    return Listing(found, truncated=True)
                found.append(entry)
            if walk.recursive and entry.type == "directory":
                if entry.path.count("/") + 1 < MAX_DEPTH:
                    below.append(entry.path)
                else:
                    truncated = True
        waiting.extend(reversed(below))
        if waiting and (seen >= MAX_SEEN or stop.late()):
            return Listing(found, truncated=True)
    return Listing(found, truncated)


def _entries_of(
    root: int, folder: str, most: int, stop: Stop, *, swept: bool
) -> tuple[list[FileEntry], bool]:
    """What one folder holds, by name; and whether it holds more than ``most``. ``swept``: of killed writes, too."""
    entries: list[FileEntry] = []
    with (
        beneath.closing(beneath.open_folder(root, folder or ".", listing=True)) as listing,
        os.scandir(listing) as scanned,
    ):
        for each in scanned:
            if len(entries) >= most:
                return sorted(entries, key=_by_name), True
            if len(entries) % 64 == 0:
                stop.check()
            if swept:
                sweep_entry(listing, each.name)
            with suppress(OSError):  # it was taken away meanwhile
                entries.append(_entry(folder, each))
    return sorted(entries, key=_by_name), False


def _by_name(entry: FileEntry) -> str:
    return entry.name


def _entry(folder: str, found: os.DirEntry[str]) -> FileEntry:
    status = found.stat(follow_symlinks=False)
    name = found.name
    type_: EntryType = "other"
    if not is_sayable(name):
        name = shown_name(name)
    elif stat.S_ISDIR(status.st_mode):
        type_ = "directory"
    elif beneath.is_plain(status):
        type_ = "file"
    return FileEntry(
        path=f"{folder}/{name}" if folder else name,
        name=name,
        type=type_,
        size=status.st_size if type_ == "file" else None,
        modified=_moment(status),
    )


def _moment(status: os.stat_result) -> str:
    # A file may bear any time, also one that no calendar has.
    seconds = min(max(status.st_mtime_ns // 1_000_000_000, -62_135_596_800), 253_402_300_799)
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _read(root: int, path: str, offset: int, most: int, whole: int, stop: Stop) -> Piece:
    with beneath.closing(beneath.open_file(root, path)) as file:
        status = os.fstat(file)
        if status.st_size > whole:
            data = b"".join(_pieces(file, offset, most, stop))
            return Piece(data, offset, status.st_size, _moment(status), None)
        # One byte more than may be: a file that grows is told from one that does not.
        everything = b"".join(_pieces(file, 0, whole + 1, stop))
        if len(everything) > whole:
            raise too_large(path, len(everything), whole)
    digest = hashlib.sha256(everything).hexdigest()
    return Piece(everything[offset : offset + most], offset, len(everything), _moment(status), digest)


def _scan(root: int, paths: Sequence[str], reader: Reader, most: int, stop: Stop) -> None:
    for path in paths:
        if not reader.begin(path):
            return
        fault = None
        try:
            with _faults(path, "read"), beneath.closing(beneath.open_file(root, path)) as file:
                for piece in _pieces(file, 0, most, stop):
                    if not reader.take(piece):
                        break
        except SourceError as caught:
            fault = caught
        reader.end(fault)


def _pieces(file: int, offset: int, most: int, stop: Stop) -> Iterator[bytes]:
    end = offset + most
    while offset < end:
        stop.check()
        piece = os.pread(file, min(PIECE_BYTES, end - offset), offset)
        if not piece:
            return
        offset += len(piece)
        yield piece


def _write(root: int, path: str, content: bytes, create_dirs: bool, stop: Stop) -> bool:
    folder, _, name = path.rpartition("/")
    if create_dirs and folder:
        make_folders(root, folder)
    with beneath.closing(_open_parent(root, folder)) as parent:
        mode = _mode_of_present(parent, name)
        temporary = new_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o666, dir_fd=parent)
        try:
            with beneath.closing(file):
                if mode is not None:
                    os.fchmod(file, mode)
                _write_all(file, content)
                os.fsync(file)
            stop.check()
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
        with beneath.closing(beneath.open_folder(parent, ".", listing=True)) as synced:
            os.fsync(synced)
    return mode is None


def _open_parent(root: int, folder: str) -> int:
    try:
        return beneath.open_folder(root, folder or ".")
    except OSError as fault:
        if fault.errno in _MISSING:
            raise SourceError(
                f"There is no folder {folder} in this data source. Make it with create_directory, or set create_dirs.",
                code="source_missing",
                data={"path": folder},
            ) from None
        raise


def _mode_of_present(parent: int, name: str) -> int | None:
    """The rights of the file that is to be replaced; ``None`` where there is none. A link is not replaced either."""
    try:
        present = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not beneath.is_plain(present):
        raise beneath.NotPlain(errno.EINVAL, os.strerror(errno.EINVAL))
    return stat.S_IMODE(present.st_mode) & 0o777


def _write_all(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
