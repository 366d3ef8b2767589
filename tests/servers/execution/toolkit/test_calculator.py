"""What ``calculate`` gives, and where it says that an expression is wrong."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from servers.execution.backends.toolkit.arithmetic import EXACT_BITS
from servers.execution.backends.toolkit.calculator import MAX_CHARACTERS, calculate, evaluate


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("0.1 + 0.2", 0.3),
        ("1.1 * 3", 3.3),
        ("2 / 3 * 3", 2),
        ("1/3 + 1/3 + 1/3", 1),
        ("7 - 10", -3),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("10 - 4 - 3", 3),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("(-2) ** 2", 4),
        ("2 ** -1", 0.5),
        ("--5", 5),
        ("+5", 5),
        ("2 * -3", -6),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("7.5 % 2", 1.5),
        ("1e3", 1000),
        ("1.5E-3", 0.0015),
        (".5 + 5.", 5.5),
        ("1_000 * 2", 2000),
        ("0 ** 0", 1),
        ("1 ** 99999999999", 1),
        ("(0 - 1) ** 99999999999", -1),
        ("2\u00d73\u00f74\u22121", 0.5),
        ("sqrt(16)", 4),
        ("sqrt(2.25)", 1.5),
        ("4 ** 0.5", 2),
        ("abs(-3/4)", 0.75),
        ("round(2.5)", 3),
        ("round(-2.5)", -3),
        ("round(2.675, 2)", 2.68),
        ("round(1234, -2)", 1200),
        ("round(pi, 4)", 3.1416),
        ("floor(-1.5)", -2),
        ("ceil(-1.5)", -1),
        ("trunc(-1.5)", -1),
        ("max(1, 2.5, 2)", 2.5),
        ("min(3, 1/2)", 0.5),
        ("sum(0.1, 0.2, 0.3)", 0.6),
        ("avg(1, 2)", 1.5),
        ("median(5, 1, 3)", 3),
        ("median(4, 1, 3, 2)", 2.5),
        ("factorial(10)", 3628800),
        ("gcd(12, 18)", 6),
        ("lcm(4, 6)", 12),
        ("pow(2, 10)", 1024),
        ("sign(-0.5)", -1),
        ("10 ** 400 / 10 ** 399", 10),
    ],
)
def test_what_can_be_exact_is(expression: str, result: float) -> None:
    assert calculate(expression) == {"result": result, "exact": True}


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("sqrt(2)", math.sqrt(2)),
        ("pi", math.pi),
        ("tau / 2 - pi", 0.0),
        ("log(1000, 10)", 3.0),
        ("log(8, 2)", 3.0),
        ("log2(1024)", 10.0),
        ("log10(10 ** 400)", 400.0),
        ("ln(e)", 1.0),
        ("log(5, 3)", math.log(5) / math.log(3)),
        ("exp(1)", math.e),
        ("sin(pi / 6)", math.sin(math.pi / 6)),
        ("degrees(pi)", 180.0),
        ("atan2(1, 1)", math.pi / 4),
        ("2 ** 0.3", 2**0.3),
        ("1.0000001 ** 1000000", 1.0000001**1000000),
        ("2 ** -5000", 0.0),
        ("cbrt(27)", 3.0),
    ],
)
def test_what_cannot_be_exact_is_a_double_and_says_so(expression: str, result: float) -> None:
    assert calculate(expression) == {"result": pytest.approx(result, rel=1e-15), "exact": False}


def test_a_fraction_without_end_comes_with_its_exact_value() -> None:
    assert calculate("2 / 3") == {"result": 2 / 3, "exact": False, "fraction": "2/3"}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("2 ** 53", "9007199254740992"),
        ("2 ** 64 + 1", "18446744073709551617"),
        ("factorial(25)", "15511210043330985984000000"),
        ("0.1234567890123456789 * 2", "0.2469135780246913578"),
        ("-12345678901234567890.5", "-12345678901234567890.5"),
    ],
)
def test_what_a_number_of_json_would_round_is_text(expression: str, text: str) -> None:
    assert calculate(expression) == {"result": text, "exact": True}


@pytest.mark.parametrize(
    ("expression", "column", "words"),
    [
        ("", 1, "a number is missing"),
        ("   ", 4, "a number is missing"),
        ("1 +", 4, "a number is missing at the end"),
        ("* 3", 1, "a number is missing before *"),
        ("1 + * 3", 5, "a number is missing before *"),
        ("()", 2, "a number is missing before )"),
        ("(1 + 2", 1, "is not closed"),
        ("((1)", 1, "is not closed"),
        ("1 + 2)", 6, "was never opened"),
        ("max(1, 2", 4, "is not closed"),
        ("max(1,, 2)", 7, "a number is missing before ,"),
        ("1 2", 3, "an operator is missing"),
        ("2pi", 2, "an operator is missing"),
        ("2(3)", 2, "an operator is missing"),
        ("(2)(3)", 4, "an operator is missing"),
        ("1.2.3", 4, "an operator is missing"),
        ("0x1f", 2, "an operator is missing"),
        ("1__0", 2, "an operator is missing"),
        ("1,000", 2, "separators of thousands"),
        ("max(1,000)", 7, "separators of thousands"),
        ("007", 1, "separators of thousands"),
        ("2 ^ 3", 3, "as **"),
        ("5!", 2, "factorial(5)"),
        ("x = 1", 3, "= is no operator"),
        ("1 == 1", 3, "= is no operator"),
        ("1 < 2", 3, "not compared"),
        ("$5", 1, "currency"),
        ("'1'", 1, "text cannot be computed"),
        ("[1]", 1, "Write parentheses"),
        ("1; 2", 2, "one expression a call"),
        ("sin", 1, "is a function"),
        ("pi(2)", 1, "is a constant"),
        ("foo(1)", 1, "foo is not known"),
        ("__import__('os')", 1, "__import__ is not known"),
        ("().__class__", 3, "the character ."),
        ("pi.real", 3, "the character ."),
        ("lambda: 1", 7, "the character :"),
        ("1 if 1 else 2", 3, "an operator is missing"),
        ("atan2(1)", 1, "takes 2 numbers, not 1"),
        ("sqrt(1, 2)", 1, "takes 1 number, not 2"),
        ("log(1, 2, 3)", 1, "takes 1 to 2 numbers, not 3"),
        ("max()", 1, "takes at least 1"),
        ("1 / 0", 3, "division by zero"),
        ("1 // 0.0", 3, "division by zero"),
        ("5 % (1 - 1)", 3, "division by zero"),
        ("0 ** -1", 3, "division by zero"),
        ("(-8) ** (1/3)", 6, "no real power"),
        ("sqrt(-1)", 1, "no real square root"),
        ("log(0)", 1, "above zero"),
        ("log(2, 1)", 1, "base 1"),
        ("acos(2)", 1, "acos is defined from -1 to 1"),
        ("gcd(1.5)", 1, "gcd takes whole numbers"),
        ("factorial(-1)", 1, "factorial takes no negative"),
        ("factorial(0.5)", 1, "factorial takes whole numbers"),
        ("round(1, 0.5)", 1, "round takes whole numbers"),
        ("round(1, 10 ** 9)", 1, "rounds to at most"),
        ("9 ** 9 ** 9", 3, "too large"),
        ("2 ** 10 ** 100", 3, "too large"),
        ("10 ** 2000 * 10 ** 2001", 12, "too large"),
        ("factorial(10 ** 12)", 1, "too large"),
        ("lcm(9 ** 3000, 10 ** 3000)", 1, "too large"),
        ("1e9999999", 1, "more than 4,000 digits"),
        ("1" * 4_001, 1, "more than 4,000 digits"),
        ("exp(1000)", 1, "1.8e308"),
        ("10 ** 400 * pi", 11, "1.8e308"),
        ("sinh(10000)", 1, "1.8e308"),
        ("(" * 100 + "1" + ")" * 100, 66, "deeper than 64"),
        ("-" * 100 + "1", 66, "deeper than 64"),
        ("2" + "**2" * 100, 196, "deeper than 64"),
        ("+".join(["9**4000"] * 60), 264, "large numbers too often"),
        ("\u0663 + 1", 1, "not known here"),
        ("1\u20282", 2, "U+2028"),
        ("1\x002", 2, "U+0000"),
        ("\U0001f4a9", 1, "not known here"),
    ],
)
def test_a_fault_names_its_column(expression: str, column: int, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        calculate(expression)
    assert words in caught.value.message
    assert caught.value.data == {"column": column}
    assert caught.value.errors[0]["message"].startswith(f"Column {column}: ")
    assert caught.value.code == "expression_invalid"


def test_an_expression_is_not_longer_than_allowed() -> None:
    assert calculate("1+" * (MAX_CHARACTERS // 2 - 1) + "1")["result"] == MAX_CHARACTERS // 2
    with pytest.raises(InvalidInput, match="4097 characters"):
        calculate("1" * (MAX_CHARACTERS + 1))


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
"""Python's own, on exact fractions."""

