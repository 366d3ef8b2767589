"""Whom a request came from is what somebody trusted saw, never what the client says of itself."""

from __future__ import annotations

import pytest

from core.clientaddress import MAX_HOPS, UNKNOWN, address_block, address_of_scope, client_address
from core.outbound import parse_networks

PROXIES = parse_networks(["10.0.0.0/8", "2001:db8:ffff::/48"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        ("10.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.1", ["203.0.113.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("2001:db8:ffff::1", ["2001:db8::9"], "2001:db8::9"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        (None, ["203.0.113.7"], UNKNOWN),
    ],
)
def test_the_rightmost_address_that_is_no_proxy_counts(
    peer: str | None, forwarded: list[str], address: str
) -> None:
    assert client_address(peer, forwarded, PROXIES) == address


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert client_address("10.0.0.1", ["203.0.113.7"], ()) == "10.0.0.1"


def test_a_header_of_any_length_is_read_so_far_only() -> None:
    hops = ", ".join(["203.0.113.7"] + ["10.0.0.2"] * MAX_HOPS)
    assert client_address("10.0.0.1", [hops], PROXIES) == "10.0.0.2"


def test_a_scope_may_hold_the_header_twice() -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.1"), (b"host", b"x"), (b"x-forwarded-for", b"203.0.113.7")]
    assert address_of_scope({"client": ("10.0.0.1", 5), "headers": headers}, PROXIES) == "203.0.113.7"
    assert address_of_scope({"client": None, "headers": headers}, PROXIES) == UNKNOWN


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        (UNKNOWN, UNKNOWN),
    ],
)
def test_an_ipv6_customer_is_one_client(address: str, block: str) -> None:
    assert address_block(address) == block
