"""Lists of allowed hosts: what an entry means, whatever way a host is written, and what is no entry."""

from __future__ import annotations

import re
from typing import Any

import pytest

from core.hostlists import MAX_HOSTS, allows, in_words, read_authority, read_hosts

LISTED = read_hosts(
    [
        "API.example.com.",
        "*.example.org",
        "api.example.net:8443",
        "203.0.113.7",
        "[2001:DB8:0::1]:8443",
        "xn--bcher-kva.example",
        "_srv.example.com",
    ]
)


@pytest.mark.parametrize(
    "asked",
    [
        "api.example.com:443",
        "API.EXAMPLE.COM.:80",
        "a.example.org:443",
        "a.b.example.org:80",
        "api.example.net:8443",
        "203.0.113.7:443",
        "[2001:db8::1]:8443",
        "[2001:0db8:0:0::1]:8443",
        "XN--bcher-kva.example:443",
        "_srv.example.com:443",
    ],
)
def test_a_host_is_found_however_it_is_written(asked: str) -> None:
    assert allows(LISTED, *read_authority(asked))


@pytest.mark.parametrize(
    "asked",
    [
        "example.com:443",
        "www.api.example.com:443",
        "api.example.com:8443",
        "api.example.com:22",
        "example.org:443",
        "badexample.org:443",
        "a.example.org.evil.example:443",
        "api.example.net:443",
        "203.0.113.8:443",
        "[2001:db8::1]:443",
        "[::ffff:203.0.113.7]:443",
        "a.example.org:8443",
    ],
)
def test_no_other_host_and_port_is(asked: str) -> None:
    assert not allows(LISTED, *read_authority(asked))


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "api.example.com",
        ":443",
        "api.example.com:",
        "api.example.com:0",
        "api.example.com:65536",
        "api.example.com:+443",
        "api.example.com:٤٤٣",
        "evil@api.example.com:443",
        "api.example.com..:443",
        ".example.org:443",
        "a..example.org:443",
        "api.example.com\0.evil.example:443",
        "api.example.com%2eevil:443",
        "api.example.com/evil:443",
        "127.1:443",
        "2130706433:443",
        "0x7f000001:443",
        "0x7f.1:443",
        "0177.0.0.1:443",
        "[::1%lo]:443",
        "::1:443",
        "bücher.example:443",
        f"{'a' * 64}.example.org:443",
        f"{'a.' * 130}example.org:443",
    ],
)
def test_what_could_be_read_in_two_ways_is_no_host(asked: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_authority(asked)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("*", "nothing else"),
        ("*.com", "two parts or more"),
        ("*.10.0.0.1", "two parts or more"),
        ("a*.example.com", "nothing else"),
        ("*.*.example.com", "nothing else"),
        ("https://api.example.com", "leave out https://"),
        ("api.example.com/v1", "a path"),
        ("ann@example.com", "user name"),
        ("2001:db8::1", "brackets"),
        ("api..example.com", "no name of a host"),
        ("", "no name of a host"),
        ("api.example.com:", "no host with a port"),
        ("api.example.com:99999", "no such port"),
        ("10.0.0.0/8", "a path"),
        ("10.0.0.256", "256"),
        ("bücher.example", "xn--"),
        (443, "quotation marks"),
    ],
)
def test_an_entry_that_is_none_is_named_with_what_is_wrong(entry: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as fault:
        read_hosts(["api.example.com", entry])
    assert repr(entry) in str(fault.value)


def test_a_list_is_shown_as_it_is_compared_and_has_an_end() -> None:
    assert [str(each) for each in LISTED][:5] == [
        "api.example.com",
        "*.example.org",
        "api.example.net:8443",
        "203.0.113.7",
        "[2001:db8::1]:8443",
    ]
    assert in_words(LISTED[:2]) == "api.example.com, *.example.org"
    assert in_words((*LISTED, *LISTED)).endswith(", api.example.com and 6 more")
    assert len(read_hosts([f"h{number}.example" for number in range(MAX_HOSTS)])) == MAX_HOSTS
    with pytest.raises(ValueError, match="at most 100"):
        read_hosts(["a.example"] * (MAX_HOSTS + 1))
