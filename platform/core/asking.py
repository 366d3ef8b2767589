"""Asks this installation's own public address, as a client outside would. Bounded; follows no redirect.

For addresses of the operator's own choosing alone; what a stranger names goes through ``core.fetching``.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from core.outbound_http import trusted
from core.strictjson import BadJson, read_object

MAX_BYTES: Final = 64 * 1024
SECONDS: Final = 5.0


class NotReached(Exception):
    """Nobody answered. The message says why, in words that are safe to show."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        try:
            return read_object(self.body)
        except BadJson:
            return {}


async def ask(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Answer:
    """One request. All of the answer must be there after ``SECONDS``. Raises ``NotReached``."""
    try:
        async with (
            asyncio.timeout(SECONDS),
            httpx2.AsyncClient(
                verify=trusted(http2=False), trust_env=False, follow_redirects=False, timeout=None
            ) as client,
            client.stream(method, url, headers=dict(headers or {}), content=body) as response,
        ):
            read = bytearray()
            async for piece in response.aiter_raw():
                read += piece
                if len(read) > MAX_BYTES:
                    raise NotReached(f"the answer is larger than {MAX_BYTES} bytes")
            return Answer(
                response.status_code,
                {name.lower(): value for name, value in response.headers.items()},
                bytes(read),
            )
    except TimeoutError:
        raise NotReached(f"nothing answered within {SECONDS:g} seconds") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as fault:
        raise NotReached(_why(fault)) from None


def _why(fault: BaseException) -> str:
    """Which layer refused, in words: the fault's own text names more than it should."""
    seen: BaseException | None = fault
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return "its certificate is not trusted, or is for another name"
        if isinstance(seen, ssl.SSLError):
            return "it does not speak TLS as it should; perhaps it speaks plain http"
        if isinstance(seen, socket.gaierror):
            return "its host has no address"
        if isinstance(seen, ConnectionRefusedError):
            return "nothing listens there"
        seen = seen.__cause__ or seen.__context__
    if isinstance(fault, httpx2.ConnectError):
        return "it could not be connected to"
    return "the connection broke, or what answered does not speak HTTP as it should"
