"""Which address a request came from, past the operator's own proxies. Pure; asks no one and trusts no header alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from core.outbound import Network

UNKNOWN: Final = "unknown"
"""Where there is no address: a peer on a Unix socket that no trusted proxy vouches for."""

MAX_HOPS: Final = 32
"""Entries of ``X-Forwarded-For`` that are looked at, from the right."""

_IPV6_NETWORK: Final = (1 << 128) - (1 << 64)


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Iterable[Network]) -> str:
    """The client's address: the peer's, or what trusted proxies say of it.

    ``forwarded`` holds the values of all ``X-Forwarded-For`` headers, in order. Only where the peer is trusted
    are they read, from the right: each proxy appends whom it was asked by, so the first address that is not a
    trusted proxy's is the last one that somebody trusted saw. What stands left of it, the client may have made up.
    """
    networks = tuple(trusted)
    current = _parse(peer or "")
    if current is None:
        return UNKNOWN
    if not networks or not forwarded:
        return str(current)
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    for hop in reversed(hops[-MAX_HOPS:]):
        if not _is_in(current, networks):
            break
        named = _parse(_without_port(hop))
        if named is None:
            break
        current = named
    return str(current)


def address_of_scope(scope: Mapping[str, Any], trusted: Iterable[Network]) -> str:
    """``client_address`` of an ASGI scope."""
    peer = scope.get("client")
    forwarded = [
        value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"x-forwarded-for"
    ]
    return client_address(peer[0] if peer else None, forwarded, trusted)


def address_of_meta(meta: Mapping[str, Any], trusted: Iterable[Network]) -> str:
    """``client_address`` of a WSGI environment, as Django's requests have it in ``META``."""
    return client_address(meta.get("REMOTE_ADDR"), [meta.get("HTTP_X_FORWARDED_FOR", "")], trusted)


@lru_cache(maxsize=4096)
def address_block(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 customer gets as one."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return f"{IPv6Address(int(parsed) & _IPV6_NETWORK)}/64"
    return UNKNOWN if parsed is None else str(parsed)


@lru_cache(maxsize=4096)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A dual-stack socket shows an IPv4 client so; it is the same client.
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address in text form lies in one of the networks. What is not an address lies in none."""
    parsed = _parse(address)
    return parsed is not None and _is_in(parsed, networks)


def _without_port(hop: str) -> str:
    """``[2001:db8::1]:443`` and ``192.0.2.1:443`` without brackets and port, as some proxies write them."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _is_in(address: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