decimals = st.decimals(min_value=0, max_value=10**6, places=3).map(str)
leaves = st.one_of(st.integers(0, 10**12).map(str), decimals).map(lambda text: (text, Fraction(text)))


def _combined(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.tuples(children, st.sampled_from(sorted(OPERATORS)), children)
    signs = children.map(lambda each: (f"-({each[0]})", -each[1]))
    return signs | pairs.filter(lambda parts: parts[1] in "+-*" or parts[2][1] != 0).map(
        lambda parts: (
            f"({parts[0][0]}){parts[1]}({parts[2][0]})",
            Fraction(OPERATORS[parts[1]](parts[0][1], parts[2][1])),
        )
    )


@given(st.recursive(leaves, _combined, max_leaves=12))
def test_expressions_agree_with_exact_fractions(case: tuple[str, Fraction]) -> None:
    text, value = case
    found = evaluate(text)
    if max(value.numerator.bit_length(), value.denominator.bit_length()) <= EXACT_BITS:
        assert found == value


@given(
    st.lists(
        st.tuples(st.sampled_from(["+", "-", "*", "**", "//", "%"]), st.integers(1, 9)),
        min_size=1,
        max_size=8,
    )
)
def test_precedence_is_that_of_python(rest: list[tuple[str, int]]) -> None:
    # One power at most: towers of them are too large for anybody.
    powers = 0
    text = "-7"
    for sign, number in rest:
        powers += sign == "**"
        text += f"{'*' if sign == '**' and powers > 1 else sign}{number}"
    # Digits and operators of this test's own.
    try:
        expected = eval(text, {"__builtins__": {}})
    except ZeroDivisionError:
        with pytest.raises(InvalidInput, match="division by zero"):
            calculate(text)
    else:
        assert evaluate(text) == expected


@given(
    st.sampled_from(["sin", "cos", "tan", "atan", "tanh", "exp", "cbrt", "radians"]),
    st.floats(-300, 300, allow_subnormal=False),
)
def test_functions_agree_with_those_of_doubles(name: str, value: float) -> None:
    assert evaluate(f"{name}({value!r})") == getattr(math, name)(value)


@given(st.text(alphabet="0123456789.+-*/%(), episqrtmaxround_e^", max_size=60) | st.text(max_size=40))
def test_any_text_gives_a_result_or_a_column(text: str) -> None:
    column, found = 1, None
    try:
        found = calculate(text)
    except InvalidInput as fault:
        column = fault.data["column"]
    assert 1 <= column <= len(text) + 1
    assert found is None or isinstance(found["exact"], bool)
