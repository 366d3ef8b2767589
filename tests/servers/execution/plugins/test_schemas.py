"""Schemas made of annotations mean what the annotations mean: no caller is refused for what the schema allowed."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from marina.errors import ArgumentsUnfit
from marina.signatures import Signature, read_signature


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: int
    label: str | None = None


async def integer(value: Annotated[int, Field(ge=-3, lt=4)]) -> str:
    return ""


async def number(value: float) -> str:
    return ""


async def text(value: Annotated[str, Field(min_length=1, max_length=3)]) -> str:
    return ""


async def choice(value: Literal["a", 3] | Colour | None) -> str:
    return ""


async def nested(value: dict[str, list[Point]]) -> str:
    return ""


async def flags(value: Annotated[list[bool], Field(max_length=2)] = [True]) -> str:  # noqa: B006
    return ""


FUNCTIONS: Final = [integer, number, text, choice, nested, flags]

SCALARS: Final = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "red", "blue", "abcd", "x"])
)
POINTS: Final = st.dictionaries(st.sampled_from(["x", "label", "other"]), SCALARS, max_size=3)
VALUES: Final = st.recursive(
    SCALARS | POINTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


def allowed_by_schema(signature: Signature, arguments: dict[str, Any]) -> bool:
    return jsonschema_rs.validator_for(signature.schema(), offline=True).is_valid(arguments)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
@given(arguments=st.dictionaries(st.sampled_from(["value"]), VALUES) | st.just({"value": "a", "more": 1}))
def test_what_the_schema_allows_is_read_and_what_is_exact_is_allowed(
    function: Any, arguments: dict[str, Any]
) -> None:
    signature = read_signature(function)
    allowed = allowed_by_schema(signature, arguments)
    try:
        signature.read(arguments)
    except ArgumentsUnfit:
        read = False
    else:
        read = True
    assert read or not allowed
    try:
        signature.model.model_validate_json(orjson.dumps(arguments), strict=True)
    except ValidationError:
        return
    assert allowed


async def when(day: date, tags: set[str], size: bytes = b"") -> str:
    return ""


def test_json_becomes_what_python_has_more_of() -> None:
    read = read_signature(when).read({"day": "2026-11-21", "tags": ["a", "b"], "size": "12"})
    assert read == {"day": date(2026, 11, 21), "tags": {"a", "b"}, "size": b"12"}
