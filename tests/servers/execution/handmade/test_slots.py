"""Slots: values stay values, encoded for their place, whatever they hold."""

from __future__ import annotations

import html
import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.execution.backends.handmade.slots import (
    BadSlot,
    as_it_is,
    check_slots,
    encoding_for,
    fill,
    in_json,
    in_markup,
    in_uri,
    slots_of,
)

HOSTILE = [
    "${topic}",
    "$${topic}",
    "${secret}",
    "{0.__class__}",
    "{{ 7 * 7 }}",
    "{% debug %}",
    "#{7*7}",
    "%(topic)s",
    "%s%s%n",
    "$topic",
    "`id`",
    "$(id)",
    "<%= 7 * 7 %>",
    "__import__('os')",
    "\\${topic}",
    "\\",
    "\\g<0>",
    "\\1",
    '", "admin": true, "x": "',
    "</p><script>alert(1)</script>",
    "&lt;",
    "../../etc/passwd",
    "..%2f..%2fetc",
    "?a=1&b=2#c",
    "http://169.254.169.254/",
    "\r\nX-Header: 1",
    "\x00",
    "\u202e",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "a" * 100_000,
    "${" * 10_000,
    "",
    " ",
    "'",
    '"',
    "\u2028",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_is_put_in_once_and_never_read(value: str) -> None:
    values = {"topic": value, "secret": "s3cret"}
    assert fill("<${topic}>", values, as_it_is) == f"<{value}>"
    assert json.loads(fill('{"a": "${topic}"}', values, in_json)) == {"a": value}
    assert html.unescape(fill("<p>${topic}</p>", values, in_markup)) == f"<p>{value}</p>"
    assert "<script" not in fill("${topic}", values, in_markup)
    uri = fill("notes://${topic}/x", values, in_uri)
    assert uri.count("/") == 3
    assert unquote(uri.removeprefix("notes://").removesuffix("/x")) == value
    assert not set(uri) & set(' ?#&%"<>\\^`{|}\r\n') - {"%"}


@given(st.text(max_size=60).filter(lambda text: "${" not in text), st.text(max_size=60))
def test_what_is_around_a_slot_stays(before: str, value: str) -> None:
    # A dollar sign before a slot is its escape.
    before = before.rstrip("$")
    assert fill(before + "${a}", {"a": value}, as_it_is) == before + value


@given(st.text())
def test_any_text_has_slots_or_a_place_where_it_is_wrong(text: str) -> None:
    try:
        names = slots_of(text)
    except BadSlot as fault:
        words = str(fault)
    else:
        words = "character"
        assert all(0 < column <= len(text) for _, column in names)
    assert "character" in words


def test_the_sign_itself_is_written_with_two() -> None:
    assert slots_of("$${a} costs $5") == []
    assert fill("$${a} costs $5 ${a}", {"a": "x"}, as_it_is) == "${a} costs $5 x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello ${", "character 7"),
        ("${}", "character 1"),
        ("${a b}", "character 1"),
        ("${a.__class__()}", "character 1"),
        ("${1}", "character 1"),
        ("${a", "character 1"),
        ("${a${b}}", "character 1"),
        ("${" + "a" * 65 + "}", "character 1"),
        ("${b}", "${b} at character 1 is not known. There are: a"),
        ("x ${A}", "${A} at character 3 is not known"),
    ],
)
def test_a_slot_that_cannot_be_filled_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(BadSlot) as caught:
        check_slots(text, ["a"])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("mime_type", "encoded"),
    [
        ("text/plain", '<"'),
        ("text/markdown", '<"'),
        ("application/json", '<\\"'),
        ("application/ld+json; charset=utf-8", '<\\"'),
        ("text/html", "&lt;&quot;"),
        ("image/svg+xml", "&lt;&quot;"),
    ],
)
def test_the_type_says_how_values_are_encoded(mime_type: str, encoded: str) -> None:
    assert encoding_for(mime_type)('<"') == encoded
