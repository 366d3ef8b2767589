"""URI templates: what was expanded is matched again, nothing escapes its place, and no input takes long."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.uritemplates import MAX_URI, BadTemplate, compile_template

# Characters as people name things, those that mean something in URIs among them.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=30)


def _stays(value: str) -> bool:
    return not set(value) & set("/\\") and ".." not in value and value != "."


plain = _TEXT.filter(_stays)
paths = st.lists(plain, min_size=1, max_size=4).map("/".join)
encode = {"safe": ""}


@given(first=plain, second=plain)
def test_what_was_expanded_into_plain_variables_is_matched_again(first: str, second: str) -> None:
    template = compile_template("shop://orders/{order}/lines/{line}")
    uri = f"shop://orders/{quote(first, **encode)}/lines/{quote(second, **encode)}"
    assert template.match(uri) == {"order": first, "line": second}


@given(path=paths, name=plain)
def test_what_was_expanded_into_a_reserved_variable_is_matched_again(path: str, name: str) -> None:
    template = compile_template("files:///{+folder}/{name}")
    uri = f"files:///{quote(path)}/{quote(name, **encode)}"
    assert template.match(uri) == {"folder": path, "name": name}


@given(values=st.dictionaries(st.sampled_from(["q", "limit", "after"]), _TEXT | st.just("")), name=plain)
def test_query_variables_come_in_any_order_and_may_be_left_out(values: dict[str, str], name: str) -> None:
    template = compile_template("shop://{name}{?q,limit,after}")
    query = "&".join(f"{key}={quote(value, **encode)}" for key, value in values.items())
    uri = f"shop://{quote(name, **encode)}" + (f"?{query}" if query else "")
    assert template.match(uri) == {"name": name, **values}


@given(uri=st.text(max_size=200))
def test_a_match_never_leaves_its_place(uri: str) -> None:
    for text in ("x://{a}", "x://{a}/{b}", "x://{+a}", "x://{+a}/{b}{?c}", "{a}", "{+a}"):
        template = compile_template(text)
        for candidate in (uri, f"x://{uri}", f"x://{uri}/{uri}"):
            for name, value in (template.match(candidate) or {}).items():
                assert "\x00" not in value
                if name == "c":
                    continue
                assert "\\" not in value
                assert not {".", ".."} & set(value.split("/"))
                if f"{{{name}}}" in text:
                    assert "/" not in value


@pytest.mark.parametrize(
    "uri",
    [
        "shop://orders/",
        "shop://orders/a/b",
        "shop://orders/a%2Fb",
        "shop://orders/a%2fb",
        "shop://orders/%5C",
        "shop://orders/\\",
        "shop://orders/..",
        "shop://orders/%2e%2E",
        "shop://orders/.",
        "shop://orders/a%00",
        "shop://orders/a%0",
        "shop://orders/100%",
        "shop://orders/%ff",
        "shop://orders/a b",
        "shop://orders/a\nb",
        "shop://orders/a?b",
        "shop://orders/a#b",
        "shop://orders/\ud800",
        "SHOP://orders/a",
        "shop://orders/a/",
        " shop://orders/a",
        "shop://orders/" + "a" * MAX_URI,
    ],
)
def test_a_plain_variable_refuses(uri: str) -> None:
    assert compile_template("shop://orders/{order}").match(uri) is None


def test_a_value_is_decoded_once() -> None:
    assert compile_template("x://{a}").match("x://%252e%252e%252f") == {"a": "%2e%2e%2f"}


def test_a_reserved_variable_refuses_what_climbs() -> None:
    template = compile_template("files:///{+path}")
    assert template.match("files:///a/b.txt") == {"path": "a/b.txt"}
    assert template.match("files:///a%2Fb") == {"path": "a/b"}
    for uri in ("files:///a/../b", "files:///..", "files:///a/%2e%2e/b", "files:///a%2f..", "files:///./a"):
        assert template.match(uri) is None
    assert template.match("files:///a..b") == {"path": "a..b"}


@pytest.mark.parametrize("query", ["?other=1", "?q=1&q=2", "?q=%00", "?q=1#x", "?q=%zz", "?", "?q=1&"])
def test_a_query_that_the_template_does_not_name_is_not_dropped_without_a_word(query: str) -> None:
    assert compile_template("x://s{?q}").match(f"x://s{query}") is None


@pytest.mark.parametrize(
    "text",
    [
        "x://none",
        "x://{",
        "x://}",
        "x://{}",
        "x://{a}{b}",
        "x://{a}{+b}",
        "x://{a*}",
        "x://{a:3}",
        "x://{/a}",
        "x://{#a}",
        "x://{a,b}",
        "x://{a}/{a}",
        "x://{a}{?a}",
        "x://{?a}/b",
        "x://{?a}{?b}",
        "x://?b=1{?a}",
        "x://{a b}",
        "x:// {a}",
        "x://" + "/".join(f"{{v{number}}}" for number in range(21)),
        "{a}" + "x" * MAX_URI,
    ],
)
def test_a_template_that_cannot_be_matched_is_refused_with_words(text: str) -> None:
    with pytest.raises(BadTemplate, match=r"\.$"):
        compile_template(text)


@pytest.mark.parametrize("text", ["x://a.b+c(d)/{v}", "x://[::1]/{v}", "x://é/{v}", "x://a|b^$/{v}"])
def test_literals_stand_for_themselves(text: str) -> None:
    template = compile_template(text)
    assert template.match(text.replace("{v}", "1")) == {"v": "1"}
    assert template.match(text.replace("{v}", "1").replace("x://", "x://z")) is None


@given(st.text(max_size=60))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = compile_template(text)
    except BadTemplate:
        return
    assert len(template.names) >= 1
    template.match(text)


def test_what_would_backtrack_for_ever_does_not() -> None:
    # Twenty variables with the same separator: a backtracking engine tries their combinations.
    text = "x://" + "-".join(f"{{v{number}}}" for number in range(20)) + "/end"
    assert compile_template(text).match("x://" + "-" * 2_000) is None
