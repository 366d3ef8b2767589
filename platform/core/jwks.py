"""What token issuers publish of themselves, held for a bounded time, and the checking of tokens against it.

An issuer's metadata is found by discovery (OpenID Connect Discovery 1.0, RFC 8414), its keys where that says or where
one is told. Everything is fetched by ``core.fetching``: over HTTPS, from allowed addresses, within bounds, without
redirects. Made-up tokens cause no more than ``UNKNOWN_KEY_SECONDS`` lets through. Knows no tenant: what is held is
public, and is held by the addresses that it came from.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

from core.fetching import Document, FetchRefused, fetch_document
from core.signedtokens import (
    ACCESS_TYPES,
    PublicKey,
    SignedToken,
    TokenRefused,
    find_key,
    read_keys,
    read_token,
    require_audience,
    require_header,
    require_issuer,
    require_signature,
    require_times,
)
from core.strictjson import BadJson, read_object
from core.webaddress import read_https

FRESH_SECONDS: Final = 600.0
"""How long keys and metadata are used without asking again: how long a key that was withdrawn still works."""

STALE_SECONDS: Final = 3600.0
"""How old they may become while the issuer does not answer."""

RETRY_SECONDS: Final = 20.0
"""How long an issuer that did not answer soundly is left alone."""

UNKNOWN_KEY_SECONDS: Final = 60.0
"""How often a key that is not known may have an issuer's keys fetched again."""

FETCH_SECONDS: Final = 3.0
WAIT_SECONDS: Final = 5.0
"""How long whoever asks waits, be it for metadata and keys."""

IMPATIENT_SECONDS: Final = 1.0
"""How long who could go on with what is held waits for something newer."""

MAX_METADATA_BYTES: Final = 64 * 1024
MAX_KEYS_BYTES: Final = 128 * 1024
MAX_ISSUERS: Final = 500
MAX_IDENTIFIER: Final = 255

T = TypeVar("T")


class IssuerUnavailable(Exception):
    """What an issuer publishes cannot be had. The message says why; it ends in no full stop. Trying later may help."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: the identifier, letter for letter, and where its keys are, if not where its metadata says."""

    identifier: str
    jwks_uri: str = ""


def check_issuer(identifier: str) -> str:
    """``identifier`` where it can be an issuer's (RFC 8414 section 2). Raises ``ValueError`` with the cause."""
    read_https(identifier, longest=MAX_IDENTIFIER)
    if "?" in identifier:
        raise ValueError("it holds a query")
    return identifier


def metadata_addresses(identifier: str) -> tuple[str, ...]:
    """Where an issuer's metadata may stand: OpenID Connect's place, then RFC 8414's."""
    parts = urlsplit(identifier)
    path = parts.path.rstrip("/")
    origin = f"https://{parts.netloc}"
    return (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    )


class _Held(Generic[T]):
    """One thing that an issuer publishes: the newest sound one, and how asking for it went last."""

    __slots__ = ("again_at", "fault", "fetched_at", "unknown_at", "value")

    def __init__(self) -> None:
        self.value: T | None = None
        self.fetched_at = -STALE_SECONDS
        self.again_at = 0.0
        self.unknown_at = -UNKNOWN_KEY_SECONDS
        self.fault = ""


