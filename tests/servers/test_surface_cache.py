"""The cache of surfaces: bounded over many tenants, by number and by memory, and what is in use stays."""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import Any

import pytest
from django.db import connections

from core.sealing import sealer
from core.threads import run_sync
from servers.execution.contract import Operation
from servers.models import Resource, Server
from servers.services import surface_cache, surfaces
from servers.services.reach import offered_by
from servers.services.sources import create_source
from servers.services.surface_cache import SurfaceCache
from servers.services.surfaces import Surface, SurfaceResource, load_surface
from tests.factories import make_team
from tests.shelf import add_shelf_kind, fill_shelf

pytestmark = pytest.mark.anyio


def surface_of(tenant_id: int, slug: str, size: int = 1_000, **offered: Any) -> Surface:
    return Surface(
        tenant_id=tenant_id,
        tenant_slug=f"t{tenant_id}",
        slug=slug,
        title="",
        instructions="",
        public=False,
        version=1,
        tools=(),
        by_name={},
        size=size,
        **offered,
    )


class Clock:
    """Stands in for the monotonic clock, so that no test waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(surface_cache, "monotonic", clock)
    return clock


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """A loader that makes a surface for any tenant, of the size given here, and asks no database."""
    sizes: dict[int, int] = {}

    async def look_up(function: object, tenant_id: int, *args: object) -> object:
        await asyncio.sleep(0)
        if function is surfaces.read_version:
            return 1
        return surface_of(tenant_id, str(args[0]), sizes.get(tenant_id, 1_000))

    monkeypatch.setattr(surface_cache, "look_up", look_up)
    return sizes


def held(cache: SurfaceCache, tenants: range) -> list[int]:
    return [tenant for tenant in tenants if cache.peek(tenant, "default") is not None]


async def test_ten_thousand_tenants_leave_the_bounded_number_used_last(
    clock: Clock, sizes: dict[int, int]
) -> None:
    cache = SurfaceCache(sealer())
    for tenant in range(10_000):
        assert await cache.get(tenant, "default") is not None
    assert held(cache, range(10_000)) == list(range(10_000 - surface_cache.MAX_SURFACES, 10_000))


async def test_a_tenant_whose_calls_find_its_surface_held_is_not_pushed_out(
    clock: Clock, sizes: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surface_cache, "MAX_SURFACES", 10)
    cache = SurfaceCache(sealer())
    await cache.get(0, "default")
    for tenant in range(1, 100):
        clock.now += 0.3
        if cache.peek(0, "default") is None:
            # Once in five seconds its version is compared.
            assert await cache.get(0, "default") is not None
        await cache.get(tenant, "default")
    assert held(cache, range(100)) == [0, *range(91, 100)]


async def test_large_surfaces_make_room_for_each_other_by_their_memory(
    clock: Clock, sizes: dict[int, int]
) -> None:
    cache = SurfaceCache(sealer())
    for tenant in range(20):
        sizes[tenant] = surface_cache.MAX_BYTES // 4
        await cache.get(tenant, "default")
    assert held(cache, range(20)) == [16, 17, 18, 19]
    sizes[20] = surface_cache.MAX_BYTES * 2
    await cache.get(20, "default")
    # One that is too large for all of it is served all the same.
    assert held(cache, range(21)) == [20]


async def test_memory_is_given_back_by_what_is_dropped(clock: Clock, sizes: dict[int, int]) -> None:
    cache = SurfaceCache(sealer())
    for _ in range(10):
        for tenant in range(4):
            sizes[tenant] = surface_cache.MAX_BYTES // 4
            await cache.get(tenant, "default")
        cache.drop_tenant(0)
    cache.drop_tenant(0)
    await cache.get(0, "default")
    assert held(cache, range(4)) == [0, 1, 2, 3]
    cache.drop_all()
    for tenant in range(4):
        await cache.get(tenant, "default")
    assert held(cache, range(4)) == [0, 1, 2, 3]


async def test_a_surface_is_weighed_by_what_it_holds() -> None:
    add_shelf_kind()

    def load(count: int) -> int:
        team = make_team()
        fill_shelf(f"weigh-{count}", resources=[f"shelf://{number}" for number in range(count)])
        create_source("books", "shelf", {"shelf": f"weigh-{count}"}, caller=team.owner)
        surface = load_surface(team.tenant_id, "default", sealer())
        assert surface is not None
        return surface.size

    few, many = await asyncio.gather(run_sync(load, 1), run_sync(load, 100))
    assert many > 20 * few > 0


async def test_a_source_that_is_added_while_a_server_is_read_is_in_the_next_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load() -> tuple[set[str], set[str]]:
        add_shelf_kind()
        team = make_team()
        for name in ("before", "meanwhile"):
            fill_shelf(f"{team.slug}-{name}", resources=[f"shelf://{name}"])

        def add(name: str) -> None:
            try:
                create_source(name, "shelf", {"shelf": f"{team.slug}-{name}"}, caller=team.owner)
            finally:
                connections.close_all()

        def offered(server: Server, rows: Any) -> Any:
            if rows.model is Resource:
                # By somebody else.
                thread = Thread(target=add, args=("meanwhile",))
                thread.start()
                thread.join()
            return offered_by(server, rows)

        create_source("before", "shelf", {"shelf": f"{team.slug}-before"}, caller=team.owner)
        with monkeypatch.context() as patched:
            patched.setattr(surfaces, "offered_by", offered)
            first = load_surface(team.tenant_id, "default", sealer())
        second = load_surface(team.tenant_id, "default", sealer())
        assert first is not None
        assert second is not None
        return {each.uri for each in first.resources}, {each.uri for each in second.resources}

    first, second = await run_sync(load)
    assert first == {"shelf://before"}
    assert second == {"shelf://before", "shelf://meanwhile"}


async def test_a_surface_asks_for_the_kinds_of_all_it_offers_so_that_no_call_has_to() -> None:
    def store() -> list[str]:
        add_shelf_kind()
        team = make_team()
        fill_shelf(team.slug, resources=["shelf://readme"])
        create_source("books", "shelf", {"shelf": team.slug, "token": "t0psecret"}, caller=team.owner)
        asked: list[str] = []
        assert load_surface(team.tenant_id, "default", sealer(), asked.append) is not None
        return asked

    assert await run_sync(store) == ["shelf"]


async def test_resources_are_found_by_uri_first_and_then_by_the_first_template_that_fits() -> None:
    def resource(uri: str) -> SurfaceResource:
        return SurfaceResource(
            uri=uri,
            name=uri,
            title="",
            description="",
            mime_type="",
            annotations={},
            icons=(),
            size=None,
            template="{" in uri,
            operation=Operation("read", {}),
            source=None,
        )

    surface = surface_of(
        1,
        "default",
        resources=(resource("x://a"),),
        # The second does not compile, as what an earlier release let pass might not: it is never matched.
        templates=(resource("x://{name}"), resource("x://{a}{b}"), resource("x://{+path}")),
    )

    def found(uri: str) -> tuple[str, dict[str, str]] | None:
        match = surface.find_resource(uri)
        return None if match is None else (match[0].uri, dict(match[1]))

    assert found("x://a") == ("x://a", {})
    assert found("x://b") == ("x://{name}", {"name": "b"})
    assert found("x://b/c") == ("x://{+path}", {"path": "b/c"})
    assert found("y://b") is None


async def test_whether_a_server_is_public_is_held_for_both_answers_and_dropped_with_a_change(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    public = {"open": True}

    async def look_up(function: object, tenant_id: int, slug: str) -> bool:
        assert function is surfaces.read_public
        asked.append(slug)
        return public.get(slug, False)

    monkeypatch.setattr(surface_cache, "look_up", look_up)
    monkeypatch.setattr(surface_cache, "MAX_ACCESS", 3)
    cache = SurfaceCache(sealer())
    for _ in range(3):
        assert await cache.is_public(1, "open")
        assert not await cache.is_public(1, "private")
    assert asked == ["open", "private"]
    clock.now += surface_cache.RECHECK_SECONDS
    assert not await cache.is_public(1, "private")
    assert asked == ["open", "private", "private"]
    public["private"] = True
    cache.drop_tenant(2)
    assert not await cache.is_public(1, "private")
    cache.drop_tenant(1)
    assert await cache.is_public(1, "private")
    for number in range(10):
        await cache.is_public(1, f"none-{number}")
        assert len(cache._public) <= 3
