"""Asks for one small document over HTTPS: at an address that the rule allows, within bounds, never elsewhere.

For addresses that a stranger names. The host is resolved once and refused if any of its addresses is; what was judged
is what is connected to, with the host's name in TLS. Redirects are not followed, and no proxy of the environment is
asked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import urlencode

import httpx2
from django.conf import settings

from core.lookups import OF_STRANGERS, Crowded
from core.outbound import AddressRule, Denied, Unresolved, resolve

DEFAULT_PORT: Final = 443
_LAST_PORT: Final = 65_535


class FetchRefused(Exception):
    """The document was not fetched. The message says why, in words that are safe to show.

    ``status`` is the answer's, where there was one and it was not 200.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Document:
    """What was fetched. ``cache_control`` is the header's value, or empty."""

    body: bytes
    content_type: str
    cache_control: str


async def fetch_document(
    url: str, *, seconds: float, most_bytes: int, rule: AddressRule | None = None
) -> Document:
    """Fetch an ``https`` URL. All of it must be there after ``seconds``. Raises ``FetchRefused``.

    By this installation's rule of addresses, unless ``rule`` is another.
    """
    return await _ask(url, seconds, most_bytes, method="GET", rule=rule)


async def post_form(
    url: str,
    form: Mapping[str, str],
    *,
    headers: Mapping[str, str],
    seconds: float,
    most_bytes: int,
) -> Document:
    """Send a form to an ``https`` URL and take its answer, as ``fetch_document`` does. Raises ``FetchRefused``."""
    content = urlencode(form).encode()
    headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    return await _ask(url, seconds, most_bytes, method="POST", headers=headers, content=content)


async def _ask(
    url: str,
    seconds: float,
    most_bytes: int,
    *,
    method: str,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    rule: AddressRule | None = None,
) -> Document:
    target = _parse(url)
    rule = rule or AddressRule(settings.ENV.outbound_allow)
    try:
        async with asyncio.timeout(seconds):
            address = await _resolve(_host_of(target), target.port or DEFAULT_PORT, rule)
            request = httpx2.Request(
                method,
                target.copy_with(host=address),
                headers={
                    **(headers or {}),
                    "Host": target.netloc.decode("ascii"),
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "User-Agent": "Marina",
                },
                content=content,
                # The name in TLS, and what its certificate is checked against.
                extensions={"sni_hostname": _host_of(target)},
            )
            return await _send(request, most_bytes)
    except TimeoutError:
        raise FetchRefused(f"it did not answer within {seconds:g} seconds") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError):
        raise FetchRefused("it could not be connected to securely") from None


def _parse(url: str) -> httpx2.URL:
    """The address as it will be asked for: nobody else's reading of it is judged in its place."""
    try:
        target = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise FetchRefused("it is not an address") from None
    if target.scheme != "https" or not target.raw_host:
        raise FetchRefused("it is not an https address")
    if target.userinfo or (target.port or DEFAULT_PORT) > _LAST_PORT:
        raise FetchRefused("it holds a user name, or a port that there is not")
    return target


def _host_of(target: httpx2.URL) -> str:
    return target.raw_host.decode("ascii")


async def _resolve(host: str, port: int, rule: AddressRule) -> str:
    try:
        return (await resolve(host, port, allow=rule.allows, lookups=OF_STRANGERS))[0]
    except Crowded:
        raise FetchRefused("its host was not looked up: too many are just now. Try again shortly") from None
    except Unresolved:
        raise FetchRefused("its host has no address") from None
    except Denied:
        raise FetchRefused("its host is at an address that Marina does not connect to") from None


async def _send(request: httpx2.Request, most_bytes: int) -> Document:
    async with httpx2.AsyncClient(verify=trust(), trust_env=False, follow_redirects=False) as client:
        response = await client.send(request, stream=True)
        try:
            if response.status_code != httpx2.codes.OK:
                status = response.status_code
                raise FetchRefused(f"it answered with status {status}", status=status)
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
def trust() -> ssl.SSLContext:
    """Whose certificates are trusted: the system's. Read once, for it takes the loop some milliseconds."""
    return ssl.create_default_context()
