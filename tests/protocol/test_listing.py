"""The list: pages, cursors, and that a change of the tools is seen."""

from __future__ import annotations

import base64
import dataclasses
import gc
import tracemalloc
import weakref
from typing import Any

import orjson
import pytest

from servers.endpoint.lists import Listing
from servers.endpoint.view import View, Views
from servers.endpoint.wire import RpcError
from servers.models import DataSource, Tool
from servers.services.runtime import Runtime
from servers.services.sources import create_source
from servers.services.surfaces import Surface
from servers.services.tools import set_tool_enabled
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.protocol.conftest import HearAll, OnLoop
from tests.protocol.probe import KIND
from tests.protocol.requirements import requirement
from tests.protocol.wireclient import Endpoint


@pytest.fixture
def surface(team: Team, runtime: Runtime, on_loop: OnLoop) -> Any:
    return on_loop(runtime.surfaces.get(team.tenant_id, "default"))


def names_by_page(view: Any, only: Any = None) -> Any:
    import json

    pages, cursor = [], None
    while True:
        page = json.loads(view.tools.page("structured", cursor, only))
        pages.append([tool["name"] for tool in page["tools"]])
        cursor = page.get("nextCursor")
        if cursor is None:
            return pages


@requirement("lists:cursor")
def test_pages_follow_one_another(surface: Surface) -> None:
    assert names_by_page(View(surface, 2)) == [["crash", "echo"], ["fail", "routed"], ["wait"]]
    assert names_by_page(View(surface, 5)) == [["crash", "echo", "fail", "routed", "wait"]]


def test_a_list_takes_little_more_memory_than_its_text() -> None:
    items = [
        (f"tool_{n:04}", {"description": f"{n:0300}"}, {"description": f"{n:0300}"}) for n in range(1_000)
    ]
    tracemalloc.start()
    try:
        listing = Listing("tools", items, page_size=500, identity=b"{}")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    text = sum(len(orjson.dumps(shown)) + len(orjson.dumps(plain)) for _, shown, plain in items)
    assert listing.page("modern", None, None)
    assert taken < 1.5 * text


def test_narrowed_pages_follow_one_another(surface: Surface) -> None:
    assert names_by_page(View(surface, 2), frozenset({"wait", "crash", "fail"})) == [
        ["crash", "fail"],
        ["wait"],
    ]
    assert names_by_page(View(surface, 2), frozenset({"gone"})) == [[]]


def test_cursor_outlives_the_tool_that_it_names(surface: Surface) -> None:
    view = View(surface, 2)
    cursor = base64.urlsafe_b64encode(b"t1:deleted").decode().rstrip("=")
    assert b'"name":"echo"' in view.tools.page("structured", cursor, None)


def test_made_up_cursors_are_not_kept(surface: Surface) -> None:
    view = View(surface, 2)
    for number in range(100):
        view.tools.page(
            "structured", base64.urlsafe_b64encode(f"t1:x{number}".encode()).decode().rstrip("="), None
        )
    assert len(view.tools._pages) <= 3


@requirement("lists:cursor")
@pytest.mark.parametrize("cursor", ["", "nonsense", "dDE6", "!!", "AAAA", "dDE6ZWNobw=="])
def test_cursor_of_elsewhere_is_invalid_params(endpoint: Endpoint, surface: Surface, cursor: str) -> None:
    with pytest.raises(RpcError):
        View(surface, 2).tools.page("structured", cursor, None)
    answer = endpoint.modern("tools/list", {"cursor": cursor})
    assert (answer.status, answer.error["code"]) == (400, -32602)
    assert "without a cursor" in answer.error["message"]


def test_cursor_that_is_no_string_is_invalid_params(endpoint: Endpoint) -> None:
    assert endpoint.modern("tools/list", {"cursor": 5}).error["code"] == -32602


def test_change_is_seen_when_it_is_heard(
    team: Team, endpoint: Endpoint, runtime: Runtime, hear_all: HearAll
) -> None:
    assert len(endpoint.modern("tools/list").result["tools"]) == 5
    with tenant_scope(team.tenant_id):
        tool_id = Tool.objects.get(name="wait").pk
    assert runtime.surfaces.peek(team.tenant_id, "default") is not None
    set_tool_enabled(tool_id, False, caller=team.owner)
    hear_all()
    assert len(endpoint.modern("tools/list").result["tools"]) == 4
    assert endpoint.call("wait").error["code"] == -32602


def test_unheard_change_is_seen_once_the_snapshot_is_old(
    team: Team, endpoint: Endpoint, runtime: Runtime
) -> None:
    assert len(endpoint.modern("tools/list").result["tools"]) == 5
    from tenants.models import Tenant

    with tenant_scope(team.tenant_id):
        Tool.objects.filter(name="wait").update(enabled=False)
    Tenant.objects.filter(pk=team.tenant_id).update(surface_version=99)
    assert len(endpoint.modern("tools/list").result["tools"]) == 5
    runtime.surfaces._held[team.tenant_id, "default"].checked -= 6
    assert len(endpoint.modern("tools/list").result["tools"]) == 4


def test_source_that_cannot_be_opened_gives_its_reason_to_the_call(team: Team, endpoint: Endpoint) -> None:
    create_source("second", KIND, {}, caller=team.owner)
    with tenant_scope(team.tenant_id):
        DataSource.objects.filter(name="second").update(sealed=b"damaged")
    answer = endpoint.call("second_echo", {"text": "x"})
    while "error" in answer.json:
        answer = endpoint.call("second_echo", {"text": "x"})
    assert answer.result["isError"] is True
    assert "data source second cannot be opened" in answer.result["content"][0]["text"]


def test_view_goes_with_its_snapshot(surface: Surface) -> None:
    views = Views()
    snapshots = [dataclasses.replace(surface) for _ in range(3)]
    assert len({id(views.of(each)) for each in snapshots}) == 3
    assert views.of(snapshots[0]) is views.of(snapshots[0])
    gone = weakref.ref(snapshots.pop())
    gc.collect()
    assert gone() is None
    assert len(views._views) == 2
