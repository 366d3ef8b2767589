"""What strangers chose is shown in full and in sight: nothing hidden, nothing backwards, nothing without end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MAX_MESSAGE, MAX_PATH, InvalidInput
from core.readable import readable
from tests.corpora.names import CASES, HIDDEN, is_plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain", "plain"),
        ("two\nlines", "two\nlines"),
        ("größe 漢字 🐚", "größe 漢字 🐚"),
        ("read\u202eelif", "read\\u202eelif"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\x00b\r\n", "a\\x00b\\r\n"),
        ("\ud800", "\\ud800"),
        ("\U000e0061", "\\U000e0061"),
        ("a\u0308", "a\\u0308"),
        ("\u3164", "\\u3164"),
        ("a" * 20, "a" * 20),
        ("a" * 21, "a" * 19 + "…"),
        ("\u200b" * 10_000, "\\u200b\\u200b\\u200b\\…"),
    ],
)
def test_a_text_is_shown(text: str, shown: str) -> None:
    assert readable(text, 20) == shown


@given(st.text(st.characters(exclude_categories=[]), max_size=60), st.integers(min_value=1, max_value=50))
def test_all_of_it_is_in_sight_and_no_longer_than_it_may_be(text: str, most: int) -> None:
    shown = readable(text, most)
    assert is_plain(shown)
    assert len(shown) <= most


@pytest.mark.parametrize("name", CASES.values(), ids=CASES)
def test_an_error_shows_what_it_quotes(name: str) -> None:
    fault = InvalidInput(f"There is no {name}.", errors=[{"path": f"settings.{name}", "message": name}])
    (error,) = fault.errors
    assert all(map(is_plain, (fault.message, str(fault), error["path"], error["message"])))
    assert len(fault.message) <= MAX_MESSAGE
    assert len(error["path"]) <= MAX_PATH
    assert len(error["message"]) <= MAX_MESSAGE


def test_hidden_names_differ_where_they_are_shown() -> None:
    assert len({readable(name, 100) for name in HIDDEN.values()}) == len(HIDDEN)
