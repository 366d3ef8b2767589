"""Addresses and networks that people enter, in the one form that is stored and compared. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Network, ip_interface, ip_network
from typing import Final

from core.faults import Faults
from core.outbound import Network
from tenants.services.inputs import refuse

MAX_NETWORKS: Final = 64

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""IPv4 in IPv6's clothes, as a dual-stack socket shows it: the client's address is judged without them."""


def clean_networks(networks: object, path: str) -> list[str]:
    """Addresses (``203.0.113.7``) and networks (``10.0.0.0/8``) in canonical form, each once.

    Raises ``InvalidInput`` with a fault for each that is neither.
    """
    if not isinstance(networks, list | tuple):
        refuse(path, "must be a list of addresses and networks.")
    if len(networks) > MAX_NETWORKS:
        refuse(path, f"lists {len(networks)}; at most {MAX_NETWORKS} are allowed.")
    faults = Faults()
    cleaned: list[str] = []
    for place, text in enumerate(networks):
        try:
            cleaned.append(_canonical(text))
        except ValueError as fault:
            faults.add(f"{path}.{place}", str(fault))
    faults.require_none()
    return list(dict.fromkeys(cleaned))


def all_within(networks: Sequence[str], others: Sequence[str]) -> bool:
    """Whether each network lies in one of the others. Both are canonical."""
    wider = [ip_network(other) for other in others]
    return all(any(_is_part(ip_network(network), other) for other in wider) for network in networks)


def _canonical(text: object) -> str:
    if not isinstance(text, str) or not 2 <= len(text.strip()) <= 60 or "%" in text:
        raise ValueError("is not an IP address or a network like 10.1.0.0/16.")
    try:
        interface = ip_interface(text.strip())
    except ValueError:
        raise ValueError("is not an IP address or a network like 10.1.0.0/16.") from None
    network: Network = interface.network
    if interface.ip != network.network_address:
        raise ValueError(
            f"has bits set beyond its network: write {network}, or {interface.ip} for one address."
        )
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        bits = int(network.network_address) & 0xFFFFFFFF
        network = ip_network((bits, network.prefixlen - 96))
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _is_part(network: Network, other: Network) -> bool:
    if isinstance(network, IPv6Network):
        return isinstance(other, IPv6Network) and network.subnet_of(other)
    return not isinstance(other, IPv6Network) and network.subnet_of(other)
