"""Computes an arithmetic expression: precedence climbing over tokens, with nothing of Python's to run it.

The column of each fault is named. It evaluates while it reads, so long sums need no deep tree; only
parentheses, signs and powers nest, and how deep is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, NoReturn

from core.errors import InvalidInput
from servers.execution.backends.toolkit.arithmetic import (
    Number,
    Unfit,
    add,
    arc_tangent,
    by_double,
    divide,
    divide_down,
    factorial,
    is_large,
    logarithm,
    lowest_common_multiple,
    multiply,
    negate,
    power,
    present,
    remainder,
    round_half_up,
    square_root,
    subtract,
    whole,
)
from servers.execution.backends.toolkit.tokens import ExpressionFault, Token, cut

MAX_CHARACTERS: Final = 4_096
MAX_NESTING: Final = 64
MAX_LARGE_STEPS: Final = 32
"""Steps with numbers of hundreds of digits: each takes longer than all of a usual expression."""
MAX_PLACES: Final = 400

_CONSTANTS: Final[Mapping[str, float]] = {"pi": math.pi, "e": math.e, "tau": math.tau}


@dataclass(frozen=True, slots=True)
class _Infix:
    strength: int
    compute: Callable[[Number, Number], Number]
    right: bool = False


_INFIX: Final[Mapping[str, _Infix]] = {
    "+": _Infix(10, add),
    "-": _Infix(10, subtract),
    "*": _Infix(20, multiply),
    "/": _Infix(20, divide),
    "//": _Infix(20, divide_down),
    "%": _Infix(20, remainder),
    "**": _Infix(40, power, right=True),
}
_SIGN_STRENGTH: Final = 30
"""Of a sign before a number: -2**2 is -(2**2), and -2*3 is (-2)*3."""


@dataclass(frozen=True, slots=True)
class _Function:
    least: int
    most: int | None
    compute: Callable[..., Number]


def _largest(*values: Number) -> Number:
    return max(values)


def _smallest(*values: Number) -> Number:
    return min(values)


def _total(*values: Number) -> Number:
    return reduce(add, values)


def _average(*values: Number) -> Number:
    return divide(_total(*values), len(values))


def _median(*values: Number) -> Number:
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else divide(add(ordered[middle - 1], ordered[middle]), 2)


def _rounded(value: Number, places: Number = 0) -> Number:
    digits = whole(places)
    if abs(digits) > MAX_PLACES:
        raise Unfit(f"rounds to at most {MAX_PLACES} places")
    return round_half_up(value, digits)


def _divisor(*values: Number) -> Number:
    return math.gcd(*(whole(value) for value in values))


def _multiple(*values: Number) -> Number:
    return reduce(lowest_common_multiple, (whole(value) for value in values))


def _sign(value: Number) -> Number:
    return (value > 0) - (value < 0)


_ANGLE: Final = "is defined from -1 to 1 only"
_FUNCTIONS: Final[Mapping[str, _Function]] = {
    "abs": _Function(1, 1, abs),
    "acos": _Function(1, 1, by_double(math.acos, _ANGLE)),
    "asin": _Function(1, 1, by_double(math.asin, _ANGLE)),
    "atan": _Function(1, 1, by_double(math.atan, "")),
    "atan2": _Function(2, 2, arc_tangent),
    "avg": _Function(1, None, _average),
    "cbrt": _Function(1, 1, by_double(math.cbrt, "")),
    "ceil": _Function(1, 1, math.ceil),
    "cos": _Function(1, 1, by_double(math.cos, "")),
    "cosh": _Function(1, 1, by_double(math.cosh, "")),
    "degrees": _Function(1, 1, by_double(math.degrees, "")),
    "exp": _Function(1, 1, by_double(math.exp, "")),
    "factorial": _Function(1, 1, factorial),
    "floor": _Function(1, 1, math.floor),
    "gcd": _Function(1, None, _divisor),
    "lcm": _Function(1, None, _multiple),
    "ln": _Function(1, 1, logarithm),
    "log": _Function(1, 2, logarithm),
    "log10": _Function(1, 1, lambda value: logarithm(value, 10)),
    "log2": _Function(1, 1, lambda value: logarithm(value, 2)),
    "max": _Function(1, None, _largest),
    "median": _Function(1, None, _median),
    "min": _Function(1, None, _smallest),
    "pow": _Function(2, 2, power),
    "radians": _Function(1, 1, by_double(math.radians, "")),
    "round": _Function(1, 2, _rounded),
    "sign": _Function(1, 1, _sign),
    "sin": _Function(1, 1, by_double(math.sin, "")),
    "sinh": _Function(1, 1, by_double(math.sinh, "")),
    "sqrt": _Function(1, 1, square_root),
    "sum": _Function(1, None, _total),
    "tan": _Function(1, 1, by_double(math.tan, "")),
    "tanh": _Function(1, 1, by_double(math.tanh, "")),
    "trunc": _Function(1, 1, math.trunc),
}
FUNCTION_NAMES: Final = tuple(_FUNCTIONS)


def calculate(expression: str) -> dict[str, Any]:
    """The value of an expression, as ``arithmetic.present`` shows it. Raises ``InvalidInput`` with the column."""
    if len(expression) > MAX_CHARACTERS:
        message = f"The expression has {len(expression)} characters; at most {MAX_CHARACTERS} are allowed."
        raise InvalidInput(message, errors=[{"path": "expression", "message": message}])
    try:
        return present(evaluate(expression))
    except Unfit as fault:
        # Only what is shown at the end can still be unfit there.
        raise _invalid(ExpressionFault(1, str(fault))) from None
    except ExpressionFault as fault:
        raise _invalid(fault) from None


def evaluate(expression: str) -> Number:
    """The value of an expression. Raises ``ExpressionFault``."""
    reading = _Reading(expression)
    value = reading.expression(0, 0)
    rest = reading.next
    if rest.kind != "end":
        _refuse_rest(rest)
    return value


def _invalid(fault: ExpressionFault) -> InvalidInput:
    message = f"Column {fault.column}: {fault.message}."
    return InvalidInput(
        f"The expression cannot be computed. {message}",
        errors=[{"path": "expression", "message": message}],
        code="expression_invalid",
        data={"column": fault.column},
    )


class _Reading:
    """One pass over one expression. ``next`` is the token that is looked at."""

    def __init__(self, expression: str) -> None:
        self._tokens = cut(expression)
        self._large_steps = 0
        self.next = next(self._tokens)

    def expression(self, strength: int, depth: int) -> Number:
        """Read and compute as far as operators bind at least as strongly as ``strength``."""
        if depth > MAX_NESTING:
            raise ExpressionFault(self.next.column, f"it nests deeper than {MAX_NESTING} levels")
        left = self._operand(depth)
        while self.next.kind == "sign" and (infix := _INFIX.get(self.next.text)) is not None:
            if infix.strength < strength:
                break
            sign = self._advance()
            # A power's exponent may have a sign: 2**-1.
            least = _SIGN_STRENGTH if infix.right else infix.strength + 1
            right = self.expression(least, depth + 1)
            left = self._computed(sign, infix.compute, left, right)
        return left

    def _operand(self, depth: int) -> Number:
        token = self._advance()
        if token.kind == "number":
            return token.value
        if token.kind == "name":
            return self._named(token, depth)
        if token.text in {"+", "-"}:
            value = self.expression(_SIGN_STRENGTH, depth + 1)
            return value if token.text == "+" else negate(value)
        if token.text == "(":
            value = self.expression(0, depth + 1)
            if self.next.text != ")":
                self._refuse_open(token)
            self._advance()
            return value
        if token.kind == "end":
            raise ExpressionFault(token.column, "a number is missing at the end")
        raise ExpressionFault(token.column, f"a number is missing before {token.text}")

    def _named(self, name: Token, depth: int) -> Number:
        function = _FUNCTIONS.get(name.text)
        if function is None:
            constant = _CONSTANTS.get(name.text)
            if constant is None:
                raise ExpressionFault(
                    name.column,
                    f"{name.text[:40]} is not known. Constants: {', '.join(_CONSTANTS)}. "
                    f"Functions: {', '.join(FUNCTION_NAMES)}",
                )
            if self.next.text == "(":
                raise ExpressionFault(name.column, f"{name.text} is a constant, not a function")
            return constant
        if self.next.text != "(":
            raise ExpressionFault(
                name.column, f"{name.text} is a function. Give what it takes in parentheses: {name.text}(…)"
            )
        values = self._arguments(depth)
        _check_count(name, function, len(values))
        return self._computed(name, function.compute, *values)

    def _arguments(self, depth: int) -> list[Number]:
        opened = self._advance()
        values: list[Number] = []
        if self.next.text == ")":
            self._advance()
            return values
        while True:
            values.append(self.expression(0, depth + 1))
            if self.next.text == ")":
                self._advance()
                return values
            if self.next.text != ",":
                self._refuse_open(opened)
            self._advance()

    def _computed(self, at: Token, compute: Callable[..., Number], *values: Number) -> Number:
        if any(map(is_large, values)):
            self._large_steps += 1
            if self._large_steps > MAX_LARGE_STEPS:
                raise ExpressionFault(at.column, "it computes with large numbers too often. Split it up")
        try:
            return compute(*values)
        except Unfit as fault:
            words = f"{at.text} {fault}" if at.kind == "name" and _speaks_of_function(fault) else str(fault)
            raise ExpressionFault(at.column, words) from None

    def _advance(self) -> Token:
        token = self.next
        if token.kind != "end":
            self.next = next(self._tokens)
        return token

    def _refuse_open(self, opened: Token) -> NoReturn:
        if self.next.kind != "end":
            _refuse_rest(self.next)
        raise ExpressionFault(opened.column, "this parenthesis is not closed")


def _speaks_of_function(fault: Unfit) -> bool:
    return str(fault).startswith(("takes ", "is defined", "rounds "))


def _check_count(name: Token, function: _Function, count: int) -> None:
    if count < function.least or (function.most is not None and count > function.most):
        most = function.most
        if most is None:
            wanted = f"at least {function.least}"
        else:
            wanted = str(most) if most == function.least else f"{function.least} to {most}"
        numbers = "number" if most == 1 else "numbers"
        raise ExpressionFault(name.column, f"{name.text} takes {wanted} {numbers}, not {count}")


def _refuse_rest(token: Token) -> NoReturn:
    if token.text == ")":
        raise ExpressionFault(token.column, "this parenthesis was never opened")
    if token.text == ",":
        raise ExpressionFault(
            token.column,
            "a comma stands between what a function takes only. Write 1000.5, without separators of thousands",
        )
    raise ExpressionFault(token.column, "an operator is missing here. Write a product as 2 * 3")


def expression_of(arguments: Mapping[str, Any]) -> str:
    """The argument ``expression``. Raises ``InvalidInput``."""
    expression = arguments.get("expression")
    if not isinstance(expression, str) or not expression.strip():
        message = "Give an expression, such as 2 * (3 + 4)."
        raise InvalidInput(message, errors=[{"path": "expression", "message": message}])
    return expression
