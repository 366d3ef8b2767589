"""What a step keeps of what a stranger sent: nothing that reads otherwise than it stands, and no query."""

from __future__ import annotations

import pytest

from tenants.oauth_steps import clean, clean_address


@pytest.mark.parametrize(
    "odd", ["\u202e", "\u2066", "\u200b", "\U000e0041", "\x00", "\x85", "\ud800", "\u2028"]
)
def test_characters_that_hide_or_turn_the_text_are_shown_as_such(odd: str) -> None:
    assert clean(f"a{odd}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_other_peoples_letters_stay() -> None:
    assert clean("Zoë Клиент 客户端 v1.0") == "Zoë Клиент 客户端 v1.0"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://ada:secret@client.example/back?code=secret#secret", "https://client.example/back?…"),
        ("//client.example/back?code=secret", "//client.example/back?…"),
        ("client.example/back?code=secret#secret", "client.example/back?…"),
        ("client.example/back#secret", "client.example/back"),
        ("com.example.app:/back?code=secret", "com.example.app:/back?…"),
        ("http://[client.example/back?code=secret", "http://[client.example/back"),
    ],
)
def test_no_address_is_kept_with_its_query(given: str, kept: str) -> None:
    assert clean_address(given) == kept
