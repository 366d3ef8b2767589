"""Cuts an expression into numbers, names and signs, each with its column. Computes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, NoReturn

from servers.execution.backends.toolkit.arithmetic import MAX_DIGITS, Number, Unfit, settled

_DIGITS: Final = r"[0-9]+(?:_[0-9]+)*"
_TOKEN: Final = re.compile(
    rf"""(?P<space>[ \t\r\n\u00a0]+)
    |(?P<number>(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>\*\*|//|[-+*/%(),])""",
    re.VERBOSE,
)
"""Each alternative is linear, and no two begin alike."""

_SAME: Final = {"\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-"}
"""Signs as they are typeset: times, dot, division and minus."""

_ADVICE: Final = {
    "^": "^ is no operator here. Write a power as **",
    "=": "= is no operator here. Give an expression to compute",
    "<": "numbers are not compared here. Give an expression to compute",
    ">": "numbers are not compared here. Give an expression to compute",
    "!": "! is no operator here. Write factorial(5) for 5!",
    "[": "[ is not known here. Write parentheses",
    "{": "{ is not known here. Write parentheses",
    "'": "text cannot be computed with. Leave the quotes out",
    '"': "text cannot be computed with. Leave the quotes out",
    "$": "a currency cannot be computed with. Give the number alone",
    "\u20ac": "a currency cannot be computed with. Give the number alone",
    ";": "; is not known here. Give one expression a call",
    "&": "& is no operator here",
    "|": "| is no operator here",
}


class ExpressionFault(Exception):
    """What is wrong with an expression, and at which column, counted from 1 in characters."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message


@dataclass(frozen=True, slots=True)
class Token:
    kind: Literal["number", "name", "sign", "end"]
    text: str
    column: int
    value: Number = 0


def cut(expression: str) -> Iterator[Token]:
    """The tokens, the last of which is the ``end``. Raises ``ExpressionFault``."""
    for typeset, plain in _SAME.items():
        # One character for one: columns stay true.
        expression = expression.replace(typeset, plain)
    place = 0
    while place < len(expression):
        found = _TOKEN.match(expression, place)
        if found is None:
            _refuse(expression[place], place + 1)
        column, text = place + 1, found[0]
        place = found.end()
        if found.lastgroup == "number":
            yield Token("number", text, column, _read_number(text, column))
        elif found.lastgroup == "name":
            yield Token("name", text, column)
        elif found.lastgroup == "sign":
            yield Token("sign", text, column)
    yield Token("end", "", len(expression) + 1)


def _read_number(text: str, column: int) -> Number:
    mantissa, _, exponent = text.replace("_", "").lower().partition("e")
    if len(mantissa) > 1 and mantissa[0] == "0" and mantissa[1].isdigit():
        # 1,000 in max(1,000) would be two numbers in silence.
        raise ExpressionFault(
            column, "a number does not begin with 0 and a digit. Leave out zeros, and separators of thousands"
        )
    if len(mantissa) > MAX_DIGITS or len(exponent) > 5 or abs(int(exponent or 0)) > MAX_DIGITS:
        raise ExpressionFault(column, f"this number has more than {MAX_DIGITS:,} digits")
    before, _, after = mantissa.partition(".")
    value = Fraction(int(before + after or "0")) * Fraction(10) ** (int(exponent or 0) - len(after))
    try:
        return settled(value)
    except Unfit as fault:
        raise ExpressionFault(column, str(fault)) from None


def _refuse(character: str, column: int) -> NoReturn:
    if character in _ADVICE:
        raise ExpressionFault(column, _ADVICE[character])
    if character.isprintable():
        raise ExpressionFault(column, f"the character {character} is not known here")
    raise ExpressionFault(column, f"the character U+{ord(character):04X} is not known here. Leave it out")
