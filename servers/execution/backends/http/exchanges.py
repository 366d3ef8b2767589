"""One request of an HTTP source, from its place in the pace to its answer: cached, signed in, sent and counted.

What may be sent is decided here, for every tool of the kind: writes where the source allows them, and an address below
the base address. It makes no request up and reads no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, NoReturn
from urllib.parse import urljoin, urlsplit

from core.errors import SourceError
from core.outbound_http import Answer, OutboundRefused
from servers.execution.backends.http.caching import Kept, Key
from servers.execution.backends.http.connections import Api
from servers.execution.backends.http.definitions import READS
from servers.execution.backends.http.paths import stays_below
from servers.execution.backends.http.requests import Prepared
from servers.execution.backends.http.settings import HttpSettings
from servers.execution.unanswered import host_of, unanswered

MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ACCEPT: Final = "application/json, */*;q=0.5"


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered, with any status. ``seconds`` is what the caller waited."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float
    cached: bool = False


async def exchange(api: Api, prepared: Prepared, *, seconds: float, use_cache: bool = True) -> Reply:
    """Ask, and give the answer. Raises ``SourceError`` for whatever is no answer."""
    started = monotonic()
    api.in_use += 1
    api.connected = True
    try:
        _check(prepared, api.settings)
        key: Key | None = None
        kept: Kept | None = None
        if prepared.method == "GET":
            key = (prepared.url, tuple(sorted(prepared.headers)))
            kept = api.cache.find(key) if use_cache else None
            if kept is not None and api.cache.fresh(kept):
                api.cache.hits += 1
                return Reply(kept.status, kept.headers, kept.body, monotonic() - started, cached=True)
            api.cache.misses += 1
        answer = await _ask(api, prepared, {} if kept is None else kept.validators, seconds)
        if key is None:
            if prepared.method not in READS:
                api.cache.forget(prepared.url)
        elif kept is not None and answer.status == 304:
            kept = api.cache.confirm(key, kept, answer.headers)
            return Reply(kept.status, kept.headers, kept.body, monotonic() - started, cached=True)
        else:
            api.cache.store(key, answer.status, answer.headers, answer.body)
        return Reply(answer.status, answer.headers, answer.body, monotonic() - started)
    except SourceError as fault:
        api.stats.failures[fault.code] += 1
        raise
    finally:
        api.in_use -= 1
        api.used_at = monotonic()


def _check(prepared: Prepared, settings: HttpSettings) -> None:
    if prepared.method not in READS and not settings.allow_writes:
        raise SourceError(
            f"{prepared.method} is not sent: this data source allows no writes, only GET and HEAD. An admin can allow "
            "them in its settings (allow_writes).",
            code="source_denied",
            data={"rule": "http.writes"},
        )
    if not is_below(prepared.url, settings.base_url):
        raise SourceError(
            "The request would lead elsewhere than below the base address of the data source. Nothing was sent.",
            code="source_denied",
            data={"rule": "http.address"},
        )


def is_below(url: str, base_url: str) -> bool:
    """Whether an address is the base address or lies below it."""
    bare = url.partition("?")[0]
    return stays_below(url if bare != base_url else f"{bare}/{url[len(bare) :]}", base_url)


async def _ask(api: Api, prepared: Prepared, validators: Mapping[str, str], seconds: float) -> Answer:
    """Send, and follow redirects that stay below the base address. ``seconds`` cover all of it."""
    until = monotonic() + seconds
    url = prepared.url
    for _ in range(MAX_REDIRECTS + 1):
        answer = await _signed(api, prepared, url, validators, until, seconds)
        if answer.status not in _REDIRECTS or "location" not in answer.headers:
            return answer
        url = _followed(api.settings, prepared, url, answer)
    raise SourceError(
        f"The API at {host_of(url)} redirects again and again. Correct the base address or the path.",
        code="source_redirect",
    )


def _followed(settings: HttpSettings, prepared: Prepared, url: str, answer: Answer) -> str:
    try:
        to = urljoin(url, answer.headers["location"]).partition("#")[0]
        origin = _origin(to)
    except ValueError:
        _refuse_redirect("somewhere that is no address")
    if not is_below(to, settings.base_url):
        _refuse_redirect(origin if origin != _origin(url) else "an address that is not below its own")
    if prepared.method not in READS:
        _refuse_redirect("another address, and a write is not sent twice")
    return to


def _origin(url: str) -> str:
    """Scheme, host and port, as far as they can be shown: no user name, nothing odd."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.isascii() or not all(sign.isalnum() or sign in ".-:_" for sign in host) or len(host) > 253:
        return "another host"
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _refuse_redirect(where: str) -> NoReturn:
    raise SourceError(
        f"The API redirects to {where}, which is not followed. If that is where it is, let an admin enter that address "
        "in the settings of the data source.",
        code="source_redirect",
        data={"rule": "http.redirect"},
    )


async def _signed(
    api: Api, prepared: Prepared, url: str, validators: Mapping[str, str], until: float, seconds: float
) -> Answer:
    """Send once, and once more with a new token where the first was refused."""
    for again in (True, False):
        left = max(until - monotonic(), 0.001)
        signed = await api.signer.headers(seconds=left)
        headers = {
            "accept": _ACCEPT,
            **{name.lower(): value for name, value in api.settings.headers.items()},
            **{name.lower(): value for name, value in prepared.headers},
            **validators,
            **signed,
        }
        answer = await _send(api, prepared, url, headers, until, seconds)
        # 401 says that nothing was done: a write may be sent again, too.
        if answer.status != 401 or not again or not api.signer.refused(signed):
            return answer
    raise AssertionError  # the second round returns


async def _send(
    api: Api, prepared: Prepared, url: str, headers: Mapping[str, str], until: float, seconds: float
) -> Answer:
    safe = prepared.method in READS
    for again in (safe, False):
        api.pace.take()
        api.stats.requests += 1
        started = monotonic()
        try:
            answer = await api.client.send(
                prepared.method,
                url,
                headers=headers,
                content=prepared.body,
                seconds=max(until - started, 0.001),
                most_bytes=api.settings.max_bytes,
            )
        except OutboundRefused as refused:
            if again and refused.reason == "broken":
                # It may have closed an idle connection at this moment.
                continue
            if refused.reason == "timeout":
                refused = OutboundRefused(f"it did not answer within {seconds:g} seconds", "timeout")
            raise unanswered(refused, f"The API at {host_of(url)}", repeatable=safe) from None
        api.stats.statuses[f"{answer.status // 100}xx"] += 1
        api.stats.received_bytes += len(answer.body)
        api.stats.seconds += monotonic() - started
        return answer
    raise AssertionError  # the second round returns or raises
