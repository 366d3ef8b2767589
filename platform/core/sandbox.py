"""What a program is run in that nobody trusts: bubblewrap's arguments for it, and the bounds on it. Starts nothing.

The program has namespaces of its own for all that there are, no rights, no file of this machine but the system's and
the folders that it is given, to read, and a private home and /tmp in memory. It sees no process and no network but its
own, unless it is given the machine's network, and nothing of our environment. On a network of its own there may be a
door: a port of its loopback at which we listen.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1_048_576
HOME: Final = "/home/sandbox"
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
OPEN_FILES: Final = 1_024
DOOR_PORT: Final = 3_128
"""Of the loopback in a sandbox that has a door: nobody else is there, so it is free."""
UNUSED: Final = 1_024
"""MB that a process may set aside and not use: Node.js does so with half of it."""

_INSIDE: Final = 1_000
"""Its user's number inside."""
_OUTSIDE: Final = range(61_184, 65_520)
"""Whom it runs as where Marina is root: numbers that nobody else has (systemd's for dynamic users)."""

_APART: Final = (
    *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"),
    *("--disable-userns", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
    *("--hostname", "sandbox"),
)
_SYSTEM: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC: Final = (
    "alternatives",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki",
    "ssl",
    "timezone",
)
_ETC_OF_NETWORKS: Final = ("hosts", "resolv.conf", "services", "protocols")
_PASSWD: Final = f"sandbox:x:{_INSIDE}:{_INSIDE}::{HOME}:/bin/sh\n".encode()
_GROUP: Final = f"sandbox:x:{_INSIDE}:\n".encode()
_HOSTS: Final = b"127.0.0.1 localhost\n::1 localhost\n"
_SWITCH: Final = b"passwd: files\ngroup: files\nhosts: files dns\n"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a program may use. ``memory`` and ``disk`` in MB, ``cpu_seconds`` of each process."""

    memory: int = 512
    disk: int = 64
    processes: int = 64
    cpu_seconds: int = 3_600
    life_seconds: int = 86_400


@dataclass(frozen=True, slots=True)
class Box:
    """A program and what it gets. ``program``: with its arguments, by its path. ``folders`` are read-only.

    ``network``: that of the machine, whole. ``door``: who begins it listens at ``DOOR_PORT``, on a network of its own.
    ``environment`` may hold secrets.
    """

    program: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folders: Sequence[str] = ()
    network: bool = False
    door: bool = False
    bounds: Bounds = field(default_factory=Bounds)


@cache
def missing_tools() -> str:
    """What of the programs that a sandbox is made with is not installed; empty where all are."""
    needed = {"bwrap": "bubblewrap", "prlimit": "util-linux", "choom": "util-linux", "nice": "coreutils"}
    if os.geteuid() == 0:
        needed["setpriv"] = "util-linux"
    missing = [
        f"{tool} (package {package})"
        for tool, package in needed.items()
        if not shutil.which(tool, path=_TOOLS)
    ]
    return ", ".join(missing)


_TOOLS: Final = "/usr/bin:/bin:/usr/sbin:/sbin"


def texts_of(box: Box, filtered: bytes | None) -> list[bytes]:
    """What bubblewrap reads from files that are opened for it; ``filtered`` is a filter of system calls, or nothing."""
    # As an argument, a secret could be read by every user of the machine.
    words = ["--clearenv", *(word for pair in environment_of(box).items() for word in ("--setenv", *pair))]
    texts = [b"".join(os.fsencode(word) + b"\0" for word in words), filtered or b""]
    return [*texts, *(text for _, text in _etc_of(box))]


def words_of(
    box: Box, files: Sequence[int], told: Sequence[int], *, filtered: bool, held: int | None = None
) -> list[str]:
    """The words that start it. ``files`` are numbers of open files with ``texts_of`` in them.

    ``told`` are those of files that bubblewrap writes to which process it made: two where we are root, the outer one's
    first, else one. The program does not begin before the end of ``held``, where there is one.
    """
    seen = list(_seen(box))
    environment, calls, *made = map(str, files)
    disk = str(box.bounds.disk * MEGABYTE)
    return [
        *(_as_nobody(seen, told[0]) if len(told) > 1 else ()),
        _tool("bwrap"),
        *_APART,
        *(() if box.network else ("--unshare-net",)),
        *("--uid", str(_INSIDE), "--gid", str(_INSIDE)),
        # First: what is seen may lie below them.
        *("--size", disk, "--tmpfs", "/tmp"),  # noqa: S108 - its own
        *("--perms", "0755", "--dir", "/home", "--size", disk, "--tmpfs", HOME),
        *_opened(seen),
        *seen,
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(MEGABYTE), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108 - its own
        *(
            word
            for number, (place, _) in zip(made, _etc_of(box), strict=True)
            for word in ("--perms", "0444", "--ro-bind-data", number, place)
        ),
        *("--remount-ro", "/", "--chdir", HOME, "--args", environment, "--info-fd", str(told[-1])),
        *(() if held is None else ("--block-fd", str(held))),
        *(("--seccomp", calls) if filtered else ()),
        "--",
        *_bounded(box),
        *box.program,
    ]


def _etc_of(box: Box) -> list[tuple[str, bytes]]:
    """Files of the system's that the sandbox has its own of."""
    own = [("/etc/passwd", _PASSWD), ("/etc/group", _GROUP), ("/etc/nsswitch.conf", _SWITCH)]
    return own if box.network else [*own, ("/etc/hosts", _HOSTS)]


def environment_of(box: Box) -> dict[str, str]:
    """All that the program finds in its environment."""
    return {**box.environment, "PATH": PATH, "HOME": HOME, "LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108 - its own


def seen_always() -> list[Path]:
    """What of this machine every sandbox shows, by its real place."""
    places = [Path("/usr"), *(Path("/", name) for name in _SYSTEM)]
    etc = (Path("/etc", name) for name in (*_ETC, *_ETC_OF_NETWORKS))
    return [place.resolve() for place in (*places, *etc) if place.exists()]


def _seen(box: Box) -> Iterable[str]:
    """The system to read, and the folders."""
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _SYSTEM:
        place = Path("/", name)
        if place.is_symlink():
            yield from ("--symlink", str(place.readlink()), str(place))
        elif place.is_dir():
            yield from ("--ro-bind", str(place), str(place))
    for name in (*_ETC, *(_ETC_OF_NETWORKS if box.network else ())):
        place = Path("/etc", name)
        if place.exists():
            yield from ("--ro-bind", str(place.resolve()), str(place))
    for folder in box.folders:
        yield from ("--ro-bind", folder, folder)


def _opened(seen: Sequence[str]) -> Iterable[str]:
    """The folders above what is seen: made by bubblewrap alone, nobody but their owner may pass through them."""
    above = {
        str(parent)
        for word, place in zip(seen, seen[2:], strict=False)
        if word == "--ro-bind"
        for parent in Path(place).parents
    }
    for place in sorted(above - {"/", "/tmp", "/home"}):  # noqa: S108 - those are there
        yield from ("--perms", "0755", "--dir", place)


def _as_nobody(seen: Sequence[str], told: int) -> Iterable[str]:
    """What runs the rest as a user of its own, where we are root: that would have no bound on processes, and could read
    files that others may not. Only what is to be seen is there for it, wherever that lies.

    It has processes of its own, too: a signal that bubblewrap has sent at our end would not reach another user's.
    """
    nobody = secrets.choice(_OUTSIDE)
    return [
        *(_tool("bwrap"), "--die-with-parent", "--unshare-pid", "--info-fd", str(told)),
        # bubblewrap itself works in there.
        *("--perms", "1777", "--dir", "/tmp"),  # noqa: S108 - its own
        *_opened(seen),
        *seen,
        # Whole: only who sees all of it may make another.
        *("--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev", "--remount-ro", "/", "--"),
        *(_tool("setpriv"), f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"),
        *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
    ]


def _bounded(box: Box) -> Iterable[str]:
    """Bounds, set inside: processes are counted for each namespace of users. The first to go where memory is short."""
    bounds = box.bounds
    limits = {
        "nproc": bounds.processes,
        "data": (bounds.memory + UNUSED) * MEGABYTE,
        "fsize": bounds.disk * MEGABYTE,
        "cpu": bounds.cpu_seconds,
        "nofile": OPEN_FILES,
        "core": 0,
        "memlock": MEGABYTE,
    }
    return [
        *(_tool("nice"), "-n", "10", _tool("choom"), "-n", "1000", "--", _tool("prlimit")),
        *(f"--{name}={limit}:{limit}" for name, limit in limits.items()),
        "--",
    ]


def _tool(name: str) -> str:
    return shutil.which(name, path=_TOOLS) or name
