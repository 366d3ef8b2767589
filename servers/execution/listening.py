"""Takes what a data source says by itself: that what it brings changed, and that a resource did. Opens nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

NOTHING: Final[frozenset[str]] = frozenset()

MAX_DEPTH: Final = 64
"""Parts of a URI that are looked at: an update may be of something below what is wanted."""


class Ears:
    """Whoever listens to one source. ``wanted`` are the URIs of its resources that somebody wants to hear of.

    On one event loop.
    """

    def __init__(self, changed: Callable[[], None], updated: Callable[[str], None]) -> None:
        """``updated`` gets URIs that are wanted, and no others."""
        self.changed = changed
        self.wanted = NOTHING
        self._tell = updated
        self._news = asyncio.Event()

    def want(self, uris: frozenset[str]) -> None:
        """These from now on."""
        if uris != self.wanted:
            self.wanted = uris
            self._news.set()

    async def wanted_other_than(self, uris: frozenset[str]) -> None:
        """Wait until others than these are wanted."""
        while self.wanted == uris:
            self._news.clear()
            await self._news.wait()

    def updated(self, uri: str) -> None:
        """A resource changed: this one, or the nearest one above it that is wanted (MCP, ``resources/updated``: "might
        be a sub-resource of the one that the client actually subscribed to")."""
        for _ in range(MAX_DEPTH):
            if uri in self.wanted:
                self._tell(uri)
                return
            above, slash, below = uri.rpartition("/")
            if not slash:
                return
            # What ends with a slash may be wanted as such.
            uri = f"{above}/" if below else above
