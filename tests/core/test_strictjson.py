"""Strict JSON: a text has one meaning for every reader, or none."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest

from core import strictjson
from core.strictjson import BESIDE_BYTES, DENSE, BadJson, read_json, read_json_beside, read_object


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":1,"b":[1.5,"x",null,true]}', {"a": 1, "b": [1.5, "x", None, True]}),
        (b' { "a" : "\\u00e9" } ', {"a": "\u00e9"}),
        (b'{"a":"\\\\u0000"}', {"a": "\\u0000"}),
        (b'{"a":18446744073709551615,"b":-9223372036854775808}', {"a": 2**64 - 1, "b": -(2**63)}),
        (b'[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
    ],
)
def test_json_with_one_meaning_is_read(body: Any, value: Any) -> None:
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'[{"x":{"a":1, "a":2}}]',
        b'{"\\u0061":1,"a":2}',
        b'{"a":"\\u0000"}',
        b'{"a":"\\ud800"}',
        b'{"a":18446744073709551616}',
        b'{"a":1e999}',
        b"[" * 255 + b"]" * 255,
        b"[" * 100_000,
        b'"\xed\xa0\x80"',
        b"",
    ],
)
def test_json_with_two_meanings_is_refused(body: Any) -> None:
    with pytest.raises(BadJson):
        read_json(body)


def test_what_has_to_be_an_object_is_nothing_else() -> None:
    assert read_object(b'{"a":[]}') == {"a": []}
    for body in (b"[]", b"null", b'"a"', b"5", b"{"):
        with pytest.raises(BadJson):
            read_object(body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a":1, "b":2, "a":3}', "the key 'a' stands twice"),
        (b'{"a": NaN}', "NaN is no JSON number (line 1, column 7)"),
        (b"[-Infinity]", "Infinity is no JSON number"),
        (b'{"a":\n }', "(line 2, column 2)"),
    ],
)
def test_what_is_refused_is_named_with_its_place(body: Any, said: str) -> None:
    with pytest.raises(BadJson) as refused:
        read_json(body)
    assert said in str(refused.value)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that read slowly, in their order."""
    found: list[str] = []
    usual = strictjson._read_slowly

    def read(text: bytes) -> Any:
        found.append(threading.current_thread().name)
        return usual(text)

    monkeypatch.setattr(strictjson, "_read_slowly", read)
    return found


def test_a_large_text_is_checked_in_a_thread_and_judged_alike(threads: list[str]) -> None:
    padding = b"x" * BESIDE_BYTES
    assert asyncio.run(read_json_beside(b'{"a":"\\u0041' + padding + b'"}', team=1)) == {
        "a": "A" + padding.decode()
    }
    with pytest.raises(BadJson):
        asyncio.run(read_json_beside(b'{"a":1,"a":"' + padding + b'"}', team=1))
    with pytest.raises(BadJson):
        asyncio.run(read_json_beside(b'{"a":1,"a":2}', team=1))
    assert [name.startswith("marina-json") for name in threads] == [True, True, False]


MANY = b'{"a":1},[],' * DENSE


def test_a_text_of_very_many_objects_is_read_in_a_thread_to_the_same_value(threads: list[str]) -> None:
    more = '{"b":[-1.5e3,18446744073709551615,-9223372036854775808,0.1,null,true,"\\u00e9 é",{}]}'
    text = b"[" + MANY + more.encode() + b"]"
    assert asyncio.run(read_json_beside(text, team=1)) == read_json(text) == orjson.loads(text)
    assert [name.startswith("marina-json") for name in threads] == [True, False]


async def _read_in_turns() -> list[str]:
    ended: list[str] = []

    async def read(name: str, team: int) -> None:
        await read_json_beside(b"[" + b"{}," * DENSE + b"1]", team=team)
        ended.append(name)

    await asyncio.gather(read("1a", 1), read("1b", 1), read("2", 2))
    return ended


def test_the_large_texts_of_a_team_wait_for_each_other_and_not_those_of_others() -> None:
    assert asyncio.run(_read_in_turns()) == ["1a", "2", "1b"]


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (b'{"a":1,"a":2}', "the key 'a' stands twice"),
        (b"18446744073709551616", "beyond 64 bits"),
        (b"1e999", "out of range"),
        (b"NaN", "NaN is no JSON number"),
        (b"-Infinity", "Infinity is no JSON number"),
        (b'"\\u0000"', "NUL"),
        (b'"\\ud800"', "half a character"),
        (b'"\xed\xa0\x80"', "no UTF-8"),
        (b"[" * 255 + b"]" * 255, "254 levels"),
        (b"[" * 100_000, "too deeply"),
        (b'"\n"', "line 1"),
        (b"]", "line 1"),
        (b"01", "line 1"),
    ],
)
def test_what_is_wrong_behind_very_many_objects_is_refused_too(last: bytes, said: str) -> None:
    with pytest.raises(BadJson, match=said):
        read_json(b"[" + MANY + last + b"]")
