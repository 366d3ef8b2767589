"""Reads and checks a request's headers, before its body is touched. Knows no tenant."""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import ClassVar, Final

from servers.endpoint.specification import HEADER_MISMATCH
from servers.endpoint.wire import RpcError

BODY_TOO_LARGE: Final = 413

_JSON: Final = "application/json"
_JSON_RANGES: Final = frozenset({_JSON, "application/*", "*/*"})
_EVENT_RANGES: Final = frozenset({"text/event-stream", "text/*"})
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")

_SINGLE: Final = frozenset(
    {
        b"host",
        b"origin",
        b"authorization",
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"x-request-id",
        b"last-event-id",
    }
    | {b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id"}
)
"""Headers that two readers would read differently if they stood twice."""


class _RequestIds:
    """The ids that this process gives out: a random beginning, and a count."""

    ids: ClassVar[Iterator[str]]

    @classmethod
    def begin(cls) -> None:
        cls.ids = cls._make()

    @staticmethod
    def _make() -> Iterator[str]:
        boot = secrets.token_hex(6)
        for number in itertools.count(1):
            yield f"{boot}-{number:x}"


_RequestIds.begin()
# A process that forks after the import shares nothing of it with its child.
os.register_at_fork(after_in_child=_RequestIds.begin)


def fold(raw: Sequence[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], bytes | None]:
    """Headers by lower-case name, values stripped; and the name of one that stands twice but must not.

    Repeated list headers are joined with commas (RFC 9110, section 5.3).
    """
    # httptools leaves white space at the end of a value.
    headers = {name: value.strip() for name, value in raw}
    if len(headers) == len(raw):
        return headers, None
    headers.clear()
    doubled: bytes | None = None
    for name, value in raw:
        if name not in headers:
            headers[name] = value.strip()
        elif name in _SINGLE or name.startswith(b"mcp-param-"):
            doubled = name
        else:
            headers[name] += b", " + value.strip()
    return headers, doubled


def refuse_doubled(name: bytes | None) -> None:
    """Raise ``RpcError`` for a header that stands twice: MCP's header mismatch where it is one of MCP's."""
    if name is not None:
        shown = name.decode("latin-1")
        code = HEADER_MISMATCH if name.startswith(b"mcp-") else 400
        raise RpcError(code, f"The header {shown} stands more than once. Send it once.", status=400)


def request_id_of(headers: dict[bytes, bytes]) -> str:
    """The id that a proxy gave the request, when it is well formed; otherwise a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return next(_RequestIds.ids)


class Gate:
    """Host and Origin against the installation's own names, which stops DNS rebinding."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._hosts = frozenset(host.lower().encode() for host in hosts)
        self._origins = frozenset(origin.lower().encode() for origin in origins)

    def check(self, headers: dict[bytes, bytes]) -> None:
        """Raise ``RpcError`` (403) unless both are ours. No Origin at all is fine: no browser sent this."""
        host = headers.get(b"host", b"")
        if host not in self._hosts and host.lower() not in self._hosts:
            raise RpcError(
                403,
                "This server does not answer under the Host of this request. Use the URL that its dashboard "
                "shows, or ask the operator to add the name to MARINA_ALLOWED_HOSTS.",
                data={"code": "host_not_allowed"},
                status=403,
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in self._origins:
            raise RpcError(
                403,
                "Requests from this Origin are not allowed. Call without an Origin header, or ask the operator "
                "to add it to MARINA_ALLOWED_ORIGINS.",
                data={"code": "origin_not_allowed"},
                status=403,
            )


def check_content(headers: dict[bytes, bytes], *, max_body_bytes: int) -> None:
    """Raise ``RpcError`` for a wrong or encoded content (415), an Accept without JSON (406), a large body (413)."""
    if not _is_json(headers.get(b"content-type", b"")):
        raise RpcError(
            415,
            "The body must be JSON. Send the header Content-Type: application/json.",
            data={"code": "content_type_not_json"},
            status=415,
        )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RpcError(
            415,
            "The body is compressed, which is not taken here. Send it as it is, without Content-Encoding.",
            data={"code": "content_encoding_not_supported"},
            status=415,
            headers=((b"accept-encoding", b"identity"),),
        )
    if not _accepts_json(headers.get(b"accept", b"*/*")):
        raise RpcError(
            406,
            "Answers are JSON, which the Accept header leaves out. Send the header "
            "Accept: application/json, text/event-stream.",
            data={"code": "accept_leaves_out_json"},
            status=406,
        )
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or int(length[:20]) > max_body_bytes):
        raise body_too_large(max_body_bytes)


@lru_cache(maxsize=256)
def accepts_events(accept: bytes) -> bool:
    """Whether an Accept header takes a stream of events. No header takes none: the client may not know of them."""
    return _accepts(accept, _EVENT_RANGES)


@lru_cache(maxsize=256)
def prefers_events(accept: bytes) -> bool:
    """Whether an Accept header names a stream of events before JSON."""
    names = [part.partition(b";")[0].strip().lower() for part in accept.split(b",")]
    return b"text/event-stream" in names and names[0] == b"text/event-stream" and accepts_events(accept)


def body_too_large(max_body_bytes: int) -> RpcError:
    """The answer to a body over the cap."""
    return RpcError(
        BODY_TOO_LARGE,
        f"The body is larger than the {max_body_bytes} bytes that are allowed. Send less in one request.",
        data={"code": "body_too_large", "max_bytes": max_body_bytes},
        status=413,
    )


@lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == _JSON.encode()


@lru_cache(maxsize=256)
def _accepts_json(accept: bytes) -> bool:
    return _accepts(accept, _JSON_RANGES)


def _accepts(accept: bytes, wanted: frozenset[str]) -> bool:
    ranges = (part.partition(";") for part in accept.decode("latin-1").lower().split(","))
    return any(
        name.strip() in wanted and not re.search(r"(?:^|;)\s*q=0(?:\.0*)?\s*(?:;|$)", parameters)
        for name, _, parameters in ranges
    )
