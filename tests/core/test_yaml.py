"""YAML is read in one way or not at all, and what is written is read as the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.strictyaml import MAX_DEPTH, BadYaml, read_yaml
from core.yamltext import write_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
LINES = st.lists(
    st.sampled_from(["", " ", "\t", "a: b", "- x", "# no", "é", "  deep", "1", "'", '"']), max_size=5
)
TEXT = st.one_of(TEXTS, LINES.map("\n".join), st.from_regex(r"[-+.0-9eExXo_:~]{1,8}", fullmatch=True))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(JSON)
@example({"no": "yes", "on": "0o14", "at": "2026-01-01", "hex": "0x1f", "x": "1e5", "y": "08", "z": "1_000"})
@example(
    {"a": "line\n", "b": "\nline", "c": "a\n\n", "d": "a\n ", "e": " a\nb", "f": "a\r\nb", "g": "a\x85b\nc"}
)
def test_what_is_written_is_read_as_the_same(value: Any) -> None:
    text = write_yaml(value)
    assert read_yaml(text).value == value
    assert write_yaml(read_yaml(text).value) == text


@given(st.dictionaries(TEXT, TEXT | st.booleans() | st.none(), max_size=4))
@settings(max_examples=200, deadline=None)
def test_texts_are_texts_for_readers_of_yaml_1_1_as_well(value: Any) -> None:
    assert yaml.safe_load(write_yaml(value)) == value


def test_texts_of_several_lines_stand_as_lines() -> None:
    assert write_yaml({"sql": "SELECT 1\nFROM x\n"}) == "sql: |\n  SELECT 1\n  FROM x\n"


def test_scalars_are_those_of_json() -> None:
    text = "{a: no, b: 2026-01-01, c: 0x10, d: ~, e: true, f: 1e3, g: '1', h: 012, 200: x, on: y, j: .nan}"
    assert read_yaml(text).value == {
        "a": "no", "b": "2026-01-01", "c": "0x10", "d": None, "e": True, "f": 1000.0, "g": "1", "h": 12,
        "200": "x", "on": "y", "j": ".nan",
    }  # fmt: skip


def test_the_line_of_a_value_is_known() -> None:
    place = read_yaml("a:\n  b.c:\n  - 1\n  - d: 2\n    e: |\n      x\n").place
    assert place.line_of(("a",)) == 1
    assert place.line_of(("a", "b.c")) == 2
    assert place.line_of(("a", "b.c", 1, "e")) == 5
    assert place.line_of(("a", "b.c", 1, "absent", "more")) == 4


REFUSED = {
    "a: 1\nb: 2\na: 3": ("twice", 3),
    "a: {x: 1, x: 2}": ("twice", 1),
    "a: &x 1\nb: *x": ("anchors", 1),
    "b: *x": ("anchors", 1),
    "a: !!python/object/apply:os.system [ls]": ("tags", 1),
    "\na: !!str 1": ("tags", 2),
    "a: ! 1": ("tags", 1),
    "!!map {a: 1}": ("tags", 1),
    "? [a]\n: 1": ("where a name", 1),
    "? {a: 1}\n: 1": ("where a name", 1),
    "%YAML 1.1\n---\na: 1": ("directive", 1),
    "%TAG ! tag:x,2000:\n---\na: 1": ("directive", 1),
    "a: 1\n---\nb: 2": ("second document", 2),
    "a: 18446744073709551616": ("64 bits", 1),
    "a: 1e999": ("out of range", 1),
    "a: [1, 2": ("", 0),
    "a: b: c": ("", 1),
    "\ta: 1": ("", 1),
    "[" * (MAX_DEPTH + 1): ("nests deeper", 1),
    "[" * 100_000: ("nests deeper", 1),
    "a: \x00": ("", 0),
    'a: "\\ud800"': ("", 1),
    b"a: \xff": ("not UTF-8", 0),
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text)[:40])
def test_what_could_mean_two_things_is_refused_with_its_line(text: str | bytes) -> None:
    words, line = REFUSED[text]
    with pytest.raises(BadYaml) as caught:
        read_yaml(text)
    assert words in str(caught.value)
    if line:
        assert caught.value.line == line


def test_more_values_than_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.strictyaml.MAX_VALUES", 100)
    assert len(read_yaml("[" + "1," * 99 + "]").value) == 99
    with pytest.raises(BadYaml, match="more than 100 values"):
        read_yaml("[" + "1," * 100 + "]")
