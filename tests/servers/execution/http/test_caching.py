"""Answers are kept for as long as they say, in bounds, and never when they say otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from servers.execution.backends.http.caching import MAX_CACHE_BYTES, MAX_ENTRIES, MAX_ENTRY_BYTES, Cache, Key
from tests.farside import Asked, FarSide, Send
from tests.servers.execution.http.conftest import Call, as_json

KEY: Key = ("https://api.example.com/v1/a", ())
DATE = {"date": "Sat, 21 Nov 2026 12:00:00 GMT"}


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"cache-control": "max-age=60"}, 60),
        ({"cache-control": "public, max-age=60"}, 60),
        ({"cache-control": "private, Max-Age=60"}, 60),
        ({"cache-control": 'max-age="60"'}, 60),
        ({"cache-control": "max-age=60, max-age=600"}, 60),
        ({"cache-control": "max-age=60", "age": "20"}, 40),
        ({"cache-control": "max-age=60", "age": "61"}, None),
        ({"cache-control": "max-age=60, s-maxage=5"}, 60),
        ({"cache-control": "max-age=999999999"}, 86_400),
        ({"cache-control": "max-age=0"}, None),
        ({"cache-control": "max-age=-5"}, None),
        ({"cache-control": "max-age=1e9"}, None),
        ({"cache-control": "max-age=٦٠"}, None),
        ({"cache-control": "max-age"}, None),
        ({"cache-control": "no-store, max-age=60"}, None),
        ({"cache-control": "max-age=60, no-store"}, None),
        ({"cache-control": "no-cache, max-age=60"}, None),
        ({"cache-control": 'no-cache="set-cookie", max-age=60'}, None),
        ({"cache-control": 'max-age=60, x="a, no-store'}, None),
        ({"cache-control": "max-age=60 no-store"}, None),
        ({"cache-control": "(((("}, None),
        ({"cache-control": "max-age=60", "vary": "*"}, None),
        ({"cache-control": "max-age=60", "vary": "Accept-Language"}, 60),
        ({"expires": "Sat, 21 Nov 2026 12:01:00 GMT", **DATE}, 60),
        ({"expires": "Sat, 21 Nov 2026 11:01:00 GMT", **DATE}, None),
        ({"expires": "0", **DATE}, None),
        ({"expires": "Sat, 21 Nov 2026 12:01:00 GMT"}, None),
        ({"expires": "Sat, 21 Nov 2026 12:01:00 GMT", "cache-control": "max-age=5", **DATE}, 5),
        ({"pragma": "no-cache"}, None),
        ({"last-modified": "Sat, 21 Nov 2020 12:00:00 GMT"}, None),
        ({}, None),
    ],
)
def test_answer_is_good_for_as_long_as_it_says(headers: dict[str, str], seconds: float | None) -> None:
    clock = Clock()
    cache = Cache(clock=clock)
    cache.store(KEY, 200, headers, b"x")
    kept = cache.find(KEY)
    if seconds is None:
        assert kept is None or not cache.fresh(kept)
        return
    assert kept is not None
    clock.now += seconds - 0.5
    assert cache.fresh(kept)
    clock.now += 1
    assert not cache.fresh(kept)


def test_only_success_is_kept_and_a_later_answer_takes_its_place() -> None:
    cache = Cache()
    good = {"cache-control": "max-age=60"}
    for status in (201, 204, 206, 301, 404, 500):
        cache.store(KEY, status, good, b"x")
        assert cache.find(KEY) is None
    cache.store(KEY, 200, good, b"x")
    cache.store(KEY, 500, good, b"x")
    assert (cache.find(KEY), cache.size) == (None, 0)


def test_cache_is_bounded_and_drops_what_was_not_used_for_longest() -> None:
    cache = Cache()
    good = {"cache-control": "max-age=60"}
    cache.store(KEY, 200, good, b"x" * (MAX_ENTRY_BYTES + 1))
    assert len(cache) == 0
    for number in range(MAX_ENTRIES + 50):
        cache.store((f"https://a/{number}", ()), 200, good, b"x")
        cache.find(("https://a/0", ()))
    assert len(cache) == MAX_ENTRIES
    assert cache.find(("https://a/0", ())) is not None
    assert cache.find(("https://a/1", ())) is None
    for number in range(30):
        cache.store((f"https://b/{number}", ()), 200, good, b"x" * (MAX_ENTRY_BYTES - 1_000))
        assert cache.size <= MAX_CACHE_BYTES
    while len(cache):
        cache._drop(next(iter(cache._kept)))
    assert cache.size == 0


@pytest.mark.anyio
async def test_kept_answer_is_given_without_asking_unless_the_caller_wants_a_new_one(
    api: FarSide, call: Call
) -> None:
    api.serve("/v1/a", as_json("old", headers={"Cache-Control": "max-age=60"}))
    assert not (await call("api_get", endpoint="a")).structured["cached"]
    api.serve("/v1/a", as_json("new", headers={"Cache-Control": "max-age=60"}))
    told = (await call("api_get", endpoint="a")).structured
    assert (told["cached"], told["body"]) == (True, "old")
    assert (await call("api_get", endpoint="a", params={"q": 1})).structured["body"] == "new"
    told = (await call("api_get", endpoint="a", use_cache=False)).structured
    assert (told["cached"], told["body"]) == (False, "new")
    assert (await call("api_get", endpoint="a")).structured["body"] == "new"


@pytest.mark.anyio
async def test_answer_that_is_no_longer_good_is_asked_whether_it_still_holds(
    api: FarSide, call: Call
) -> None:
    def answer(asked: Asked, send: Send) -> None:
        if asked.headers.get("if-none-match") == '"1"':
            send(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n')
        else:
            send(as_json("whole", headers={"Cache-Control": "no-cache", "ETag": '"1"'}))

    api.serve("/v1/a", answer)
    first = (await call("api_get", endpoint="a")).structured
    second = (await call("api_get", endpoint="a")).structured
    assert (first["cached"], first["body"], second["cached"], second["body"]) == (
        False,
        "whole",
        True,
        "whole",
    )
    assert second["status"] == 200
    assert len(api.asked) == 2


@pytest.mark.anyio
async def test_write_forgets_what_was_kept_of_its_address(api: FarSide, call: Call) -> None:
    settings: dict[str, Any] = {"allow_writes": True}
    api.serve("/v1/a", as_json(1, headers={"Cache-Control": "max-age=60"}))
    await call("api_get", settings=settings, endpoint="a", params={"page": 2})
    await call("api_post", settings=settings, endpoint="a", body={})
    assert not (await call("api_get", settings=settings, endpoint="a", params={"page": 2})).structured[
        "cached"
    ]


@pytest.mark.anyio
async def test_two_sources_share_no_kept_answer(api: FarSide, call: Call) -> None:
    api.serve("/v1/a", as_json(1, headers={"Cache-Control": "max-age=60"}))
    for token in ("token-one", "token-two"):
        settings = {"auth": "bearer", "token": token}
        assert not (await call("api_get", settings=settings, endpoint="a")).structured["cached"]
    assert len(api.asked) == 2
