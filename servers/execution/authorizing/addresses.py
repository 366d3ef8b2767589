"""Which addresses an authorization server may name: they are sent codes and secrets, or a person's browser. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from core.outbound import AllowAddress
from core.webaddress import climbs, split_address

LONGEST: Final = 2_048
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_LOOPBACK: Final = "127.0.0.1"


def read_sound(url: object, allow: AllowAddress) -> SplitResult:
    """The parts of an https address; of an http one where it is this machine's own and the operator allows that.

    Raises ``ValueError`` with the cause, which ends in no full stop.
    """
    if not isinstance(url, str) or len(url) > LONGEST or not _VISIBLE.fullmatch(url) or "\\" in url:
        raise ValueError(f"it is no text of at most {LONGEST} characters that an address may have")
    parts = split_address(url)
    if not parts.hostname or "@" in parts.netloc or "#" in url or climbs(parts):
        raise ValueError("it names no host, or holds a user name, a fragment, or . or .. in its path")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_own(parts.hostname, allow)):
        raise ValueError("it is not an https address")
    return parts


def is_sound(url: object, allow: AllowAddress) -> bool:
    """Whether ``read_sound`` takes it."""
    try:
        read_sound(url, allow)
    except ValueError:
        return False
    return True


def is_within(url: str, resource: object) -> bool:
    """Whether a resource is the server at this address, or stands above it on the same origin."""
    if not isinstance(resource, str) or len(resource) > LONGEST:
        return False
    try:
        here, there = split_address(url), split_address(resource)
    except ValueError:
        return False
    if _origin_of(here) != _origin_of(there) or there.query not in ("", here.query) or there.fragment:
        return False
    path, above = here.path.rstrip("/"), there.path.rstrip("/")
    return path == above or path.startswith(f"{above}/")


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses that were checked are of one origin."""
    return _origin_of(urlsplit(one)) == _origin_of(urlsplit(other))


def origin_of(url: str) -> str:
    """Scheme and authority of an address that was checked."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _origin_of(parts: SplitResult) -> tuple[str, str, int | None]:
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme.lower(), (parts.hostname or "").lower(), port


def _is_own(host: str, allow: AllowAddress) -> bool:
    """Whether it is this machine, and requests to it are allowed."""
    if host == "localhost":
        return allow(_LOOPBACK)
    try:
        return ip_address(host).is_loopback and allow(host)
    except ValueError:
        return False
