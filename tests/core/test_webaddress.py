"""An address that somebody enters is one that all read alike, or it is refused in words."""

from __future__ import annotations

import pytest

from core.webaddress import read_https


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "https"),
        ("http://a.example", "https"),
        ("javascript:alert(1)", "https"),
        ("https://", "of a host"),
        ("https://[::1", "no address"),
        ("https://a.example:port", "no address"),
        ("https://a.example:99999", "no address"),
        ("https://a.example/x y", "others than an address may"),
        ("https://a.example/\x00", "others than an address may"),
        ("https://exam\u0440le.com", "others than an address may"),
        ("https://a.example/" + "x" * 100, "longer than 100"),
        ("https://me@a.example", "user name"),
        ("https://a.example/#x", "fragment"),
        ("https://a.example/#", "fragment"),
        ("https://a.example/a/../b", "in its path"),
        ("https://a.example/./b", "in its path"),
    ],
)
def test_what_others_could_read_otherwise_is_refused_with_the_cause(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^it .*{why}"):
        read_https(text, longest=100)


def test_addresses_as_they_are_found_are_taken() -> None:
    parts = read_https("https://a.example:8443/realms/x?y=..", longest=100)
    assert (parts.hostname, parts.port, parts.path) == ("a.example", 8443, "/realms/x")
