"""Which folders of the machine hold one another, whatever links lead there. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def overlaps(folder: Path, others: Iterable[Path]) -> bool:
    """Whether the folder is one of the others, lies in one, or holds one."""
    real = folder.resolve()
    return any(
        real.is_relative_to(other) or other.is_relative_to(real)
        for other in (each.resolve() for each in others)
    )
