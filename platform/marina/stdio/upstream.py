"""HTTP to the endpoint: opens answers and streams, and says in plain words why one could not be had.

Knows the key, and nothing of the conversation. No message of this module holds the key, a header or a body.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

import httpx2

from marina.stdio.pipes import MAX_LINE

CONNECT_SECONDS: Final = 10.0
POST_HEADERS: Final[Mapping[str, str]] = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
}
_MOST_REDIRECTS: Final = 5
_GATEWAY: Final = 502
_TIMED_OUT: Final = 504

_ADVICE: Final = {
    400: "the server could not read the request. Is the URL that of an MCP server?",
    403: "the key may not do this here. Ask an admin of the team for the scope, or check the URL.",
    404: "there is no MCP server at this URL. Check the names of team and server in it.",
    405: "there is something else than an MCP server at this URL. Check it.",
    406: "there is something else than an MCP server at this URL. Check it.",
    413: "the request is larger than the server takes. Send less at once.",
    415: "there is something else than an MCP server at this URL. Check it.",
    429: "too many requests. Try again{wait}.",
}


class Fault(Exception):
    """Why there is no answer: ``code`` is an HTTP status, ``message`` the cause and the next step."""

    def __init__(self, code: int, message: str, *, retryable: bool = False, **data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.data: dict[str, Any] = {"retryable": retryable, **data}


@dataclass(slots=True)
class Cursor:
    """Where a stream can be taken up again, and after how many seconds."""

    last_id: str = ""
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """What the command line named. Its ``repr`` shows no header, for one may hold the key."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    has_key: bool
    timeout: float


