"""What strangers chose is shown in full and in sight: nothing hidden, nothing backwards, nothing without end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MAX_MESSAGE, MAX_PATH, InvalidInput
from core.readable import readable, told_hidden
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
        ("a\u0308", "a\u0308"),
        ("\u0308a", "\\u0308a"),
        ("a\n\u0308", "a\n\\u0308"),
        ("a \u0308", "a \\u0308"),
        ("a" + "\u0301" * 5, "a" + "\u0301" * 3 + "\\u0301" * 2),
        ("\u200b\u0301", "\\u200b\\u0301"),
        ("ab\u200dc", "ab\\u200dc"),
        ("ab\ufe0fc", "ab\\ufe0fc"),
        ("1\ufe0f", "1\\ufe0f"),
        ("\u0915\u200d\u200d", "\u0915\u200d\\u200d"),
        ("\u200d\u0915", "\\u200d\u0915"),
        ("\U0001f468\u200d" * 11, "\U0001f468\u200d" * 9 + "\U0001f468…"),
        ("\u3164", "\\u3164"),
        ("a" * 20, "a" * 20),
        ("a" * 21, "a" * 19 + "…"),
        ("\u200b" * 10_000, "\\u200b\\u200b\\u200b\\…"),
    ],
)
def test_a_text_is_shown(text: str, shown: str) -> None:
    assert readable(text, 20) == shown


WRITTEN = {
    "Hindi": "हिन्दी",
    "Hindi with joiners": "क्\u200dष, क्\u200cष",
    "Bengali": "র\u200d্যাব",
    "Sinhala": "ශ්\u200dරී ලංකා",
    "Tamil": "தமிழ்",
    "Thai": "ที่นี่ ค่ำ น้ำ",
    "Arabic with vowels": "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f\u064c",
    "Persian": "می\u200cخو\u0627\u0647م",
    "Hebrew with vowels": "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "Tibetan": "སྒྲུབ",
    "decomposed Latin": "Zoe\u0301, a\u0302\u0323",
    "an ideograph's form": "葛\U000e0100",
    "decomposed sign": "a =\u0338 b",
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "skin": "\U0001f9d1\U0001f3fd\u200d\U0001f680",
    "heart": "\u2764\ufe0f\u200d\U0001f525, \u2139\ufe0f",
    "keys": "1\ufe0f\u20e3 #\ufe0f\u20e3",
    "flag": "\U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1eb\U0001f1f7",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_what_writes_a_script_or_an_emoji_stays(text: str) -> None:
    assert readable(text, 100) == text
    assert is_plain(text)
    told = InvalidInput(f"must be one of: {text}.", errors=[{"path": text, "message": text}])
    assert (told.message, *told.errors[0].values()) == (f"must be one of: {text}.", text, text)


@given(
    st.text(
        st.sampled_from("a1# \n\u0301\u20e3\ufe0f\u200c\u200d\u034f\u0915\u094d\u093f\u2764\u200b\u3164é…")
    ),
    st.integers(1, 20),
)
def test_what_hangs_on_something_is_in_sight_too(text: str, most: int) -> None:
    shown = readable(text, most)
    assert is_plain(shown)
    assert len(shown) <= most


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


@pytest.mark.parametrize("text", ["", "plain", "हिन्दी", "two\nlines\tand more"])
def test_nothing_is_told_of_what_is_in_sight(text: str) -> None:
    assert told_hidden(text, lines=True) == ""


def test_the_first_hidden_character_is_named() -> None:
    assert told_hidden("a\u200b\u202e") == "contains the invisible character U+200B. Remove it."
    assert told_hidden("a\nb") == "contains the invisible character U+000A. Remove it."
