"""Where a team's folders are below those that the operator allows, and how they are opened. Reads no file in them."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from core.errors import SourceError
from servers.execution.folders import beneath

_OFF: Final = (
    "Folders of this machine are not offered here: the operator has named none (MARINA_FILES_ROOTS)."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a source's root is: ``steps`` below a folder that the operator allows; the first is its tenant's own.

    ``make``: whether the root is made where it is not there, and what killed writes left is taken away.
    """

    base: Path
    steps: tuple[str, ...]
    make: bool = False

    @property
    def shown(self) -> str:
        """The root in words, without the operator's own path before it."""
        own, *below = self.steps
        return f"{'/'.join(below) or '.'} (in the folder of team number {own})"


def place_of(
    root: str, roots: Sequence[Path], tenant_id: int | None, *, supported: bool, what: str = "root"
) -> Place:
    """Where a tenant's root is: in the folder that bears the tenant's number, below one that the operator allows.

    The number, not the name: a team that is founded later under the name of one that is gone gets none of its files.
    ``what`` is the setting's name. Without a tenant only the form is checked. Raises ``SourceError``.
    """
    if not supported:
        raise SourceError(
            "Folders of this machine are not offered here: its kernel has no openat2 (Linux 5.6 or later), or does "
            "not let Marina use it, and nothing else keeps paths within a folder.",
            code="source_denied",
        )
    if not roots:
        raise SourceError(_OFF, code="source_denied")
    own = "the number of your team" if tenant_id is None else str(tenant_id)
    if not root.startswith("/"):
        parts = () if root == "." else tuple(root.split("/"))
        return Place(roots[0], (own, *parts))
    wanted = PurePosixPath(root)
    for base in roots:
        if wanted.is_relative_to(base):
            parts = wanted.relative_to(base).parts
            if parts and (parts[0] == own if tenant_id is not None else parts[0].isdecimal()):
                return Place(base, parts)
    raise SourceError(
        f"The {what} {root} is not in your team's folder. Write it from that folder on, such as reports, or a dot for "
        f"all of it. Its name, among the operator's folders, is {own}.",
        code="source_denied",
    )


@contextmanager
def open_root(place: Place) -> Iterator[int]:
    """The source's root. The tenant's own folder is made where it is not there yet, and the root where it may be."""
    try:
        base = os.open(place.base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as fault:
        # The path is the operator's: it is told here, and to no team.
        logger.warning(
            "a folder for files cannot be opened", extra={"folder": str(place.base), "errno": fault.errno}
        )
        raise SourceError(
            "The folder that the operator allows files in cannot be opened. Tell the operator.",
            code="source_unreachable",
        ) from None
    with beneath.closing(base):
        try:
            root = beneath.open_folder(base, "/".join(place.steps))
        except FileNotFoundError:
            root = _made_root(base, place)
        except OSError:
            raise _no_root(place) from None
    with beneath.closing(root):
        yield root


def _made_root(base: int, place: Place) -> int:
    own, *below = place.steps
    with suppress(OSError):
        os.mkdir(own, 0o700, dir_fd=base)
    try:
        if below and place.make:
            with beneath.closing(beneath.open_folder(base, own)) as folder:
                make_folders(folder, "/".join(below))
        return beneath.open_folder(base, "/".join(place.steps))
    except OSError:
        raise _no_root(place) from None


def _no_root(place: Place) -> SourceError:
    return SourceError(
        f"The source's root {place.shown} is not a folder that Marina can open. Have it made (no link, on the same "
        "file system as the folder above it), or correct the root in the settings.",
        code="source_missing",
    )


def make_folders(root: int, path: str) -> bool:
    """Make a folder and those above it, each beneath the one before. Whether the last is new."""
    new = False
    current = beneath.open_folder(root, ".")
    try:
        for name in path.split("/"):
            new = True
            try:
                os.mkdir(name, 0o777, dir_fd=current)
            except FileExistsError:
                new = False
            try:
                following = beneath.open_folder(current, name)
            except NotADirectoryError:
                raise beneath.NotPlain(errno.EINVAL, os.strerror(errno.EINVAL)) from None
            os.close(current)
            current = following
    finally:
        os.close(current)
    return new
