"""Keeps answers to GET as long as they say (RFC 9111, a private cache), in bounds. Sends nothing.

One a source and version: who asks is always the source itself, so answers that are ``private`` are kept too. Nothing is
kept that does not say how long it is good for, and nothing is given when it is no longer.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Final

MAX_ENTRIES: Final = 256
MAX_CACHE_BYTES: Final = 8 * 1024 * 1024
MAX_ENTRY_BYTES: Final = 1024 * 1024
MAX_SECONDS: Final = 86_400

_DIRECTIVE: Final = re.compile(
    r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:\"([^\"]*)\"|([^\s,;]+)))?\s*(?:,|$)"
)

Key = tuple[str, tuple[tuple[str, str], ...]]
"""The address, and the headers that were chosen for this request: what an answer may vary by."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was kept. ``until`` is on the cache's clock; after it, it may be asked whether it still holds."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    until: float

    @property
    def validators(self) -> dict[str, str]:
        """Headers that ask whether it still holds (RFC 9110, section 13.1)."""
        asked = {"if-none-match": "etag", "if-modified-since": "last-modified"}
        return {name: self.headers[source] for name, source in asked.items() if self.headers.get(source)}


class Cache:
    """Answers by their request, the least recently used one dropped first."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self.size = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key) -> Kept | None:
        """What was kept, still good or not: ``fresh`` tells."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def fresh(self, kept: Kept) -> bool:
        return self._clock() < kept.until

    def store(self, key: Key, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep an answer where it allows that; otherwise forget what was kept in its place."""
        self._drop(key)
        seconds = _lifetime(headers)
        revalidated = bool(headers.get("etag") or headers.get("last-modified"))
        if (
            status != 200
            or seconds is None
            or (seconds <= 0 and not revalidated)
            or headers.get("vary", "").strip() == "*"
            or _size(key, headers, body) > MAX_ENTRY_BYTES
        ):
            return
        self._kept[key] = Kept(status, dict(headers), body, self._clock() + seconds)
        self.size += _size(key, headers, body)
        while len(self._kept) > MAX_ENTRIES or self.size > MAX_CACHE_BYTES:
            self._drop(next(iter(self._kept)))

    def confirm(self, key: Key, kept: Kept, headers: Mapping[str, str]) -> Kept:
        """The server said that it still holds (304): good again for as long as the new headers say."""
        renewed = replace(kept, headers={**kept.headers, **headers, "content-length": str(len(kept.body))})
        self.store(key, kept.status, renewed.headers, kept.body)
        return renewed

    def forget(self, url: str) -> None:
        """Something was written there (RFC 9111, section 4.4)."""
        bare = url.partition("?")[0]
        for key in [key for key in self._kept if key[0].partition("?")[0] == bare]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= _size(key, kept.headers, kept.body)


def _size(key: Key, headers: Mapping[str, str], body: bytes) -> int:
    texts = [key[0], *(text for pair in key[1] for text in pair), *headers, *headers.values()]
    return len(body) + sum(map(len, texts))


def _lifetime(headers: Mapping[str, str]) -> float | None:
    """For how many seconds an answer is good; ``None`` where it must not be kept."""
    directives = _directives(headers.get("cache-control", ""))
    if "no-store" in directives:
        return None
    if "no-cache" in directives:
        return 0.0
    age = _seconds(headers.get("age", "0")) or 0.0
    if "max-age" in directives:
        seconds = _seconds(directives["max-age"])
        return 0.0 if seconds is None else min(seconds, MAX_SECONDS) - age
    expires = headers.get("expires")
    if expires is None:
        return 0.0
    ends, said = _date(expires), _date(headers.get("date", ""))
    if ends is None or said is None:
        return 0.0
    return min((ends - said).total_seconds(), MAX_SECONDS) - age


def _directives(text: str) -> dict[str, str]:
    """RFC 9111, section 5.2. The first of two alike counts; what cannot be read ends the reading as ``no-store``."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _DIRECTIVE.match(text, at)
        if match is None or match.end() == at:
            return found if not text[at:].strip(" ,\t") else {"no-store": ""}
        found.setdefault(match[1].lower(), match[2] or match[3] or "")
        at = match.end()
    return found


def _seconds(text: str) -> float | None:
    text = text.strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return None if found.tzinfo is None else found
