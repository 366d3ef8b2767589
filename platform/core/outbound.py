"""The rule of outbound connections: which addresses this installation connects to. Opens none itself.

Addresses are judged after the name was resolved, here and nowhere else, and the judged address is what is connected
to: a name that changes its answer in between (DNS rebinding) changes nothing. Everything outbound goes by this rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from core.lookups import OF_SOURCES, Lookups

Network = IPv4Network | IPv6Network

AllowAddress = Callable[[str], bool]
"""Says whether an IP address, in its text form, may be connected to."""

_IPV4_SPECIAL: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared with a provider
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform, from inside of its machines
        "169.254.0.0/16",  # link-local, where clouds keep their metadata service
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # former 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""IANA IPv4 Special-Purpose Address Registry (RFC 6890 and its updates), what is not global of it, and
multicast; beside these a public address that only a cloud's own machines reach. Python's own ``is_global`` differs
between versions and calls some of these public."""

_IPV6_GLOBAL: Final = IPv6Network("2000::/3")
"""The only block of IPv6 that is assigned for global unicast (RFC 4291): all else is refused."""

_IPV6_SPECIAL: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
)


def parse_networks(words: Iterable[str]) -> tuple[Network, ...]:
    """Networks (``10.1.0.0/16``) or single addresses. Raises ``ValueError`` naming the word that is neither."""
    networks = []
    for word in words:
        try:
            networks.append(ip_network(word, strict=False))
        except ValueError:
            raise ValueError(f"{word!r} is not an IP address or network like 10.1.0.0/16") from None
    return tuple(networks)


class Unresolved(Exception):
    """The host's name has no address."""


class Denied(Exception):
    """An address of the host is none that this installation connects to."""


class AddressRule:
    """Public addresses, and the networks that the operator allows besides."""

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def allows(self, address: str) -> bool:
        """Whether an IP address in text form may be connected to. What is not an address may not."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if self.names(address):
            return True
        if isinstance(parsed, IPv6Address):
            return parsed in _IPV6_GLOBAL and not any(parsed in network for network in _IPV6_SPECIAL)
        return not any(parsed in network for network in _IPV4_SPECIAL)

    def names(self, address: str) -> bool:
        """Whether an address is in one of the networks that the operator allows: what may be spoken to in the clear."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed.version == network.version and parsed in network for network in self._allowed)


async def resolve(host: str, port: int, *, allow: AllowAddress, lookups: Lookups = OF_SOURCES) -> list[str]:
    """The addresses of ``host``, each once, in the resolver's order. Connect to one of these, never to the name again.

    Raises ``Unresolved``, and ``Denied`` when any answer is not allowed: one bad answer among good ones is how
    rebinding begins. Raises ``Crowded`` while too many hosts of its kind are looked up.
    """
    try:
        addresses = await lookups.addresses(host, port)
    except (OSError, ValueError):  # a host that cannot be one: a NUL in it, a label too long
        raise Unresolved from None
    if not addresses or not all(allow(address) for address in addresses):
        raise Denied
    return addresses
