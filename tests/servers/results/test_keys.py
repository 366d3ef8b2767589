"""Keys: the same for what nobody could tell apart, and another one for everything else."""

from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.execution.context import NOBODY, Detached
from servers.execution.contract import AskMethod
from servers.services.results.keys import key_of
from servers.services.results.plans import Shared
from tenants.access import Caller
from tests.servers.results.sharing import CALLER, planned

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ["é", "e\u0301", "Å", "\u212b", "ﬁ", "fi", "1", "true", "null", ""]
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)


VALUES = st.recursive(st.none() | st.booleans() | NUMBERS | TEXTS, nested, max_leaves=12)
ARGUMENTS = st.dictionaries(TEXTS, VALUES, max_size=5)


def key(arguments: dict[str, Any], shared: Shared | None = None, caller: Caller = CALLER) -> bytes | None:
    return key_of(shared or planned(), arguments, caller, "default", NOBODY)


def exact(value: Any) -> str:
    """What a value is, type and all, in an order of its own: written by other means than the keys are."""
    if isinstance(value, dict):
        members = sorted(f"{json.dumps(name)}:{exact(each)}" for name, each in value.items())
        return f"object {len(members)} {','.join(members)}"
    if isinstance(value, list):
        return f"list {len(value)} {','.join(map(exact, value))}"
    return f"{type(value).__name__} {value!r}"


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shuffled(each) for name, each in reversed(value.items())}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(ARGUMENTS, ARGUMENTS)
def test_two_calls_have_one_key_exactly_where_they_are_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert key(one) is not None
    assert (key(one) == key(other)) == (exact(one) == exact(other))


@settings(deadline=None)
@given(ARGUMENTS)
def test_the_order_of_members_makes_no_difference(arguments: dict[str, Any]) -> None:
    assert key(shuffled(arguments)) == key(arguments) == key(json.loads(json.dumps(arguments)))


@settings(deadline=None)
@given(ARGUMENTS, TEXTS, VALUES)
def test_an_argument_more_is_another_call_also_where_it_is_a_default(
    arguments: dict[str, Any], name: str, value: Any
) -> None:
    without = {each: arguments[each] for each in arguments if each != name}
    assert key(without) != key({**without, name: value})


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_texts_are_told_apart_by_their_characters(text: str, form: Any) -> None:
    other = unicodedata.normalize(form, text)
    assert (key({"a": text}) == key({"a": other})) == (text == other)


@pytest.mark.parametrize(
    "values",
    [(1, 1.0, True, "1", [1], {"": 1}), (0, 0.0, -0.0, False, None, ""), (1e16, 10**16), (None, "null", [])],
)
def test_values_that_look_alike_are_different(values: tuple[Any, ...]) -> None:
    assert len({key({"a": value}) for value in values} | {key({})}) == len(values) + 1


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, [None, {"b": -math.inf}], 2**64, "\ud800", date(2026, 1, 1), {1: "a"}, {"a", "b"}],
)
def test_what_has_no_exact_form_shares_with_nobody(value: Any) -> None:
    assert key({"a": value}) is None


def test_null_has_an_exact_form() -> None:
    assert key({"a": None, "b": [1.5, {"c": None}]}) is not None


def test_arguments_nested_without_end_share_with_nobody() -> None:
    nested: dict[str, Any] = {}
    for _ in range(10_000):
        nested = {"a": nested}
    assert key(nested) is None


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": 8},
        {"actor": "key:two"},
        {"user_id": 3},
        {"credential_id": UUID(int=9)},
        {"principal": "app:x"},
        {"issuer_id": UUID(int=9)},
        {"audience": "other"},
    ],
)
def test_callers_are_told_apart_where_the_result_may_depend_on_them(change: dict[str, Any]) -> None:
    other = replace(CALLER, **change)
    alone = planned(by_caller=True)
    assert key({}, alone, other) != key({}, alone)
    assert key({}, planned(), other) == key({}, planned())


def test_servers_are_told_apart_where_the_result_may_depend_on_them() -> None:
    alone = planned(by_caller=True)
    assert key_of(alone, {}, CALLER, "one", NOBODY) != key_of(alone, {}, CALLER, "two", NOBODY)
    assert key_of(planned(), {}, CALLER, "one", NOBODY) == key_of(planned(), {}, CALLER, "two", NOBODY)


@pytest.mark.parametrize(
    "able", [("elicitation/create", ""), ("elicitation/create", "url"), ("sampling/createMessage", "tools")]
)
def test_clients_are_told_apart_by_what_they_can_be_asked(able: tuple[AskMethod, str]) -> None:
    class Able(Detached):
        def can(self, method: AskMethod, part: str = "") -> bool:
            return (method, part) == able

    context = Able(NOBODY.principal)
    alone = planned(by_caller=True)
    assert key_of(alone, {}, CALLER, "default", context) != key({}, alone)
    assert key_of(planned(), {}, CALLER, "default", context) == key({})


def test_another_version_is_another_call() -> None:
    assert key({}, planned(start=b"t" * 32)) != key({})


def test_long_arguments_are_told_apart_too_and_their_keys_stay_short() -> None:
    texts = ["x" * length for length in range(480, 530)]
    keys = {key({"a": text}) for text in texts}
    assert len(keys) == len(texts)
    assert max(len(each or b"") for each in keys) < 600
