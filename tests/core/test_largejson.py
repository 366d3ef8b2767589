"""What is written in pieces is what orjson writes at once, and no more levels of it."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson
import pytest

from core.largejson import AT_ONCE, FEW, LEVELS, write_pieces


def nested(levels: int, inmost: Any = 1) -> Any:
    for _ in range(levels):
        inmost = [inmost]
    return inmost


def made(random: Random, levels: int) -> Any:
    what = random.random()
    if levels == 0 or what < 0.3:
        return random.choice([1, -2.5, "a\u20ac\U0001f600", None, True, [], {}])
    count = random.choice([1, 2, FEW, FEW + 1, AT_ONCE + 1] if levels > 2 else [1, 2, 3])
    if what < 0.6:
        return [made(random, levels - 1) for _ in range(count)]
    return {
        random.choice("ab\u20ac\U0001f600\uffff") + str(n): made(random, levels - 1) for n in range(count)
    }


VALUES = [
    *(made(Random(seed), 4) for seed in range(100)),
    {"p": {"a": {"x": [1] * (AT_ONCE * 3 + 1), "y": {str(n): [n] for n in range(AT_ONCE)}}}},
    nested(LEVELS + 2, [[1] * FEW, [[]] * (FEW + 1)]),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_pieces_are_what_is_written_at_once(value: Any) -> None:
    assert b"".join(write_pieces(value)) == orjson.dumps(value)


def test_no_piece_is_large() -> None:
    assert max(map(len, write_pieces({"x": [{"a": 1}] * 10_000, "y": [1] * 10_000}))) < 10 * AT_ONCE


@pytest.mark.parametrize("levels", range(252, 257))
def test_as_many_levels_are_written(levels: int) -> None:
    values: list[Any] = [nested(levels), {"a": [nested(levels - 2), 1]}]
    for value in values:
        try:
            whole: bytes | None = orjson.dumps(value)
        except TypeError:
            whole = None
        if whole is None:
            with pytest.raises(TypeError):
                list(write_pieces(value))
        else:
            assert b"".join(write_pieces(value)) == whole


def test_half_a_character_is_refused() -> None:
    values: list[Any] = [{"\ud800": 1}, {"a": ["\ud800"]}, {"\ud800": [[[]]]}]
    for value in values:
        with pytest.raises(TypeError):
            list(write_pieces(value))
