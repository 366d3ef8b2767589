"""Numbers as a calculator's user means them: exact where they can be, bounded always. Knows no expressions.

Whole numbers and fractions are exact, so 0.1 + 0.2 is 0.3 and 2/3*3 is 2. What has no exact form here (roots,
logarithms, fractions of very many digits) goes on as a double. Nothing is computed before its size is known to
be within bounds: 9**9**9 costs as little as 1+1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

Number = int | Fraction | float

MAX_DIGITS: Final = 4_000
"""Of a whole number."""
MAX_BITS: Final = 13_288
"""As many as ``MAX_DIGITS`` digits take."""
EXACT_BITS: Final = 2_048
"""Of a fraction's numerator and denominator: beyond it a double goes on in its place."""
LARGE_BITS: Final = 2_048
"""Beyond it a number is large: computing with it takes microseconds, not nanoseconds, and is counted."""
SAFE_WHOLE: Final = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly (RFC 7493, section 2.2)."""

_FLOAT_DIGITS: Final = 15
"""Decimal digits that a double always keeps."""
_TEXT_DIGITS: Final = 50
_FRACTION_CHARACTERS: Final = 60
_TOO_LARGE: Final = f"the result is too large: whole numbers have at most {MAX_DIGITS:,} digits"
_TOO_LARGE_DOUBLE: Final = "the result is too large: beyond whole numbers, 1.8e308 is the most"


class Unfit(Exception):
    """What cannot be computed; the message says why, without a place."""


def add(left: Number, right: Number) -> Number:
    return settled(left + right) if _exact(left, right) else _finite(_double(left) + _double(right))


def subtract(left: Number, right: Number) -> Number:
    return settled(left - right) if _exact(left, right) else _finite(_double(left) - _double(right))


def multiply(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS + 1:
            raise Unfit(_TOO_LARGE)
        return left * right
    return settled(left * right) if _exact(left, right) else _finite(_double(left) * _double(right))


def divide(left: Number, right: Number) -> Number:
    _require_divisor(right)
    if isinstance(left, float) or isinstance(right, float):
        return _finite(_double(left) / _double(right))
    return settled(Fraction(left) / right)


def divide_down(left: Number, right: Number) -> Number:
    """The quotient rounded down, as Python's ``//``: -7 // 2 is -4."""
    _require_divisor(right)
    if isinstance(left, float) or isinstance(right, float):
        return _finite(_double(left) // _double(right))
    return settled(left // right)


def remainder(left: Number, right: Number) -> Number:
    """What ``divide_down`` leaves, with the divisor's sign: -7 % 3 is 2."""
    _require_divisor(right)
    if isinstance(left, float) or isinstance(right, float):
        return _finite(_double(left) % _double(right))
    return settled(left % right)


def power(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, float) and exponent.is_integer() and isinstance(base, float):
        return _computed(math.pow, base, exponent)
    if isinstance(exponent, int) and not isinstance(base, float):
        return _whole_power(base, exponent)
    if exponent == Fraction(1, 2):
        return square_root(base)
    if base == 0 and exponent < 0:
        raise Unfit("0 has no negative power: that would be a division by zero")
    if base < 0 and not isinstance(exponent, int):
        raise Unfit("a negative number has no real power whose exponent is not whole")
    return _computed(math.pow, base, exponent)


def negate(value: Number) -> Number:
    return -value


def square_root(value: Number) -> Number:
    """Exact where it can be: of 2.25 it is 1.5."""
    if value < 0:
        raise Unfit("a negative number has no real square root")
    if isinstance(value, float):
        return math.sqrt(value)
    over, under = Fraction(value).as_integer_ratio()
    roots = math.isqrt(over), math.isqrt(under)
    if roots[0] ** 2 == over and roots[1] ** 2 == under:
        return settled(Fraction(*roots))
    return math.sqrt(_double(value))


def round_half_up(value: Number, places: int = 0) -> Number:
    """Rounded as in school, halves away from zero: 2.5 gives 3, and 2.675 to two places 2.68."""
    # A double is what its shortest decimal says, for that is what its reader saw.
    exact = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    scale = Fraction(10) ** places
    steps = math.floor(abs(exact) * scale + Fraction(1, 2))
    return settled((steps if exact >= 0 else -steps) / scale)


def whole(value: Number) -> int:
    """``value`` where it is a whole number, also as a double. Raises ``Unfit``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int):
        raise Unfit("takes whole numbers only")
    return value


def factorial(value: Number) -> int:
    count = whole(value)
    if count < 0:
        raise Unfit("takes no negative number")
    if count > MAX_BITS or math.lgamma(count + 1) > MAX_BITS * math.log(2):
        raise Unfit(_TOO_LARGE)
    return math.factorial(count)


def logarithm(value: Number, base: Number | None = None) -> float:
    """Natural, or to ``base``. Of any size: the logarithm of a number beyond doubles is a double."""
    if value <= 0 or (base is not None and base <= 0):
        raise Unfit("a logarithm takes numbers above zero only")
    if base is None:
        return _log(math.log, value)
    if base == 1:
        raise Unfit("there is no logarithm to base 1")
    for exact, function in ((10, math.log10), (2, math.log2)):
        if base == exact:
            return _log(function, value)
    return _finite(_log(math.log, value) / _log(math.log, base))


def by_double(function: Callable[[float], float], domain: str) -> Callable[[Number], Number]:
    """A function of doubles; ``domain`` is what is said outside of where it is defined."""

    def compute(value: Number) -> Number:
        return _computed(function, value, domain=domain)

    return compute


def arc_tangent(over: Number, under: Number) -> Number:
    return _computed(math.atan2, over, under)


def lowest_common_multiple(left: int, right: int) -> int:
    if left == 0 or right == 0:
        return 0
    product = multiply(abs(left) // math.gcd(left, right), abs(right))
    assert isinstance(product, int)  # noqa: S101 - of whole numbers
    return product


def is_large(value: Number) -> bool:
    return isinstance(value, int) and value.bit_length() > LARGE_BITS


def present(value: Number) -> dict[str, Any]:
    """A number for JSON: ``result``, whether it is ``exact``, and the ``fraction`` that a double stands for.

    ``result`` is a number where every reader of JSON keeps it, else its exact text.
    """
    if isinstance(value, int):
        return {"result": value if abs(value) <= SAFE_WHOLE else str(value), "exact": True}
    if isinstance(value, float):
        # Minus zero would puzzle.
        return {"result": value + 0.0, "exact": False}
    decimal = _as_decimal(value)
    if decimal is not None:
        digits = len(decimal.replace(".", "").lstrip("-0"))
        if digits <= _FLOAT_DIGITS and abs(value) > Fraction(1, 10**300):
            return {"result": float(value), "exact": True}
        if digits <= _TEXT_DIGITS and len(decimal) <= 2 * _TEXT_DIGITS:
            return {"result": decimal, "exact": True}
    fraction = f"{value.numerator}/{value.denominator}"
    inexact: dict[str, Any] = {"result": _double(value), "exact": False}
    if len(fraction) <= _FRACTION_CHARACTERS:
        inexact["fraction"] = fraction
    return inexact


def _as_decimal(value: Fraction) -> str | None:
    """The decimal that is exactly this fraction, where there is one."""
    rest, fives = value.denominator, 0
    twos = (rest & -rest).bit_length() - 1
    rest >>= twos
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    if rest != 1:
        return None
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _whole_power(base: int | Fraction, exponent: int) -> Number:
    if base == 0 and exponent < 0:
        raise Unfit("0 has no negative power: that would be a division by zero")
    if base in {0, 1, -1}:
        # An even exponent's last bit is all that matters, however large it is.
        return 1 if exponent == 0 or base == 1 or (base == -1 and exponent % 2 == 0) else int(base)
    times = abs(exponent)
    if isinstance(base, int):
        if exponent >= 0:
            if (base.bit_length() - 1) * times > MAX_BITS:
                raise Unfit(_TOO_LARGE)
            return settled(base**exponent)
        bits = base.bit_length()
    else:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * times > 2 * EXACT_BITS:
        return _computed(math.pow, base, exponent)
    return settled(Fraction(base) ** exponent)


def _exact(left: Number, right: Number) -> bool:
    return not (isinstance(left, float) or isinstance(right, float))


def _require_divisor(value: Number) -> None:
    if value == 0:
        raise Unfit("division by zero")


def settled(value: Number) -> Number:
    """An exact result in its simplest form; a fraction of too many digits becomes a double."""
    if isinstance(value, Fraction):
        if value.denominator == 1:
            value = value.numerator
        elif max(value.numerator.bit_length(), value.denominator.bit_length()) > EXACT_BITS:
            return _double(value)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Unfit(_TOO_LARGE)
    return value


def _double(value: Number) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Unfit(_TOO_LARGE_DOUBLE) from None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Unfit(_TOO_LARGE_DOUBLE)
    return value


def _computed(function: Callable[..., float], *values: Number, domain: str = "is not defined there") -> float:
    doubles = [_double(value) for value in values]
    try:
        return _finite(function(*doubles))
    except OverflowError:
        raise Unfit(_TOO_LARGE_DOUBLE) from None
    except ValueError:
        raise Unfit(domain) from None


def _log(function: Callable[[float], float], value: Number) -> float:
    if isinstance(value, Fraction):
        near = (
            float(value) if abs(value.numerator.bit_length() - value.denominator.bit_length()) < 1_000 else 0
        )
        return function(near) if near else function(value.numerator) - function(value.denominator)
    return function(value)
