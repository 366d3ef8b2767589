"""Whatever a caller gives as path or value, the request goes below the base address, or nowhere."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
import pytest

from core.errors import InvalidInput
from servers.execution.backends.http.operations import prepare
from servers.execution.backends.http.settings import HttpSettings, read_settings
from tests.farside import FarSide
from tests.servers.execution.http.conftest import Call, Refused, give_back

BASE = "https://api.example.com/v1"
FREE = read_settings({"base_url": BASE})
NAMED = read_settings({"base_url": BASE, "endpoints": [{"name": "item", "path": "/items/{id}/parts"}]})

REFUSED_PATHS = [
    ".", "..", "../", "../admin", "/..", "/../v2", "a/..", "a/../b", "a/../../v2/x", "a/./b", "./a",
    "%2e", "%2e%2e", "%2E%2e/", "%2e%2e%2f", "%2e%2e%2fadmin", "..%2f", "..%2Fadmin", ".%2e/x", "%252e%252e%252f",
    "%25252e%25252e/", "..;", "..;/admin", "..;x=1", "a/..;/b", " ..", ".. ", "..\\", "..\\admin", "a\\b",
    "\\\\evil.example",    "%5c..%5c", "..%5c", "//", "//evil.example", "//evil.example/x", "a//b", "///x", "https://evil.example/",
    "http://127.0.0.1:9/", "ftp://x", "a?b=c", "?admin=1", "?", "a#b", "#", "a\r\nX-Evil: 1", "a\nb", "\r", "a\x00b",
    "\x00", "a\tb", "\x7f", "\x85", "%0d%0aX-Evil:1", "%0a", "%00", "%250d%250a", "a%20b", "%2f", "%2Fetc%2Fpasswd",
    "%3fx", "%23x", "%40evil.example", "x/%2e%2e/%2e%2e/y", "\ud800", "a" * 3_000,
]  # fmt: skip

REFUSED_VALUES = [
    "", ".", "..", "../", "../../admin", "/..", "a/../b", "%2e%2e", "%2e%2e%2f", "..%2f", "%252e%252e", "..;", "..;a=b",
    "..\\", "\\..", "a\\..\\b", "..%5c", "\r\nX-Evil: 1", "a\nb", "\x00", "%00", "%0d%0a", "\x1b", "\x85",
    " ..", "\ud800", None, [], ["a"], {}, {"a": "b"},
]  # fmt: skip

STAYING_VALUES = [
    "//evil.example", "https://evil.example/", "@evil.example", "user:pw@evil.example", "?a=b", "#x", "a?b#c", "a&b=c",
    ":8080", "a b", "%", "%zz", "100%", "%2f", "...", "..a", "a..b", "\uff0e\uff0e", "é", "{id}", "${x}", "'", '"', "<",
    5, 1.5, True,
]  # fmt: skip


@pytest.mark.parametrize("settings", [FREE, NAMED], ids=["free", "named"])
@pytest.mark.parametrize("path", REFUSED_PATHS)
def test_path_that_some_reader_could_take_for_a_way_out_is_refused(settings: HttpSettings, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        prepare(
            settings, {"endpoint": "item" if settings is NAMED else "", "path": path, "params": {"id": 1}}
        )
    assert caught.value.errors[0]["path"] == "path"


@pytest.mark.parametrize("path", REFUSED_PATHS)
def test_endpoint_given_as_a_path_is_judged_as_one(path: str) -> None:
    with pytest.raises(InvalidInput):
        prepare(FREE, {"endpoint": path})
    with pytest.raises(InvalidInput):
        prepare(NAMED, {"endpoint": path, "params": {"id": 1}})


@pytest.mark.parametrize("value", REFUSED_VALUES)
def test_value_that_would_leave_its_segment_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        prepare(NAMED, {"endpoint": "item", "params": {"id": value}})
    assert caught.value.errors[0]["path"] == "params.id"


@pytest.mark.parametrize("value", STAYING_VALUES)
def test_other_values_stay_one_segment_below_the_base(value: Any) -> None:
    url = prepare(NAMED, {"endpoint": "item", "params": {"id": value, "q": value}}).url
    read, sent = urlsplit(url), httpx2.URL(url)
    assert (read.scheme, read.netloc, read.fragment) == ("https", "api.example.com", "")
    assert sent.raw_path.decode() == f"{read.path}?{read.query}"
    assert read.path.endswith("/parts")
    assert read.path.count("/") == 4
    text = str(value).lower() if isinstance(value, bool) else str(value)
    assert unquote(read.path.split("/")[3]) == text
    assert unquote(read.query.removeprefix("q=")) == text


@pytest.mark.parametrize(
    ("request_", "url"),
    [
        ({}, BASE),
        ({"endpoint": "users"}, f"{BASE}/users"),
        ({"endpoint": "/users/"}, f"{BASE}/users/"),
        ({"path": "users/@me"}, f"{BASE}/users/%40me"),
        ({"endpoint": "users", "path": "5/orders"}, f"{BASE}/users/5/orders"),
        ({"endpoint": "users/", "path": "/5"}, f"{BASE}/users/5"),
        ({"path": "a b/ü"}, f"{BASE}/a%20b/%C3%BC"),
        ({"params": {"a": [1, "x y"], "b": None, "c": True}}, f"{BASE}?a=1&a=x%20y&c=true"),
    ],
)
def test_paths_and_values_become_the_address_that_they_say(request_: dict[str, Any], url: str) -> None:
    assert prepare(FREE, request_).url == url


@pytest.mark.anyio
async def test_address_arrives_as_it_was_put_together(api: FarSide, call: Call, refused: Refused) -> None:
    api.serve("/v1/items/a%2Fb/parts/x", give_back)
    settings = {"endpoints": [{"name": "item", "path": "/items/{id}/parts"}]}
    got = await call(
        "api_get", settings=settings, endpoint="item", path="x", params={"id": "a/b", "q": "?&#"}
    )
    assert got.structured["body"]["target"] == "/v1/items/a%2Fb/parts/x?q=%3F%26%23"
    for path in ("../x", "//127.0.0.1:1/"):
        await refused("api_get", settings=settings, endpoint="item", path=path, params={"id": "1"})
    await refused("api_get", settings=settings, endpoint="nonsense")
    assert len(api.asked) == 1