class Issuers:
    """Keys and metadata of issuers, on one event loop. Simultaneous askers cause one fetch."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._held: OrderedDict[Hashable, _Held[Any]] = OrderedDict()
        self._fetching: dict[Hashable, asyncio.Task[None]] = {}

    async def metadata(self, identifier: str) -> Mapping[str, Any]:
        """What the issuer says of itself; its ``issuer`` is ``identifier``. Raises ``IssuerUnavailable``."""
        return await self._get(("metadata", identifier), lambda: self._fetch_metadata(identifier))

    async def address(self, identifier: str, name: str) -> str:
        """The address that the issuer's metadata has by this name. Raises ``IssuerUnavailable``."""
        url = (await self.metadata(identifier)).get(name)
        if not isinstance(url, str) or not url:
            raise IssuerUnavailable(f"Its metadata names no address to be asked at ({name})")
        return url

    async def keys(self, issuer: Issuer, *, newer: bool = False) -> tuple[PublicKey, ...]:
        """The keys that the issuer publishes; ``newer``: now, where it can be asked. Raises ``IssuerUnavailable``."""
        return await self._get(_place(issuer), lambda: self._fetch_keys(issuer), newer=newer)

    async def verify(
        self,
        token: str,
        issuer: Issuer,
        audience: str | Callable[[str], bool],
        *,
        types: frozenset[str] = ACCESS_TYPES,
    ) -> dict[str, Any]:
        """What a token claims, once all ``STEPS`` are passed. Raises ``TokenRefused`` and ``IssuerUnavailable``.

        ``audience`` is compared letter for letter, or asked.
        """
        read = read_token(token)
        require_header(read, types)
        require_issuer(read, issuer.identifier)
        require_signature(read, await self._key_of(issuer, read))
        require_times(read.claims, time.time())
        require_audience(read.claims, audience)
        return dict(read.claims)

    async def _key_of(self, issuer: Issuer, token: SignedToken) -> PublicKey:
        key = find_key(await self.keys(issuer), token)
        if key is None and self._may_look_again(_place(issuer)):
            key = find_key(await self.keys(issuer, newer=True), token)
        if key is None:
            raise TokenRefused(
                "key",
                "The issuer publishes no key of this id and algorithm"
                if token.key_id is not None
                else "It does not name its key, and the issuer publishes not exactly one that fits",
            )
        return key

    def _may_look_again(self, place: Hashable) -> bool:
        """Whether keys may be fetched for one that is not known: not again so soon; a fetch under way serves all."""
        held, now = self._held.get(place), self._clock()
        if held is None or now < held.unknown_at + UNKNOWN_KEY_SECONDS:
            return place in self._fetching
        held.unknown_at = now
        return True

    async def _get(self, place: Hashable, fetch: Callable[[], Awaitable[T]], *, newer: bool = False) -> T:
        held: _Held[T] | None = self._held.get(place)
        if held is None:
            held = self._held[place] = _Held()
        self._held.move_to_end(place)
        while len(self._held) > MAX_ISSUERS:
            self._held.popitem(last=False)
        if newer or self._clock() >= held.again_at:
            await self._fetch_once(place, held, fetch)
        if held.value is None or self._clock() >= held.fetched_at + STALE_SECONDS:
            raise IssuerUnavailable(held.fault)
        return held.value

    async def _fetch_once(self, place: Hashable, held: _Held[T], fetch: Callable[[], Awaitable[T]]) -> None:
        task = self._fetching.get(place)
        if task is None:
            task = asyncio.create_task(self._fetch(held, fetch))
            self._fetching[place] = task
            task.add_done_callback(lambda done: self._forget(place, done))
        usable = held.value is not None and self._clock() < held.fetched_at + STALE_SECONDS
        seconds = IMPATIENT_SECONDS if usable else WAIT_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(task)
        except TimeoutError:
            held.fault = f"It did not answer within {seconds:g} seconds"

    async def _fetch(self, held: _Held[T], fetch: Callable[[], Awaitable[T]]) -> None:
        try:
            held.value = await fetch()
        except IssuerUnavailable as fault:
            held.fault = str(fault)
            held.again_at = self._clock() + RETRY_SECONDS
        else:
            held.fault = ""
            held.fetched_at = self._clock()
            held.again_at = held.fetched_at + FRESH_SECONDS

    def _forget(self, place: Hashable, task: asyncio.Task[None]) -> None:
        if self._fetching.get(place) is task:
            del self._fetching[place]

    async def _fetch_metadata(self, identifier: str) -> Mapping[str, Any]:
        document = None
        for url in metadata_addresses(identifier):
            try:
                document = await _document(url, MAX_METADATA_BYTES)
            except FetchRefused as refusal:
                # Not there: the other place. Anything else is what the issuer has to mend.
                if refusal.status is None or not 400 <= refusal.status < 500:
                    raise IssuerUnavailable(f"Its metadata at {url} was not fetched: {refusal}") from None
            else:
                break
        if document is None:
            raise IssuerUnavailable(
                f"It publishes no metadata: neither at {' nor at '.join(metadata_addresses(identifier))}"
            )
        try:
            found = read_object(document.body)
        except BadJson:
            raise IssuerUnavailable(f"Its metadata at {url} is no JSON object") from None
        if found.get("issuer") != identifier:
            raise IssuerUnavailable(
                f"Its metadata at {url} names another issuer; the two have to be the same letter for letter, also in "
                "a slash at the end"
            )
        return found

    async def _fetch_keys(self, issuer: Issuer) -> tuple[PublicKey, ...]:
        url = issuer.jwks_uri or await self.address(issuer.identifier, "jwks_uri")
        try:
            document = await _document(url, MAX_KEYS_BYTES)
            # Beside the loop: dozens of keys take some milliseconds.
            return await asyncio.to_thread(read_keys, document.body)
        except FetchRefused as refusal:
            raise IssuerUnavailable(f"Its keys were not fetched: {refusal}") from None
        except ValueError as fault:
            raise IssuerUnavailable(f"What it publishes as its keys is not taken: {fault}") from None


async def _document(url: str, most_bytes: int) -> Document:
    return await fetch_document(url, seconds=FETCH_SECONDS, most_bytes=most_bytes)


def _place(issuer: Issuer) -> Hashable:
    return ("keys", issuer.identifier, issuer.jwks_uri)


@cache
def issuers() -> Issuers:
    """The process's own, for its one loop (``core.loop``)."""
    return Issuers()
