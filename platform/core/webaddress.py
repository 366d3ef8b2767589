"""Addresses that people and strangers enter: whether a text is one, and has one meaning. Pure: fetches nothing."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_VISIBLE: Final = re.compile(r"[\x21-\x7e]*")


def split_address(text: str) -> SplitResult:
    """An address in its parts. Raises ``ValueError`` as ``read_https`` does."""
    try:
        parts = urlsplit(text)
        # Asked for what it raises: a port that is none.
        _ = parts.port
    except ValueError:
        raise ValueError("it is no address") from None
    return parts


def climbs(parts: SplitResult) -> bool:
    """Whether its path holds . or .., which some take out before they compare or ask."""
    return any(segment in {".", ".."} for segment in parts.path.split("/"))


def read_https(text: str, *, longest: int) -> SplitResult:
    """The https address of a host in its parts: without user name and fragment, and without . or .. in its path.

    Raises ``ValueError`` with the cause, which ends in no full stop.
    """
    if len(text) > longest or not _VISIBLE.fullmatch(text):
        raise ValueError(f"it is longer than {longest} characters, or holds others than an address may")
    parts = split_address(text)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("it is not an https address of a host")
    if "@" in parts.netloc or "#" in text or climbs(parts):
        raise ValueError("it holds a user name, a fragment, or . or .. in its path")
    return parts
