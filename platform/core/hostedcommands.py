"""The commands that the operator allows teams to have run: reads the file that lists them. Starts nothing.

Each has a name, by which a team chooses it, and all that decides what runs: the program with its arguments, whether a
team may give more of them, what it sees, and how much it may use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from core.folders import overlaps
from core.hostlists import AllowedHost, read_hosts
from core.sandbox import Bounds, seen_always
from core.strictyaml import BadYaml, read_yaml

MAX_FILE_BYTES: Final = 262_144
MAX_COMMANDS: Final = 200
MAX_WORDS: Final = 100

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_MOST: Final[Mapping[str, tuple[int, int]]] = {
    "memory": (16, 65_536),
    "disk": (1, 65_536),
    "processes": (1, 4_096),
    "cpu_seconds": (1, 604_800),
    "life_seconds": (60, 2_592_000),
}
_UNSEEN: Final = frozenset({"/", "/dev", "/proc", "/sys", "/run", "/tmp", "/home", "/home/sandbox"})  # noqa: S108


@dataclass(frozen=True, slots=True)
class HostedCommand:
    """One of them. ``run`` begins with the program's path. ``arguments``: a team may give more of them.

    ``network`` is this machine's, with all that listens on it. ``hosts``: those that it reaches where it has a network
    of its own.
    """

    name: str
    run: tuple[str, ...]
    arguments: bool = False
    folders: tuple[str, ...] = ()
    network: bool = False
    hosts: tuple[AllowedHost, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    note: str = ""
    """What it is, for the people who choose."""

    @property
    def reach(self) -> Literal["none", "hosts", "machine"]:
        """What of the network it has."""
        return "machine" if self.network else "hosts" if self.hosts else "none"

    @property
    def reaches(self) -> Sequence[str]:
        """Its hosts, as they are listed."""
        return [str(each) for each in self.hosts]


def read_commands(file: Path, *, private: Sequence[Path] = ()) -> tuple[HostedCommand, ...]:
    """What the file lists. No command sees any of the ``private`` folders. Raises ``ValueError`` with what is wrong."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE_BYTES + 1)
    except OSError as fault:
        raise ValueError(f"{file} cannot be read ({fault.strerror})") from None
    if len(text) > MAX_FILE_BYTES:
        raise ValueError(f"{file} is larger than {MAX_FILE_BYTES} bytes")
    try:
        found = read_yaml(text.decode())
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no UTF-8") from None
    except BadYaml as fault:
        raise ValueError(f"{file}, line {fault.line}: {fault}") from None
    return parse_commands(found.value, private=private)


def parse_commands(value: Any, *, private: Sequence[Path] = ()) -> tuple[HostedCommand, ...]:
    """The commands of an object, by name. Raises ``ValueError`` with what is wrong."""
    seen = seen_always() if value else []
    for place in private:
        if overlaps(place, seen):
            raise ValueError(
                f"every command sees the system, and {place} lies within it, or holds a part of it: put MARINA_HOME, "
                "files and secrets elsewhere"
            )
    if not isinstance(value, Mapping) or len(value) > MAX_COMMANDS:
        raise ValueError(f"it must be an object of at most {MAX_COMMANDS} commands by their names")
    return tuple(_command(name, entry, private) for name, entry in value.items())


def _command(name: str, entry: Any, private: Sequence[Path]) -> HostedCommand:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} is no name: it has lower-case letters, digits, dots, hyphens and underscores"
        )
    if not isinstance(entry, Mapping):
        raise ValueError(f"{name} must be an object with run")  # noqa: TRY004 - one error for whoever wrote it
    known = {"run", "arguments", "folders", "network", "note", *_MOST}
    if other := sorted(entry.keys() - known):
        raise ValueError(f"{name}: there is no {other[0][:80]!r}. Known are {', '.join(sorted(known))}")
    run = _texts(name, entry, "run")
    if not run or not _is_path(run[0]):
        raise ValueError(f"{name}.run begins with the absolute path of the program, without ..")
    folders = _texts(name, entry, "folders")
    for folder in folders:
        _check_folder(name, folder, private)
    if not isinstance(entry.get("arguments", False), bool):
        raise ValueError(f"{name}.arguments must be true or false")  # noqa: TRY004 - likewise
    note = entry.get("note", "")
    if not isinstance(note, str) or len(note) > 200:
        raise ValueError(f"{name}.note must be a text of at most 200 characters")
    bounds = {each.name: _bound(name, entry, each.name) for each in fields(Bounds) if each.name in entry}
    return HostedCommand(
        name,
        run,
        arguments=entry.get("arguments", False),
        folders=folders,
        network=entry.get("network") is True,
        hosts=_hosts(name, entry.get("network", False)),
        bounds=Bounds(**bounds),
        note=note,
    )


def _hosts(name: str, given: Any) -> tuple[AllowedHost, ...]:
    if isinstance(given, bool):
        return ()
    if not isinstance(given, list) or not given:
        raise ValueError(f"{name}.network must be true, false, or a list of hosts")
    try:
        return read_hosts(given)
    except ValueError as fault:
        raise ValueError(f"{name}.network: {fault}") from None


def _texts(name: str, entry: Mapping[str, Any], member: str) -> tuple[str, ...]:
    given = entry.get(member, [])
    if not isinstance(given, list) or len(given) > MAX_WORDS:
        raise ValueError(f"{name}.{member} must be a list of at most {MAX_WORDS} texts")
    if any(not isinstance(each, str) or "\0" in each or not each for each in given):
        raise ValueError(f"{name}.{member} must be a list of texts; put numbers into quotation marks")
    return tuple(given)


def _check_folder(name: str, folder: str, private: Sequence[Path]) -> None:
    if not _is_path(folder) or str(Path(folder)) in _UNSEEN:
        raise ValueError(
            f"{name}.folders holds {folder[:200]!r}: write absolute paths of what it needs, without .."
        )
    if overlaps(Path(folder), private):
        raise ValueError(
            f"{name}.folders holds {folder[:200]!r}: MARINA_HOME, or a folder of secrets, would be seen"
        )


def _is_path(text: str) -> bool:
    return text.startswith("/") and ".." not in Path(text).parts


def _bound(name: str, entry: Mapping[str, Any], member: str) -> int:
    low, high = _MOST[member]
    value = entry[member]
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name}.{member} must be a whole number from {low} to {high}")
    return value