class Upstream:
    """One endpoint."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._url = httpx2.URL(target.url)
        # An address that may be shown: queries and fragments sometimes hold secrets.
        self.address = str(self._url.copy_with(query=None, fragment=None))
        self._client = httpx2.AsyncClient(
            headers={**target.headers, "accept-encoding": "identity", "user-agent": "marina-stdio"},
            # Reading the authorities of this machine takes a while, and plain http needs none.
            verify=self._url.scheme == "https",
            # A proxy of the environment has no part in what stays on this machine.
            mounts={f"all://{_bracket(self._url.host)}": None} if is_loopback(self._url.host) else None,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def open(
        self, verb: str, headers: Mapping[str, str], body: bytes | None = None, *, idle: float | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request, and give what is answered, unread. Leaving closes the stream.

        ``idle`` is how long the server may be silent, in seconds; ``--timeout`` where nothing is given.
        Raises ``Fault`` where there is no answer, or a redirect to another place.
        """
        silence = self._target.timeout if idle is None else idle
        timeout = httpx2.Timeout(silence, connect=min(CONNECT_SECONDS, silence))
        url = self._url
        for _ in range(_MOST_REDIRECTS):
            request = self._client.build_request(verb, url, headers=headers, content=body, timeout=timeout)
            try:
                response = await self._client.send(request, stream=True, follow_redirects=False)
            except httpx2.TransportError as error:
                raise self._unreachable(error) from error
            try:
                if (further := self._redirect(response)) is None:
                    yield response
                    return
            finally:
                await response.aclose()
            url = further
        raise Fault(_GATEWAY, f"{self.address} redirects in a circle. Ask who runs the server.")

    async def read(self, response: httpx2.Response) -> bytes:
        """The whole body. Raises ``Fault`` where it is too large or breaks off."""
        body = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_LINE:
                    raise Fault(
                        _GATEWAY, f"The answer is larger than {MAX_LINE} bytes. Ask for less at once."
                    )
        except httpx2.RequestError as error:
            raise self._unreachable(error) from error
        return bytes(body)

    async def events(self, response: httpx2.Response, cursor: Cursor) -> AsyncIterator[bytes]:
        """The messages of a stream; ``cursor`` moves along. Raises ``Fault``, retryable where it broke off."""
        try:
            async for event in httpx2.EventSource(response, max_event_size=MAX_LINE):
                if event.retry is not None:
                    cursor.seconds = max(0.0, event.retry / 1000)
                if event.data and event.event == "message":
                    yield event.data.encode()
                # Only now: an event that was not passed on is asked for again.
                if event.id and event.id.isascii() and event.id.isprintable():
                    cursor.last_id = event.id
        except httpx2.SSEError as error:
            message = f"The server sent an event larger than {MAX_LINE} bytes. Ask for less at once."
            raise Fault(_GATEWAY, message) from error
        except httpx2.RequestError as error:
            raise self._unreachable(error) from error

    def refusal(self, response: httpx2.Response) -> Fault:
        """What an answer that is no MCP message means."""
        status = response.status_code
        if 200 <= status < 300:
            kind = response.headers.get("content-type", "").partition(";")[0][:60] or "nothing"
            message = f"{self.address} answered with {kind}, not with MCP. Check the URL."
            return Fault(_GATEWAY, message, status=status)
        wait = _retry_after(response)
        if status == 401 and not self._target.has_key:
            advice = "it wants a key. Set MARINA_API_KEY where this host starts, or give --key-file."
        elif status == 401:
            advice = "it does not know the key, or it has ended. Check MARINA_API_KEY or the key file."
        elif status >= 500:
            advice = "the server failed. Try again{wait}; if it lasts, tell who runs it."
        else:
            advice = _ADVICE.get(status, "nobody expected that. Check the URL.")
        advice = advice.format(wait="" if wait is None else f" in {wait} s")
        retryable = status in {408, 425, 429} or status >= 500
        data = {"status": status} if wait is None else {"status": status, "retryAfter": wait}
        return Fault(status, f"{self.address} answered HTTP {status}: {advice}", retryable=retryable, **data)

    def _redirect(self, response: httpx2.Response) -> httpx2.URL | None:
        """Where to ask instead, on the same origin. None where the answer is no redirect."""
        location = response.headers.get("location")
        if location is None or not 300 <= response.status_code < 400:
            return None
        try:
            further = response.request.url.join(location)
        except httpx2.InvalidURL:
            further = None
        is_same_origin = further is not None and _origin(further) == _origin(self._url)
        if is_same_origin and response.status_code in {307, 308}:
            return further
        shown = "elsewhere" if further is None else str(further.copy_with(query=None, fragment=None))
        message = f"{self.address} redirects to {shown}, which is not followed: the key is for this server. "
        raise Fault(_GATEWAY, message + "If that is the right one, use its URL.", status=response.status_code)

    def _unreachable(self, error: httpx2.RequestError) -> Fault:
        place = f"{self._url.host}:{self._url.port or (443 if self._url.scheme == 'https' else 80)}"
        cause = _root(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            message = (
                f"The certificate of {place} is not trusted ({cause.verify_message}). Check the URL, or name "
                "the authority that signed it in SSL_CERT_FILE."
            )
            return Fault(_GATEWAY, message)
        if isinstance(cause, ssl.SSLError):
            return Fault(_GATEWAY, f"{place} does not speak TLS here. Is the server at http:// instead?")
        if isinstance(error, httpx2.ConnectTimeout):
            return Fault(
                _TIMED_OUT, f"{place} does not answer. Check the address and the network.", retryable=True
            )
        if isinstance(error, httpx2.TimeoutException):
            message = f"{place} was silent for too long. Try again, or allow more with --timeout."
            return Fault(_TIMED_OUT, message, retryable=True)
        if isinstance(cause, socket.gaierror):
            return Fault(
                _GATEWAY, f"There is no host {self._url.host}. Check the URL and the network.", retryable=True
            )
        if isinstance(error, httpx2.ConnectError):
            reason = (
                os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else "no connection"
            )
            message = f"Cannot connect to {place} ({reason.lower()}). Does the server run there?"
            return Fault(_GATEWAY, message, retryable=True)
        if isinstance(error, httpx2.ProxyError):
            return Fault(_GATEWAY, "The proxy of HTTPS_PROXY or HTTP_PROXY refused. Check these variables.")
        message = f"{place} closed the connection before its answer was complete. Try again."
        return Fault(_GATEWAY, message, retryable=True)


def media_type(response: httpx2.Response) -> str:
    """The content type without parameters."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def is_loopback(host: str) -> bool:
    """Whether what is sent to ``host`` stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _root(error: BaseException) -> BaseException:
    """The exception that all began with."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        if isinstance(error, ssl.SSLError | socket.gaierror):
            break
        if isinstance(error, BaseExceptionGroup):
            earlier = error.exceptions[0]
        error = earlier
    return error


def _retry_after(response: httpx2.Response) -> int | None:
    value = response.headers.get("retry-after", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 7 else None
