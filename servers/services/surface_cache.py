"""The snapshots of servers that a process holds. Makes none and runs no tool.

A snapshot is replaced whole, never changed. It is dropped when its tenant announces a change, and at most
``RECHECK_SECONDS`` old before its version is compared with the database's: that bounds how long a replica
that hears no announcement (Redis is down) offers what is no longer there.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from time import monotonic
from typing import Final

from core.crypto import Sealer
from core.finishing import heed
from servers.services.reading import look_up
from servers.services.results.plans import FindBackend, no_backend
from servers.services.surfaces import (
    Surface,
    SurfaceTool,
    load_surface,
    load_version,
    read_public,
    read_version,
)

RECHECK_SECONDS: Final = 5.0
"""A snapshot older than this is compared with the database before it is used."""

MAX_SURFACES: Final = 2_000
"""Snapshots held; the one used longest ago makes room."""

MAX_BYTES: Final = 64 * 1024 * 1024
"""Memory that all snapshots held may take together, roughly; the one used longest ago makes room."""

MAX_ACCESS: Final = 10_000
"""Servers, and names that no server has, of which it is held whether anyone may use them."""

TOUCH_SECONDS: Final = 1.0
"""How stale the order of use may be: a snapshot in use is moved to its end this often, not with each call."""


class _Held:
    """A cached snapshot, the version it is of, and when it was checked."""

    __slots__ = ("checked", "surface", "used", "version")

    def __init__(self, surface: Surface, version: int, checked: float) -> None:
        self.surface = surface
        self.version = version
        self.checked = checked
        self.used = checked


class SurfaceCache:
    """Snapshots by (tenant, server), on one event loop. A miss is loaded once, however many wait for it."""

    def __init__(self, sealer: Sealer, find_backend: FindBackend = no_backend) -> None:
        self._sealer = sealer
        self._find_backend = find_backend
        self._held: OrderedDict[tuple[int, str], _Held] = OrderedDict()
        self._bytes = 0
        self._loading: dict[tuple[int, str], asyncio.Task[Surface | None]] = {}
        self._public: dict[tuple[int, str], tuple[float, bool]] = {}
        """Until when it is believed, and whether the server is public."""
        self._changes = 0

    def peek(self, tenant_id: int, slug: str) -> Surface | None:
        """The snapshot, when it is held and fresh. The hot path: it touches neither database nor loop."""
        held = self._held.get((tenant_id, slug))
        if held is None:
            return None
        now = monotonic()
        if now - held.checked > RECHECK_SECONDS:
            return None
        if now - held.used > TOUCH_SECONDS:
            held.used = now
            self._held.move_to_end((tenant_id, slug))
        return held.surface

    async def get(self, tenant_id: int, slug: str) -> Surface | None:
        """The snapshot, loaded or compared with the database where needed; ``None``: no such server."""
        place = (tenant_id, slug)
        held = self._held.get(place)
        if held is not None and monotonic() - held.checked <= RECHECK_SECONDS:
            self._held.move_to_end(place)
            return held.surface
        task = self._loading.get(place)
        if task is None:
            task = asyncio.create_task(self._refresh(place, held))
            self._loading[place] = task
            task.add_done_callback(lambda done: self._forget_task(place, done))
        # One caller who gives up must not take the load away from the others.
        return await asyncio.shield(task)

    async def as_begun(self, surface: Surface, tool_name: str, number: int) -> Surface:
        """The snapshot with the version of a tool that a call began with, for one that goes on in another request.

        Where the tool is offered no more, or that version is gone, it stays as it is.
        """
        tool = surface.by_name.get(tool_name)
        if tool is None or tool.version == number:
            return surface
        begun = await self.find_version(surface, tool_name, number)
        return surface if begun is None else surface.with_tools(begun)

    async def find_version(self, surface: Surface, tool_name: str, number: int) -> SurfaceTool | None:
        """See ``load_version``."""
        return await look_up(load_version, surface.tenant_id, surface.slug, tool_name, number, self._sealer)

    async def is_public(self, tenant_id: int, slug: str) -> bool:
        """Whether anyone may use this server; ``False``, too, where there is none.

        It builds no snapshot: those who have no key must not make us build one of a server that is not theirs.
        """
        place = (tenant_id, slug)
        known = self._public.get(place)
        now = monotonic()
        if known is not None and now < known[0]:
            return known[1]
        changes = self._changes
        public = await look_up(read_public, tenant_id, slug)
        # What was read may be older than a change that was heard meanwhile: then it serves this request alone.
        if changes == self._changes:
            if len(self._public) >= MAX_ACCESS:
                self._public.clear()
            self._public[place] = (now + RECHECK_SECONDS, public)
        return public

    def drop_tenant(self, tenant_id: int) -> None:
        """The tenant changed: what is held of it, or being loaded now, is not to be used any more."""
        self._changes += 1
        for place in [place for place in self._public if place[0] == tenant_id]:
            del self._public[place]
        for place in [place for place in self._held if place[0] == tenant_id]:
            self._drop(place)
        for place in [place for place in self._loading if place[0] == tenant_id]:
            del self._loading[place]

    def drop_all(self) -> None:
        """Changes may have been missed: everything is to be read again."""
        self._changes += 1
        self._public.clear()
        self._held.clear()
        self._bytes = 0
        self._loading.clear()

    async def _refresh(self, place: tuple[int, str], held: _Held | None) -> Surface | None:
        tenant_id, slug = place
        me = asyncio.current_task()
        started = monotonic()
        if held is not None and await look_up(read_version, tenant_id) == held.version:
            held.checked = started
            if place in self._held:
                self._held.move_to_end(place)
            return held.surface
        surface = await look_up(load_surface, tenant_id, slug, self._sealer, self._find_backend)
        # A miss is not kept: anybody may ask for servers that are not there, and would push out those that are.
        if surface is None:
            self._drop(place)
        elif self._loading.get(place) is me:
            self._keep(place, _Held(surface, surface.version, started))
        return surface

    def _keep(self, place: tuple[int, str], held: _Held) -> None:
        self._drop(place)
        self._held[place] = held
        self._bytes += held.surface.size
        while len(self._held) > 1 and (len(self._held) > MAX_SURFACES or self._bytes > MAX_BYTES):
            self._drop(next(iter(self._held)))

    def _drop(self, place: tuple[int, str]) -> None:
        held = self._held.pop(place, None)
        if held is not None:
            self._bytes -= held.surface.size

    def _forget_task(self, place: tuple[int, str], task: asyncio.Task[Surface | None]) -> None:
        if self._loading.get(place) is task:
            del self._loading[place]
        heed(task)
