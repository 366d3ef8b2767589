"""Opens what lies beneath a folder and nothing else, by openat2(2). Decides nothing about what may be opened.

Resolving a path and opening it afterwards is a race that whoever may write in the folder wins. Here the kernel resolves
and opens in one step: no path leaves the folder, follows a link or enters another file system, whatever is renamed
meanwhile. No ``..`` may be handed in: callers check the path's form first.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Final

_NUMBERS: Final = {"alpha": 547, "mips": 4437, "mips64": 5437}
"""openat2's number where it is not ``_NUMBER``: new system calls have one number everywhere but here."""
_NUMBER: Final = 437
_KNOWN: Final = frozenset(
    {
        "x86_64",
        "i386",
        "i486",
        "i586",
        "i686",
        "aarch64",
        "armv6l",
        "armv7l",
        "armv8l",
        "loongarch64",
        "ppc64",
        "ppc64le",
        "riscv64",
        "s390x",
        *_NUMBERS,
    }
)

_NO_XDEV: Final = 0x01
_NO_MAGICLINKS: Final = 0x02
_NO_SYMLINKS: Final = 0x04
_BENEATH: Final = 0x08
_RESOLVE: Final = _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS | _NO_XDEV
_MOUNTED: Final = _RESOLVE & ~_NO_XDEV
_LINKED: Final = _RESOLVE & ~_NO_SYMLINKS

_FOLDER: Final = os.O_DIRECTORY | os.O_CLOEXEC


class NotPlain(OSError):
    """What lies there is no regular file, or a file that has a second name somewhere (a hard link)."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@cache
def is_supported() -> bool:
    """Whether this kernel has openat2 and lets this process use it (Linux 5.6; sandboxes may forbid it)."""
    if _libc is None or os.uname().machine not in _KNOWN:
        return False
    try:
        here = os.open("/", os.O_PATH | _FOLDER)
    except OSError:
        return False
    try:
        os.close(_openat2(here, ".", os.O_PATH | _FOLDER))
    except OSError:
        return False
    finally:
        os.close(here)
    return True


def open_folder(base: int, path: str, *, listing: bool = False, mounted: bool = False) -> int:
    """The descriptor of a folder beneath ``base``; ``.`` is the folder itself. Raises ``OSError``.

    ``mounted``: it may be a file system of its own.
    """
    flags = (os.O_RDONLY if listing else os.O_PATH) | _FOLDER
    return _openat2(base, path, flags, _MOUNTED if mounted else _RESOLVE)


def open_file(base: int, path: str, *, links: bool = False) -> int:
    """The descriptor, for reading, of a regular file beneath ``base`` that has one name. Raises ``OSError``.

    ``links``: symbolic links that stay beneath ``base`` are followed, as Kubernetes mounts its secrets.
    """
    return open_plain(base, path, os.O_RDONLY, resolve=_LINKED if links else _RESOLVE)


def open_plain(base: int, path: str, flags: int, mode: int = 0, *, resolve: int = _RESOLVE) -> int:
    """As ``open_file``, with ``open``'s flags; with ``O_CREAT`` the file is made where there is none."""
    # Looked at before it is opened: opening a pipe wakes whoever waits at its other end, and a device may do anything.
    with suppress(FileNotFoundError):
        if not is_plain(look_at(base, path, resolve)):
            raise NotPlain(errno.EINVAL, os.strerror(errno.EINVAL))
    flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = _openat2(base, path, flags, resolve, mode if flags & os.O_CREAT else 0)
    if not is_plain(os.fstat(descriptor)):
        os.close(descriptor)
        raise NotPlain(errno.EINVAL, os.strerror(errno.EINVAL))
    return descriptor


def look_at(base: int, path: str, resolve: int = _RESOLVE) -> os.stat_result:
    """What lies at a path beneath ``base``, without opening it. Raises ``OSError``."""
    descriptor = _openat2(base, path, os.O_PATH | os.O_CLOEXEC, resolve)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def is_plain(found: os.stat_result) -> bool:
    """Whether it is a regular file of one name: another name may lie outside of the folder."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """The descriptor, closed at the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _openat2(base: int, path: str, flags: int, resolve: int = _RESOLVE, mode: int = 0) -> int:
    if _libc is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    how = _OpenHow(flags=flags, mode=mode, resolve=resolve)
    number = _NUMBERS.get(os.uname().machine, _NUMBER)
    descriptor = int(
        _libc.syscall(
            ctypes.c_long(number),
            ctypes.c_int(base),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor
