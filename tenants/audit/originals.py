"""What a team's log keeps of a call beside its masked arguments: a mark of the originals, the result's beginning. Pure.

A mark is HMAC-SHA-256 (RFC 2104) over the arguments' canonical JSON before anything is masked, under a key that is the
team's own. Equal arguments have equal marks, and whoever is told the arguments can have them confirmed; without the key
nobody can try guesses, so who may not see arguments may neither see marks nor have them made of what they choose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tenants.audit.records import canonical

KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 64


class Marks:
    """Makes the marks of one team. Keeps the key's two halves of the work done: half the time of ``hmac.digest``."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a key of marks has 32 bytes")
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def of(self, arguments: Mapping[str, Any]) -> str:
        """The mark of these arguments, in hexadecimal; empty where they are nothing that JSON can say."""
        try:
            text = canonical(arguments)
        except (RecursionError, TypeError, ValueError):
            return ""
        inner = self._inner.copy()
        inner.update(text)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()


@dataclass(frozen=True, slots=True)
class Detail:
    """What is kept of a team's calls. ``preview`` is characters of a result's beginning; 0: none."""

    marks: Marks | None = field(default=None, repr=False)
    preview: int = 0


PLAIN: Final = Detail()
"""Nothing beside the masked arguments."""
