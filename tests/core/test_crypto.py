"""Sealed values open with their key in their place, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.crypto import Sealer, SealError, derive, derive_text

KEY, OTHER_KEY = b"a" * 32, b"b" * 32


@given(st.binary(max_size=300), st.text(max_size=60))
def test_a_sealed_value_opens_with_its_key_and_context(clear: bytes, context: str) -> None:
    sealed = Sealer(KEY).seal(clear, context=context)
    assert Sealer(KEY).open(sealed, context=context) == clear


def test_a_sealed_value_does_not_show_its_text() -> None:
    assert b"password" not in Sealer(KEY).seal(b"password", context="row:1")


def test_the_same_text_seals_differently_each_time() -> None:
    assert Sealer(KEY).seal(b"x", context="c") != Sealer(KEY).seal(b"x", context="c")


def test_a_value_moved_to_another_row_does_not_open() -> None:
    sealed = Sealer(KEY).seal(b"secret", context="data-source:1:a")
    with pytest.raises(SealError, match="its place"):
        Sealer(KEY).open(sealed, context="data-source:2:a")


def test_another_master_key_does_not_open() -> None:
    sealed = Sealer(KEY).seal(b"secret", context="c")
    with pytest.raises(SealError, match="another master key"):
        Sealer(OTHER_KEY).open(sealed, context="c")


def test_a_readable_key_opens_and_never_seals() -> None:
    both = Sealer(KEY, readable=[OTHER_KEY])
    former = Sealer(OTHER_KEY).seal(b"secret", context="c")
    assert both.open(former, context="c") == b"secret"
    assert not both.is_current(former)
    fresh = both.reseal(former, context="c")
    assert both.is_current(fresh)
    assert Sealer(KEY).open(fresh, context="c") == b"secret"
    with pytest.raises(SealError, match="another master key"):
        Sealer(OTHER_KEY).open(fresh, context="c")


def test_a_value_is_resealed_in_its_own_place_only() -> None:
    former = Sealer(OTHER_KEY).seal(b"secret", context="data-source:1:a")
    with pytest.raises(SealError, match="its place"):
        Sealer(KEY, readable=[OTHER_KEY]).reseal(former, context="data-source:2:a")


@given(st.integers(min_value=0))
def test_a_damaged_value_does_not_open(position: int) -> None:
    sealed = bytearray(Sealer(KEY).seal(b"secret", context="c"))
    sealed[position % len(sealed)] ^= 1
    with pytest.raises(SealError):
        Sealer(KEY).open(bytes(sealed), context="c")


def test_a_truncated_value_does_not_open() -> None:
    with pytest.raises(SealError):
        Sealer(KEY).open(Sealer(KEY).seal(b"", context="c")[:-17], context="c")


def test_keys_of_different_purposes_differ() -> None:
    assert derive(KEY, "one") != derive(KEY, "two") != derive(OTHER_KEY, "two")
    assert len(derive_text(KEY, "one")) == 43
