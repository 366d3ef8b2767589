"""Addresses that sent too many credentials which are none: counted over all processes, and refused for a while.

Only what somebody may have made up counts. A key that was revoked or has expired was real once, and one of another
team is real there. One that is sent again counts little: whoever guesses sends another each time. A key that this
process has seen at work goes on through a lockout: strangers who share an address with a team's clients cannot stop
those. Nothing here tells whether a key is known.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from time import monotonic
from typing import Final

from core.clientaddress import UNKNOWN, address_block
from core.errors import RateLimited, Unauthenticated
from servers.services.limits import Limiter, in_seconds
from tenants.access import KeyOfElsewhere

LOCK_SECONDS: Final = 60
"""How long an address is refused. Afterwards one more failure locks it again, until it was quiet for long enough."""

KNOWN_SECONDS: Final = 3600.0
"""How long a key that worked is remembered."""

MAX_KNOWN: Final = 20_000

REPEAT_LIGHTNESS: Final = 10
"""So many failures of one and the same credential count as one more."""

MAX_FAILED: Final = 10_000
"""Failed credentials that a process tells from new ones."""

CODE: Final = "locked_out"

_GUESSED: Final = frozenset({"key_unknown", "key_malformed", "token_unknown"})

_Place = tuple[bytes, str]


class Lockout:
    """On one event loop; ``knows`` from any thread."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._known: OrderedDict[_Place, float] = OrderedDict()
        self._failed: OrderedDict[_Place, None] = OrderedDict()

    def knows(self, digest: bytes, tenant_slug: str) -> bool:
        """Whether this process saw the token with this digest at work at the tenant's address not long ago."""
        return monotonic() - self._known.get((digest, tenant_slug), -KNOWN_SECONDS) < KNOWN_SECONDS

    def remember(self, digest: bytes, tenant_slug: str) -> None:
        """The token works here."""
        place = (digest, tenant_slug)
        self._known[place] = monotonic()
        self._known.move_to_end(place)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    async def check(self, address: str) -> None:
        """Raise ``RateLimited`` while the address is locked out."""
        if address == UNKNOWN:
            return
        wait = await self._limiter.peek(_place(address))
        if wait > 0:
            seconds = math.ceil(wait)
            raise RateLimited(
                "Too many requests from your address had a key that Marina does not know. Check the key, and try again "
                f"{in_seconds(seconds)}.",
                retry_after=seconds,
                rule="lockout:address",
                code=CODE,
            )

    async def count(self, address: str, digest: bytes, refusal: Unauthenticated) -> None:
        """The token with this digest, from this address, opened nothing."""
        guessed = refusal.code in _GUESSED and not isinstance(refusal, KeyOfElsewhere)
        # Where no address is known, all would be locked out as one.
        if not guessed or address == UNKNOWN:
            return
        place = _place(address)
        again = (digest, place) in self._failed
        self._failed[digest, place] = None
        self._failed.move_to_end((digest, place))
        while len(self._failed) > MAX_FAILED:
            self._failed.popitem(last=False)
        await self._limiter.take(place, lightness=REPEAT_LIGHTNESS if again else 1)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._limiter.close()


def _place(address: str) -> str:
    return f"lockout/{address_block(address)}"
