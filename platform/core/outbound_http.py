"""HTTP to addresses that tenants and strangers name: one pooled client a source, by the rule of outbound addresses.

A host is resolved once a connection and judged, and what was judged is connected to, with the host's name in TLS. It
follows no redirect, keeps no cookie, asks no proxy and reads no environment; an answer that is too large or too late is
left. It knows no credential: what a caller puts into a request goes to the origin that the caller named, nowhere else.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final, Literal

import h2.exceptions
import httpcore2
import httpx2

from core.inflating import Inflater, Oversized, Undecodable
from core.lookups import OF_SOURCES, Crowded, Lookups
from core.outbound import AllowAddress, Denied, Unresolved, resolve
from core.outbound_lines import KEEP_ALIVE_SECONDS, Asked, Content, Lines, Reply, connect_to_one

Reason = Literal[
    "address",  # the URL, or a header of the request, is none
    "unresolved",  # the host's name has no address
    "denied",  # an address that is not connected to
    "crowded",  # too many names are being looked up
    "unreachable",  # no connection came about
    "certificate",  # the server could not prove its name
    "timeout",
    "broken",  # the connection or the answer broke off, or is no HTTP
    "unanswered",  # everything was sent, and the connection ended without the answer of TLS
    "encoding",  # the answer is encoded in a way that was not asked for
    "too_large",
]

UNSENT: Final[frozenset[Reason]] = frozenset(
    {"address", "unresolved", "denied", "crowded", "unreachable", "certificate"}
)
"""Reasons that leave no doubt: the server got nothing of the request."""

MAX_ADDRESSES: Final = 4
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65_535
_URL: Final = re.compile(r"(?i:(https?))://([^/?#%\\\x00-\x20\x7f]+)((?:[/?][!-~]*)?)")
_PORT: Final = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
"""What an authority may have after its host. Python takes signs and the digits of other scripts for numbers."""
_UPWARDS: Final = re.compile(r"(?i)/(?:\.|%2e){1,2}(?:/|$)")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.1: a token."""
_VALUE: Final = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?|")
_OWN: Final = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of the connection, and so not a caller's."""
_BODILESS: Final = frozenset({204, 304})

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class OutboundRefused(Exception):
    """The request was not sent, or not answered in full. The message begins with "it" and says why, safe to show."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason

    @property
    def unsent(self) -> bool:
        """Whether it is certain that the server got nothing of the request."""
        return self.reason in UNSENT


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with any status, 3xx too. ``headers`` are by their names in lower case, ``body`` is decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    http_version: str


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer whose decoded body is still to come, in ``pieces``. Leaving them unread is fine."""

    status: int
    headers: Mapping[str, str]
    http_version: str
    pieces: AsyncIterator[bytes]


class OutboundClient:
    """Connections of one source to the servers it names. Used from one event loop; nothing is shared between two.

    ``lean`` is for servers that are called often: HTTP/1.1 by ``core.outbound_lines``, bodies in one piece.
    """

    def __init__(
        self,
        *,
        allow: AllowAddress,
        http2: bool = True,
        lean: bool = False,
        max_connections: int = 20,
        lookups: Lookups = OF_SOURCES,
    ) -> None:
        self._http2 = http2 and not lean
        self._lean = lean
        self._max_connections = max_connections
        self._door = _Door(allow, lookups)
        self._pool = self._new_pool()

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        content: Content = None,
        seconds: float,
        most_bytes: int,
    ) -> Answer:
        """Send a request and take the whole answer within ``seconds``. Raises ``OutboundRefused``."""
        async with self.stream(
            method, url, headers=headers, content=content, seconds=seconds, most_bytes=most_bytes
        ) as answer:
            body = b"".join([piece async for piece in answer.pieces])
        return Answer(answer.status, answer.headers, body, answer.http_version)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        content: Content = None,
        seconds: float | None,
        most_bytes: int,
    ) -> AsyncIterator[Streamed]:
        """As ``send``, with the body in pieces. ``seconds`` cover all that is done inside, too.

        ``None``: whoever asks has a deadline around it, and a second timer is 20 µs of each request.
        """
        asked = _asked(method, url, headers, content)
        pool = self._pool
        pool.under_way += 1
        finished = False
        try:
            async with nullcontext() if seconds is None else _within(seconds):
                with _in_words():
                    response = await pool.connections.ask(asked)
                answer = _Answering(response, asked.method, most_bytes)
                try:
                    yield answer.streamed()
                    finished = answer.finished
                finally:
                    await answer.close()
        finally:
            pool.under_way -= 1
            if not finished and self._http2 and asked.scheme == "https":
                # What is still on its way of an answer that nobody reads would fill the window that all
                # answers of an HTTP/2 connection share: the next request gets another connection.
                self._retire(pool)
            await pool.close_if_spent()

    async def close(self) -> None:
        """Close every connection. The client may be used again afterwards."""
        pool = self._pool
        self._retire(pool)
        await pool.connections.aclose()

    async def retire(self) -> None:
        """Close each connection when what is under way has ended. The client may be used again afterwards."""
        pool = self._pool
        self._retire(pool)
        await pool.close_if_spent()

    def _retire(self, pool: _Pool) -> None:
        pool.retired = True
        if pool is self._pool:
            self._pool = self._new_pool()

    def _new_pool(self) -> _Pool:
        tls = trusted(http2=self._http2)
        if self._lean:
            return _Pool(Lines(self._door.judge, tls, most=self._max_connections))
        return _Pool(
            _Pooled(
                httpcore2.AsyncConnectionPool(
                    ssl_context=tls,
                    max_connections=self._max_connections,
                    keepalive_expiry=KEEP_ALIVE_SECONDS,
                    http2=self._http2,
                    network_backend=self._door,
                )
            )
        )


