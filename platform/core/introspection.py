"""Asks an issuer what a token is worth (RFC 7662), with bounds on how often and how many at once. Knows no tenant.

A far side that does not answer, or that does not know Marina, is left alone for some seconds, so that made-up tokens
wait for nobody and cause nothing.
"""

from __future__ import annotations

import base64
import re
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from functools import cache
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

from core.fetching import FetchRefused, post_form
from core.jwks import IssuerUnavailable
from core.signedtokens import MAX_TOKEN, TokenRefused
from core.strictjson import BadJson, read_object

ASK_SECONDS: Final = 3.0
MAX_ANSWER_BYTES: Final = 64 * 1024
AT_ONCE: Final = 16
"""Questions that one endpoint gets from this process at the same time."""

REST_SECONDS: Final = 5.0
"""How long an endpoint that gave no sound answer is left alone."""

MAX_ENDPOINTS: Final = 500

_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)

_OF_ONE_TOKEN: Final = frozenset({400, 413, 414, 422})
"""Statuses by which an endpoint, or what guards it, refuses what it was shown. Others may be told of the next token."""

_WORDS: Final = {
    401: "it does not know Marina by this client id and secret",
    403: "it does not let Marina ask",
    404: "there is nothing at this address",
}


class _NotToldOfThis(IssuerUnavailable):
    """It answers, and not about this one: whoever made it up must not shut others out."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, and as whom."""

    url: str
    client_id: str
    secret: str = field(repr=False)


class Introspection:
    """Asks, on one event loop."""

    def __init__(self) -> None:
        self._asking: Counter[Endpoint] = Counter()
        self._resting: OrderedDict[Endpoint, tuple[float, str]] = OrderedDict()

    async def ask(self, token: str, endpoint: Endpoint) -> dict[str, Any]:
        """What the issuer says of a live token. Raises ``TokenRefused`` (step ``active``) and ``IssuerUnavailable``."""
        # RFC 6750 section 2.1: what is no bearer token by its letters is shown to nobody.
        if not 16 <= len(token) <= MAX_TOKEN or not _BEARER.fullmatch(token):
            raise TokenRefused("active", "It is shorter or longer than a token is, or holds other characters")
        until, why = self._resting.get(endpoint, (0.0, ""))
        if monotonic() < until:
            raise IssuerUnavailable(why)
        if self._asking[endpoint] >= AT_ONCE:
            raise IssuerUnavailable(f"It is asked about {AT_ONCE} other tokens at the moment")
        self._asking[endpoint] += 1
        try:
            found = await self._ask(token, endpoint)
        except _NotToldOfThis:
            raise
        except IssuerUnavailable as fault:
            self._rest(endpoint, str(fault))
            raise
        finally:
            self._asking[endpoint] -= 1
            if not self._asking[endpoint]:
                del self._asking[endpoint]
        if found.get("active") is not True:
            raise TokenRefused("active", "The issuer says that it is not active: unknown, expired or revoked")
        return found

    async def _ask(self, token: str, endpoint: Endpoint) -> dict[str, Any]:
        # RFC 6749 section 2.3.1: both are encoded as in a form before they are put together.
        pair = f"{quote(endpoint.client_id, safe='')}:{quote(endpoint.secret, safe='')}"
        try:
            document = await post_form(
                endpoint.url,
                {"token": token, "token_type_hint": "access_token"},
                headers={"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"},
                seconds=ASK_SECONDS,
                most_bytes=MAX_ANSWER_BYTES,
            )
        except FetchRefused as refusal:
            why = _WORDS.get(refusal.status or 0, str(refusal))
            kind = _NotToldOfThis if refusal.status in _OF_ONE_TOKEN else IssuerUnavailable
            raise kind(f"Asking it about the token failed: {why}") from None
        try:
            return read_object(document.body)
        except BadJson:
            raise IssuerUnavailable("What it answered about the token is no JSON object") from None

    def _rest(self, endpoint: Endpoint, why: str) -> None:
        self._resting[endpoint] = (monotonic() + REST_SECONDS, why)
        self._resting.move_to_end(endpoint)
        while len(self._resting) > MAX_ENDPOINTS:
            self._resting.popitem(last=False)


@cache
def introspection() -> Introspection:
    """The process's own, for its one loop (``core.loop``)."""
    return Introspection()
