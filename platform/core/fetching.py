"""Fetches a small public document over HTTPS: from an address that the rule allows, within bounds, never elsewhere.

For documents that a stranger names. The host is resolved once and refused if any of its addresses is; what was judged
is what is connected to, with the host's name in TLS. Redirects are not followed, and no proxy of the environment is
asked.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import urlsplit

import httpx2

from core.outbound import AddressRule

DEFAULT_PORT: Final = 443


class FetchRefused(Exception):
    """The document was not fetched. The message says why, in words that are safe to show."""


@dataclass(frozen=True, slots=True)
class Document:
    """What was fetched. ``cache_control`` is the header's value, or empty."""

    body: bytes
    content_type: str
    cache_control: str


async def fetch_document(url: str, *, rule: AddressRule, seconds: float, most_bytes: int) -> Document:
    """Fetch an ``https`` URL. All of it must be there after ``seconds``. Raises ``FetchRefused``."""
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme != "https" or not host:
        raise FetchRefused("it is not an https address")
    try:
        async with asyncio.timeout(seconds):
            address = await _resolve(host, parts.port or DEFAULT_PORT, rule)
            return await _get(url, parts.netloc, host, address, most_bytes)
    except TimeoutError:
        raise FetchRefused(f"it did not answer within {seconds:g} seconds") from None
    except (httpx2.HTTPError, OSError, ssl.SSLError):
        raise FetchRefused("it could not be connected to securely") from None


async def _resolve(host: str, port: int, rule: AddressRule) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FetchRefused("its host has no address") from None
    addresses = [str(each[4][0]) for each in found]
    if not addresses or not all(rule.allows(address) for address in addresses):
        raise FetchRefused("its host is at an address that Marina does not connect to")
    return addresses[0]


async def _get(url: str, netloc: str, host: str, address: str, most_bytes: int) -> Document:
    pinned = httpx2.URL(url).copy_with(host=address)
    async with httpx2.AsyncClient(verify=_trust(), trust_env=False, follow_redirects=False) as client:
        request = client.build_request(
            "GET",
            pinned,
            headers={"Host": netloc, "Accept": "application/json", "Accept-Encoding": "identity"},
            # The name in TLS, and what its certificate is checked against.
            extensions={"sni_hostname": host},
        )
        response = await client.send(request, stream=True)
        try:
            if response.status_code != httpx2.codes.OK:
                raise FetchRefused(f"it answered with status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise FetchRefused("its answer is compressed")
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > most_bytes:
                    raise FetchRefused(f"it is larger than {most_bytes} bytes")
        finally:
            await response.aclose()
    return Document(
        bytes(body),
        response.headers.get("content-type", "").partition(";")[0].strip().lower(),
        response.headers.get("cache-control", ""),
    )


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()
