"""An address that cannot be fetched is refused in words, whatever it looks like: it is a stranger's."""

from __future__ import annotations

import asyncio

import pytest

from core.fetching import FetchRefused, fetch_document
from core.outbound import AddressRule


@pytest.mark.parametrize(
    "url",
    [
        "",
        "client.json",
        "http://example.com/c.json",
        "https:///c.json",
        "https://[::1",
        "https://[v1.x]/c.json",
        "https://example.com:port/c.json",
        "https://127.0.0.1:99999/c.json",
        "https://user:secret@127.0.0.1/c.json",
        "https://a\x00b/c.json",
        "https://a\tb/c.json",
        "https://a..b/c.json",
        "https://a%00b/c.json",
        "https://[::1%25eth0]/c.json",
        "https://" + "a" * 300 + "/c.json",
        "https://" + "a" * 70_000,
        "https://a\u200db/c.json",
        "https://a\ud800b/c.json",
        "https://127.0.0.1/\ud800",
        "https://127.0.0.1/c.json",
    ],
)
def test_address_that_is_none_or_not_allowed_is_refused_in_words(url: str) -> None:
    with pytest.raises(FetchRefused, match=r"^it"):
        asyncio.run(fetch_document(url, rule=AddressRule(), seconds=5, most_bytes=1_000))
