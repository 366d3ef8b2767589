"""Reading what servers say by WWW-Authenticate."""

from __future__ import annotations

import time

import pytest

from servers.execution.authorizing.challenges import Challenge, joined, read_challenge, read_scopes


@pytest.mark.parametrize(
    ("header", "metadata", "scopes"),
    [
        ('Bearer resource_metadata="https://a.example/m"', "https://a.example/m", ()),
        ('bearer scope="a b  a", error=invalid_token', "", ("a", "b")),
        ('Basic realm="x, Bearer y", Bearer scope="a"', "", ("a",)),
        ('Negotiate, Bearer realm="a \\"quoted\\" one", scope="a"', "", ("a",)),
        ('Negotiate YWJj==, Bearer scope="a"', "", ("a",)),
        ("Bearer", "", ()),
    ],
)
def test_the_bearer_challenge_is_found(header: str, metadata: str, scopes: tuple[str, ...]) -> None:
    found = read_challenge(401, header)
    assert (found.bearer, found.metadata, found.scopes) == (True, metadata, scopes)


@pytest.mark.parametrize(
    "header", ["", "Basic realm=x", "=,=,=", 'Bearerscope="a"', "\x00", "Bearer " * 9_000]
)
def test_what_is_none_says_nothing(header: str) -> None:
    assert read_challenge(401, header) == Challenge(401)


def test_more_scope_is_wanted_only_where_that_is_said() -> None:
    header = 'Bearer error="insufficient_scope", scope="a"'
    assert read_challenge(403, header).wants_more
    assert not read_challenge(401, header).wants_more
    assert not read_challenge(403, 'Bearer error="invalid_token"').wants_more


def test_scopes_are_a_union_in_order_and_bounded() -> None:
    assert joined(("a", "b"), ("b", "c")) == ("a", "b", "c")
    assert read_scopes(["a", 1, "b c", 'd"', "é", "e"]) == ("a", "e")
    assert len(read_scopes([f"s{number}" for number in range(5_000)])) == 100


def test_a_header_made_to_take_long_does_not() -> None:
    started = time.thread_time()
    for header in ("a" * 8_000, "a, " * 2_600, 'a="' + "\\" * 8_000, "a=b," * 2_000):
        read_challenge(401, header)
    assert time.thread_time() - started < 2
