"""The beginning of a result as the log keeps it: bounded, masked, and never a reason for a call to fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.execution.contract import Outcome
from servers.services.glimpses import glimpse_of
from servers.services.redaction import CUT, MASK, MAX_TEXT, mask_text

TOKEN = "ghp_" + "a1" * 20


def test_a_small_result_is_kept_as_it_is_but_for_its_secrets() -> None:
    structured = {"rows": [{"id": 1, "password": "hunter22"}, {"id": 2, "note": f"see {TOKEN}"}]}
    kept = json.loads(glimpse_of(Outcome(structured, "not this"), 500))
    assert kept == {"rows": [{"id": 1, "password": MASK}, {"id": 2, "note": f"see {MASK}"}]}
    assert glimpse_of(Outcome(None, f"the key is {TOKEN}"), 500) == f"the key is {MASK}"
    assert glimpse_of(Outcome(None, ""), 500) == ""


def test_a_large_one_is_cut_and_says_so() -> None:
    rows = [{"id": number, "name": "n" * 20} for number in range(10_000)]
    kept = glimpse_of(Outcome({"rows": rows}, ""), 200)
    assert (len(kept), kept[-1], kept[:18]) == (200, CUT, '{"rows":[{"id":0,"')
    for length in (200, 201, 600, 5_000):
        kept = glimpse_of(Outcome(None, "word " * length), 200)
        assert (len(kept), kept[-1]) == (200, CUT)


@pytest.mark.parametrize("before", range(180, 215))
def test_a_secret_that_the_cut_goes_through_is_not_shown_in_part(before: int) -> None:
    """Wherever it stands, and however much shorter what is before it became by masking."""
    secret = "postgres://app:h7Qz93kd@db/main"
    for filler in ("x" * before, f"{TOKEN} " * 12 + "x" * before, "x" * (before + 500)):
        kept = glimpse_of(Outcome(None, f"{filler} {secret} " + "y" * 2_000), 200)
        assert "h7Qz" not in kept
        kept = glimpse_of(Outcome({"text": f"{filler} {secret} " + "y" * 2_000}, ""), 200)
        assert "h7Qz" not in kept


def test_a_secret_at_the_end_of_a_long_argument_stays_masked_whatever_was_masked_before_it() -> None:
    tokens = f"{TOKEN} " * 20
    for back in range(0, 700, 7):
        filler = "x" * (MAX_TEXT + 500 - len(tokens) - back)
        kept = mask_text(f"{tokens}{filler} postgres://app:h7Qz93kd@db/main {'y' * 3_000}")
        assert "h7Qz" not in kept, back


def test_what_is_no_text_is_told_in_words() -> None:
    content: list[dict[str, Any]] = [
        {"type": "text", "text": "A chart:"},
        {"type": "image", "data": "AAAA" * 100, "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "file:///a.bin", "blob": "AAA="}},
        {"type": "resource_link", "uri": "file:///b", "name": "b"},
    ]
    assert glimpse_of(Outcome(None, "", content=content), 500).splitlines() == [
        "A chart:",
        "[image/png, 300 bytes]",
        "file:///a.bin [binary, 2 bytes]",
        "[link to file:///b]",
    ]
    messages = [{"role": "user", "content": {"type": "text", "text": "Hello"}}]
    assert glimpse_of(Outcome(None, "About", content=messages), 500) == "user: Hello"


@pytest.mark.parametrize(
    "value",
    [{1: {2: 3}}, {"big": 2**70}, {"half": "\ud800"}, [object()], {"deep": None}],
    ids=["keys", "beyond 64 bits", "surrogate", "no JSON", "null"],
)
def test_no_result_keeps_a_record_from_being_written(value: Any) -> None:
    assert glimpse_of(Outcome(value, ""), 100)
    glimpse_of(Outcome(None, "", content=[{"type": "text", "text": "\ud800"}, value]), 100)


def test_one_nested_without_end_is_told() -> None:
    value: list[Any] = []
    value.append(value)
    assert len(glimpse_of(Outcome(value, ""), 100)) <= 100


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=60,
)


@given(_JSON, st.integers(1, 80))
def test_it_has_at_most_as_many_characters_as_are_kept(value: Any, characters: int) -> None:
    kept = glimpse_of(Outcome(value, "text"), characters)
    assert len(kept) <= characters