class _Pool:
    """Connections that end together: when the last request on them has ended, after they were retired."""

    def __init__(self, connections: Lines | _Pooled) -> None:
        self.connections = connections
        self.under_way = 0
        self.retired = False

    async def close_if_spent(self) -> None:
        if self.retired and not self.under_way:
            await self.connections.aclose()


class _Pooled:
    """The HTTP library's pool, asked as ``Lines`` are."""

    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self._pool = pool
        self.aclose = pool.aclose

    async def ask(self, asked: Asked) -> httpcore2.Response:
        host = asked.host.encode("ascii")
        return await self._pool.handle_async_request(
            httpcore2.Request(
                asked.method,
                httpcore2.URL(
                    scheme=asked.scheme.encode("ascii"), host=host, port=asked.port, target=asked.target
                ),
                headers=asked.headers,
                content=asked.content,
                # The name in TLS, and what the certificate is checked against.
                extensions={"sni_hostname": asked.host},
            )
        )


class _Door(httpcore2.AsyncNetworkBackend):
    """Connects to the judged addresses of a host, one after the other."""

    def __init__(self, allow: AllowAddress, lookups: Lookups) -> None:
        self._allow = allow
        self._lookups = lookups
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self.judge(host, port)
        return await connect_to_one(addresses, lambda address: self._network.connect_tcp(address, port))

    async def judge(self, host: str, port: int) -> list[str]:
        return await judged_addresses(host, port, allow=self._allow, lookups=self._lookups)


async def judged_addresses(
    host: str, port: int, *, allow: AllowAddress, lookups: Lookups = OF_SOURCES
) -> list[str]:
    """The addresses of a host to try one after the other, all allowed. Raises ``OutboundRefused`` with the reason."""
    try:
        return (await resolve(host, port, allow=allow, lookups=lookups))[:MAX_ADDRESSES]
    except Crowded:
        raise OutboundRefused(
            "its host was not looked up: too many are just now. Try again shortly", "crowded"
        ) from None
    except Unresolved:
        raise OutboundRefused("its host has no address", "unresolved") from None
    except Denied:
        raise OutboundRefused("its host is at an address that Marina does not connect to", "denied") from None


def read_target(url: str, headers: Headers = ()) -> tuple[str, str, int]:
    """Scheme, host and port that a request would go to. Raises ``OutboundRefused`` for one that would not be sent."""
    scheme, host, port, netloc, _ = _parse(url)
    _check_headers(headers, netloc)
    return scheme, host, port


