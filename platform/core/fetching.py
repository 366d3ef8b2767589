"""Asks for one small document over HTTPS: at an address that the rule allows, within bounds, never elsewhere.

For addresses that a stranger names: each request has a connection of its own, and its look-up is among those of
strangers. See ``core.outbound_http`` for what is connected to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import httpx2
from django.conf import settings

from core.lookups import OF_STRANGERS
from core.outbound import AddressRule
from core.outbound_http import OutboundClient, OutboundRefused

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
    rule = rule or AddressRule(settings.ENV.outbound_allow)
    address = _check_address(url)
    headers = {**(headers or {}), "Accept": "application/json", "Accept-Encoding": "identity"}
    client = OutboundClient(allow=rule.allows, http2=False, max_connections=1, lookups=OF_STRANGERS)
    try:
        async with client.stream(
            method, address, headers=headers, content=content, seconds=seconds, most_bytes=most_bytes
        ) as answer:
            if answer.status != httpx2.codes.OK:
                raise FetchRefused(f"it answered with status {answer.status}", status=answer.status)
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise FetchRefused("its answer is compressed")
            body = b"".join([piece async for piece in answer.pieces])
    except OutboundRefused as refused:
        raise FetchRefused(str(refused)) from None
    finally:
        await client.close()
    return Document(
        body,
        answer.headers.get("content-type", "").partition(";")[0].strip().lower(),
        answer.headers.get("cache-control", ""),
    )


def _check_address(url: str) -> str:
    """The address as it will be asked for: nobody else's reading of it is judged in its place."""
    try:
        target = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise FetchRefused("it is not an address") from None
    if target.scheme != "https" or not target.raw_host:
        raise FetchRefused("it is not an https address")
    if target.userinfo or (target.port or DEFAULT_PORT) > _LAST_PORT:
        raise FetchRefused("it holds a user name, or a port that there is not")
    return str(target.copy_with(fragment=None))
