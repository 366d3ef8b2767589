"""Lines are found the same whether a block of them is asked at once, line by line, or in pieces of any length."""

from __future__ import annotations

import random

import pytest
import re2

from servers.execution.backends.files.lines import LineScanner, compile_expression

EXPRESSIONS = [
    *("a", "^a", "a$", "^$", "b+c", "[^q]*z", "a[^q]*z", "x*", "^.*$", r"\bab\b", "(a|b)c$", r"\s", "a.b"),
    *("ab|^c", r"c\b", "[^a]", ".", "(?i)A", r"\Ab", r"b\z", "z$|^z", "(?-m)^a"),
]


def scan(expression: str, pieces: list[bytes]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []

    def matched(number: int, line: bytes, place: int) -> bool:
        found.append((number, line))
        return True

    scanner = LineScanner(compile_expression(expression), matched, lambda: None)
    for piece in pieces:
        assert scanner.take(piece)
    scanner.end()
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_line_that_matches_by_itself_is_found_with_its_number(expression: str) -> None:
    dice = random.Random(expression)
    for _ in range(150):
        body = bytes(dice.choice(b"abcqz x\n\n\r") for _ in range(dice.randint(0, 120)))
        cuts = sorted(dice.randint(0, len(body)) for _ in range(dice.randint(0, 9)))
        pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        lines = body.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n") if body else []
        expected = [(n, line) for n, line in enumerate(lines, 1) if re2.search(expression, line)]
        assert scan(expression, [piece for piece in pieces if piece]) == expected, body


def test_hits_that_are_none_again_and_again_cost_no_search_each() -> None:
    # Each line begins what only the last one ends: a search from every line on would be quadratic.
    body = b"a line that begins it\n" * 200_000 + b"z\n"
    assert scan("a[^q]*z", [body[start : start + 262_144] for start in range(0, len(body), 262_144)]) == []
