"""Takes down the steps of connecting clients, beside what is answered: nobody waits for it, and it fails nothing.

Each process gathers them in memory, counts what is repeated, and hands them on in one go, off the answers' path.
What comes faster than it may be kept is dropped: a step is a hint, never a record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from typing import Final

from core.clientaddress import address_block
from core.finishing import stop
from core.loop import post
from core.threads import run_sync
from servers.services.live import notify_calls
from tenants.oauth_steps import WINDOW_SECONDS, Step, sealed
from tenants.services.oauth_steps import Noted, keep_steps

SELF_TEST_AGENT: Final = "marina-self-test"
"""What the self-test calls itself. Its own steps are no client's."""

GATHER_SECONDS: Final = 0.2
MAX_WAITING: Final = 1_000
MAX_A_WINDOW: Final = 60
"""Different steps of strangers at one address block at one tenant, in one window."""

MAX_SEEN: Final = 10_000
"""Access tokens whose first call this process remembers to have noted, and places that it counts."""

logger = logging.getLogger(__name__)


class StepNotes:
    """On one event loop, but for ``note_soon``, which is for threads."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int | None, str], Noted] = {}
        self._windows: OrderedDict[tuple[int | None, str, int], int] = OrderedDict()
        self._called: OrderedDict[bytes, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()

    def note(self, tenant_id: int | None, step: Step) -> None:
        """Take a step down. Returns at once."""
        if step.agent.startswith(SELF_TEST_AGENT):
            return
        made = sealed(step)
        place = (tenant_id, made.id)
        held = self._waiting.get(place)
        if held is not None:
            self._waiting[place] = Noted(tenant_id, held.step, held.times + 1)
            return
        if len(self._waiting) >= MAX_WAITING or not (made.known or self._has_room(tenant_id, made)):
            return
        self._waiting[place] = Noted(tenant_id, made)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._hand_on(), name="keep-oauth-steps")

    def is_first_call(self, token_digest: bytes) -> bool:
        """Whether this process has not yet noted a call with this access token; from now on it has."""
        if token_digest in self._called:
            return False
        self._called[token_digest] = None
        while len(self._called) > MAX_SEEN:
            self._called.popitem(last=False)
        return True

    async def flush(self) -> None:
        """Keep now what was gathered."""
        async with self._flushing:
            waiting, self._waiting = list(self._waiting.values()), {}
            if not waiting:
                return
            for tenant_id in await run_sync(keep_steps, waiting):
                # Pages that stand open show it.
                notify_calls(tenant_id)

    async def close(self) -> None:
        """Keep what was gathered, once more."""
        await stop(self._task)
        await self.flush()

    async def _hand_on(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_SECONDS)
            await self.flush()

    def _has_room(self, tenant_id: int | None, step: Step) -> bool:
        place = (tenant_id, address_block(step.address), int(time.time() // WINDOW_SECONDS))
        count = self._windows.get(place, 0) + 1
        if count > MAX_A_WINDOW:
            return False
        self._windows[place] = count
        self._windows.move_to_end(place)
        while len(self._windows) > MAX_SEEN:
            self._windows.popitem(last=False)
        return True


def note_soon(notes: StepNotes, tenant_id: int | None, step: Step) -> None:
    """``note``, from a thread."""
    post(notes.note, tenant_id, step)
