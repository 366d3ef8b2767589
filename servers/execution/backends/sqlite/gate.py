"""The gate through which SQLite's library opens files: beneath one folder, by name, and nothing else. Reads no SQL.

SQLite turns a path into a real one and opens that afterwards: a race that whoever may write in the folder wins. So the
library is given paths of an open folder, ``/proc/self/fd/7/shop.db``, that it must not resolve; and what it opens or
removes goes through functions of this module, which resolve and open in one step (``folders.beneath``) and know which
names belong to a database. A journal that somebody made names any file it likes: none other is opened or removed.

The calls are replaced once a process, in the copy of SQLite that ``apsw`` brings: nothing else uses that one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import apsw

from servers.execution.folders import beneath

HEAP_BYTES: Final = 256 * 1024 * 1024
"""What SQLite may hold in memory in one process, for all statements together."""

_PATH: Final = re.compile(rb"/proc/self/fd/([0-9]+)(?:/([^/]+))?")
_RANDOM: Final = b"/dev/urandom"
_BESIDE: Final = ("-journal", "-wal", "-shm")
_SHARED: Final = ("-wal", "-shm")
"""What readers of a database in WAL mode write as well: their locks, and the index of what is in the log."""
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_OpenCall: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, use_errno=True)
_StatusCall: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, use_errno=True)
_UnlinkCall: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, use_errno=True)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """What may be opened in an open folder: the database of this name, and what lies beside it."""

    name: str
    writable: bool


_libc: Final = ctypes.CDLL(None)
_admitted: dict[int, _Admitted] = {}
_installing: Final = threading.Lock()
_kept: list[Any] = []
"""The functions that SQLite calls: they must live as long as the process."""


@contextmanager
def admitted(folder: int, name: str, *, writable: bool) -> Iterator[str]:
    """The path by which SQLite opens the database ``name`` in a folder that is open, while the block runs."""
    _install()
    _admitted[folder] = _Admitted(name, writable)
    try:
        yield f"/proc/self/fd/{folder}/{name}"
    finally:
        del _admitted[folder]


def _install() -> None:
    with _installing:
        if _kept:
            return
        _kept.extend((_OpenCall(_open), _StatusCall(_is_no_link), _UnlinkCall(_unlink)))
        vfs = apsw.VFS("marina", "unix")
        for name, function in zip(("open", "lstat", "unlink"), _kept, strict=True):
            vfs.xSetSystemCall(name, _address(function))
        # With it SQLite only asks whether a file is there, and the same as before. An older C library has none to give.
        if hasattr(_libc, "lstat"):
            vfs.xSetSystemCall("stat", _address(_libc.lstat))
        vfs.unregister()
        apsw.hard_heap_limit(HEAP_BYTES)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _open(path: bytes, flags: int, mode: int) -> int:
    try:
        if path == _RANDOM:
            return os.open(_RANDOM, os.O_RDONLY | os.O_CLOEXEC)
        folder, name, database = _find(path)
        if not name:
            return beneath.open_folder(folder, ".", listing=True)
        shared = name.endswith(_SHARED) and name != database.name
        if flags & _WRITING and not (database.writable or shared):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return beneath.open_plain(folder, name, flags, mode)
    except OSError as fault:
        ctypes.set_errno(fault.errno or errno.EACCES)
        return -1


def _unlink(path: bytes) -> int:
    try:
        folder, name, database = _find(path)
        if name in ("", database.name):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        os.unlink(name, dir_fd=folder)
    except OSError as fault:
        ctypes.set_errno(fault.errno or errno.EACCES)
        return -1
    return 0


def _find(path: bytes) -> tuple[int, str, _Admitted]:
    """The folder, the name in it and the database that it belongs to. Raises ``OSError``."""
    found = _PATH.fullmatch(path)
    folder = int(found[1]) if found else -1
    database = _admitted.get(folder)
    if found is None or database is None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    name = os.fsdecode(found[2] or b"")
    if name and name != database.name and name not in [database.name + end for end in _BESIDE]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return folder, name, database


def _is_no_link(path: bytes, status: int) -> int:
    """What SQLite asks of each part of a path, to follow links: there are none to follow."""
    ctypes.set_errno(errno.ENOENT)
    return -1