class _Answering:
    """Reads the body of one answer, decoded and counted."""

    def __init__(
        self,
        response: httpcore2.Response | Reply,
        method: str,
        most_bytes: int,
    ) -> None:
        self._response = response
        self._most = most_bytes
        self._pieces = self._read()
        self._headers = _headers_of(response)
        self._empty = method == "HEAD" or response.status in _BODILESS
        self.finished = False

    def streamed(self) -> Streamed:
        version = self._response.extensions.get("http_version", b"HTTP/1.1").decode("ascii", "replace")
        if self._response.status < 200:  # a switch of protocols that nobody asked for
            raise OutboundRefused("it did not answer with HTTP as asked", "broken")
        length = self._headers.get("content-length", "")
        if not self._empty and length.isascii() and length.isdigit() and len(length) < 20:
            self._check(int(length))
        return Streamed(self._response.status, self._headers, version, self._pieces)

    async def close(self) -> None:
        with _in_words():
            await self._pieces.aclose()
            await self._response.aclose()

    async def _read(self) -> AsyncGenerator[bytes]:
        encoding = self._headers.get("content-encoding", "").strip().lower()
        inflater = None if self._empty or encoding in {"", "identity"} else _inflater(encoding, self._most)
        taken = 0
        with _in_words():
            async for piece in self._response.aiter_stream():
                taken += len(piece)
                # Encoded, it may be a little larger than what comes of it, but not without end.
                self._check(taken if inflater is None else taken - self._most // 8 - 65_536)
                if inflater is None:
                    yield piece
                else:
                    for part in inflater.feed(piece):
                        yield part
            if inflater is not None:
                inflater.finish()
        self.finished = True

    def _check(self, size: int) -> None:
        if size > self._most:
            raise _oversized(self._most)


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as deadline:
            yield
    except TimeoutError:
        if not deadline.expired():
            raise
        raise OutboundRefused(f"it did not answer within {seconds:g} seconds", "timeout") from None


@contextmanager
def _in_words() -> Iterator[None]:
    """Puts what a library raises into words. Nothing of its text is passed on: it may quote the answer."""
    try:
        yield
    except Oversized as error:
        raise _oversized(error.most) from None
    except Undecodable:
        raise OutboundRefused("its answer is not compressed as it says", "encoding") from None
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
        raise _unconnected(error) from None
    except httpcore2.TimeoutException:
        raise OutboundRefused("it did not answer in time", "timeout") from None
    except TimeoutError:  # an OSError too, and the deadline's to translate
        raise
    except (
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
        h2.exceptions.H2Error,
        OSError,
        ValueError,  # a status of HTTP/2 that is no number
    ):
        raise OutboundRefused("it broke off, or its answer is not HTTP", "broken") from None


def _asked(method: str, url: str, headers: Headers, content: Content) -> Asked:
    scheme, host, port, netloc, target = _parse(url)
    if not _NAME.fullmatch(method):
        raise OutboundRefused("it was to be asked with a method that there is not", "address")
    given = _check_headers(headers, netloc)
    if isinstance(content, bytes) or content is None:
        if content is not None or method in {"POST", "PUT", "PATCH"}:
            given["content-length"] = str(len(content or b""))
        else:
            given.pop("content-length", None)
    elif "content-length" not in given:
        given["transfer-encoding"] = "chunked"
    sent = [(name.encode("ascii"), value.encode("latin-1")) for name, value in given.items()]
    return Asked(
        method,
        scheme,
        host,
        port,
        target.encode("ascii"),
        [(b"Host", netloc.encode("ascii")), *sent],
        content,
    )


@lru_cache(maxsize=1_024)
def _parse(url: str) -> tuple[str, str, int, str, str]:
    """Scheme, host, port, authority and target, exactly as they will be sent: nothing is read otherwise later on."""
    found = _URL.fullmatch(url)
    if found is None:
        raise OutboundRefused("it is not an address for HTTP", "address")
    scheme, authority, target = found[1].lower(), found[2], found[3]
    try:
        parsed = httpx2.URL(f"{scheme}://{authority}/")
    except (httpx2.InvalidURL, ValueError):
        raise OutboundRefused("it is not an address", "address") from None
    if (
        "@" in authority
        or not parsed.raw_host
        or not _PORT.fullmatch(authority)
        or (parsed.port or 1) > _LAST_PORT
    ):
        raise OutboundRefused("it holds a user name, or a port that there is not", "address")
    if not target.startswith("/"):
        target = f"/{target}"
    path = target.partition("?")[0]
    if "#" in target or "\\" in path or _UPWARDS.search(path):
        raise OutboundRefused("its path leads upwards, or holds a \\ or a #", "address")
    port = parsed.port or _DEFAULT_PORTS[scheme]
    return scheme, parsed.raw_host.decode("ascii"), port, parsed.netloc.decode("ascii"), target


def _check_headers(headers: Headers, netloc: str) -> dict[str, str]:
    checked = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": "Marina"}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        lower = _lowered(name)
        if not _VALUE.fullmatch(value):
            raise OutboundRefused(f"its header {lower} holds what no header may", "address")
        if lower != "host":
            checked[lower] = value
        elif value.lower() != netloc.lower():
            raise OutboundRefused("it was to be asked under the name of another host", "address")
    return checked


@lru_cache(maxsize=1_024)
def _lowered(name: str) -> str:
    lower = name.lower()
    if not _NAME.fullmatch(name) or lower in _OWN:
        raise OutboundRefused("it was to be asked with a header that may not be set", "address")
    return lower


def _headers_of(response: httpcore2.Response | Reply) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _inflater(encoding: str, most_bytes: int) -> Inflater:
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise OutboundRefused("its answer is compressed in a way that was not asked for", "encoding")
    return Inflater("deflate" if encoding == "deflate" else "gzip", most_bytes)


def _oversized(most_bytes: int) -> OutboundRefused:
    return OutboundRefused(f"it is larger than {most_bytes} bytes", "too_large")


def _unconnected(error: Exception) -> OutboundRefused:
    cause = error.args[0] if error.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return OutboundRefused(
            "it could not be connected to securely: its certificate is not one for its name that is trusted",
            "certificate",
        )
    if isinstance(cause, ssl.SSLError):
        return OutboundRefused("it could not be connected to securely", "unreachable")
    return OutboundRefused("it could not be connected to", "unreachable")


@cache
def trusted(*, http2: bool) -> ssl.SSLContext:
    """Whose certificates are believed. One a choice of protocols: a connection writes its own into it."""
    return ssl.create_default_context()
