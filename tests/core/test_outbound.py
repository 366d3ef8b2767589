"""Only public addresses are connected to, unless the operator allows others."""

from __future__ import annotations

import pytest

from core.outbound import AddressRule, Denied, Unresolved, parse_networks, resolve


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
        ),
        *("168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8"),
        *(
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "::ffff:0:7f00:1",
            "2002:7f00:1::",
            "2001:0::1",
            "2001:db8::1",
            "3fff::1",
        ),
        *("", "localhost", "127.1", "0x7f000001", "2130706433", "127.0.0.1/8"),
    ],
)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not AddressRule().allows(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert AddressRule().allows(address)


def test_the_operator_allows_networks_and_nothing_beside_them() -> None:
    rule = AddressRule(parse_networks(["10.1.0.0/16", "::1"]))
    assert rule.allows("10.1.255.1")
    assert rule.allows("::1")
    assert not rule.allows("10.2.0.1")
    assert not rule.allows("127.0.0.1")


def test_only_what_the_operator_named_is_named_whether_public_or_not() -> None:
    rule = AddressRule(parse_networks(["10.1.0.0/16", "8.8.8.8"]))
    assert [rule.names(each) for each in ("10.1.2.3", "8.8.8.8", "8.8.4.4", "10.2.0.1", "::1", "x")] == [
        *(True, True, False, False, False, False)
    ]


def test_a_word_that_is_no_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"'db\.internal' is not an IP address or network"):
        parse_networks(["10.0.0.0/8", "db.internal"])


@pytest.mark.anyio
async def test_a_host_resolves_to_what_is_allowed() -> None:
    assert await resolve("127.0.0.1", 443, allow=lambda address: True) == ["127.0.0.1"]


@pytest.mark.anyio
async def test_a_host_with_an_address_that_is_not_allowed_is_denied() -> None:
    with pytest.raises(Denied):
        await resolve("127.0.0.1", 443, allow=AddressRule().allows)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["a..b", "a\x00b", "no-such-host.invalid"])
async def test_a_name_without_an_address_is_unresolved(host: str) -> None:
    with pytest.raises(Unresolved):
        await resolve(host, 443, allow=lambda address: True)
