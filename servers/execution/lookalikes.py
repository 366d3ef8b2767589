"""Says which names a reader takes for one another. Knows no kind, and judges nothing."""

from __future__ import annotations

import re
from typing import Final

_SEPARATORS: Final = re.compile(r"[-_.]")
_ALIKE: Final = {ord("0"): "o", ord("1"): "l", ord("i"): "l", ord("5"): "s"}


def look(name: str) -> str:
    """What such names have in common: they differ in case, in separators, or in signs that look alike."""
    return _SEPARATORS.sub("", name.lower()).translate(_ALIKE)
