"""Reads numbers and UUIDs out of addresses and forms. Pure."""

from __future__ import annotations

from typing import Final
from uuid import UUID

VERSION_DIGITS: Final = 9
RECORD_DIGITS: Final = 18
"""How long the numbers of tools' versions, and those of records, can be."""


def read_number(text: str | None, *, digits: int = VERSION_DIGITS) -> int | None:
    """The number that is written there in so many digits at most; ``None`` where there is no such one."""
    return int(text) if text and len(text) <= digits and text.isascii() and text.isdigit() else None


def read_uuid(text: str | None) -> UUID | None:
    """The UUID that is written there; ``None`` where nothing is, and one that is nothing's where no UUID is."""
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)
