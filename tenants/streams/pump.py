"""Hands the records of all teams' streams over: many side by side, each in order, none waiting for another's receiver.

One pump at a time does the work of an installation: a seat in Redis says so, and where Redis forgets, the leases of
the streams still keep two from handing over the same. Each stream is a task of the event loop, so a receiver that
hangs costs a task and no worker. A run ends when nothing is left to do or its time is over; the next begins within a
second. Knows no Celery.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Final
from uuid import UUID

from redis import RedisError

from core.threads import run_sync
from tenants.changes import redis_client
from tenants.streams.claims import (
    Claim,
    LeaseLost,
    claim_stream,
    find_due,
    next_batch,
    release,
    settle,
)
from tenants.streams.lines import Batch
from tenants.streams.sending import SEND_SECONDS, timed

RUN_SECONDS: Final = 20.0
"""After that a run begins nothing more, and makes room for the next."""

LOOK_SECONDS: Final = 0.5
"""After that a run looks again for streams that became due, though nothing ended meanwhile."""

LEAST_SECONDS: Final = 0.1
"""Between two looks, however many turns end."""

MAX_ACTIVE: Final = 100
"""Streams side by side."""

LONGEST: Final = RUN_SECONDS + SEND_SECONDS + 10.0
"""Seconds that a run may take, with the attempts that were under way when its time was over."""

_SEAT: Final = "marina:streams:pump"
_SEAT_SECONDS: Final = 10
_KEEP: Final = (
    "local held = redis.call('get', KEYS[1]) "
    "if held and held ~= ARGV[1] then return 0 end "
    "redis.call('set', KEYS[1], ARGV[1], 'EX', ARGV[2]) return 1"
)
_LET_GO: Final = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
)

_log = logging.getLogger(__name__)


class Seat:
    """That this is the only pump, as far as Redis knows. It is lost a few seconds after its holder."""

    def __init__(self) -> None:
        self._name = secrets.token_hex(8)

    def take(self) -> bool:
        """Whether nobody else has it. Where Redis does not say, the leases have to do."""
        try:
            return bool(redis_client().set(_SEAT, self._name, nx=True, ex=_SEAT_SECONDS))
        except RedisError:
            return True

    def keep(self) -> bool:
        """Have it for some seconds more. Not where another took it meanwhile, because this one stalled."""
        try:
            return bool(redis_client().eval(_KEEP, 1, _SEAT, self._name, _SEAT_SECONDS))
        except RedisError:
            _log.info("the pump's seat was not kept: Redis did not take it")
            return True

    def leave(self) -> None:
        """Let the next one have it."""
        try:
            redis_client().eval(_LET_GO, 1, _SEAT, self._name)
        except RedisError:
            _log.info("the pump's seat was not left: Redis did not take it")


async def pump(seat: Seat, *, seconds: float = RUN_SECONDS) -> int:
    """Hand over what is due, and what becomes due meanwhile, until a look finds nothing and nothing is under way. How
    many turns there were. A stream whose turn ended by a fault has no other in this run.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    working: dict[asyncio.Task[None], tuple[int, UUID]] = {}
    faulty: set[UUID] = set()
    turns = 0
    try:
        while True:
            looked = loop.time()
            ours, room = await run_sync(seat.keep), MAX_ACTIVE - len(working)
            if ours and room and looked < ends:
                # One whose turn has only just begun may be found once more: its claim is not stored yet.
                under_way = {stream_id for _, stream_id in working.values()}
                for tenant_id, stream_id in await run_sync(find_due, room):
                    if stream_id not in under_way | faulty:
                        task = asyncio.create_task(take_turn(tenant_id, stream_id, ends))
                        working[task] = (tenant_id, stream_id)
                        turns += 1
            if not working:
                return turns
            await asyncio.wait(working, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(looked + LEAST_SECONDS - loop.time())
            for task in [task for task in working if task.done()]:
                tenant_id, stream_id = working.pop(task)
                if error := task.exception():
                    # Its lease runs out by itself, and then it has its turn again.
                    faulty.add(stream_id)
                    extra = {"tenant_id": tenant_id, "stream_id": str(stream_id)}
                    _log.error("a stream's turn ended by a fault", extra=extra, exc_info=error)
    finally:
        for task in working:
            task.cancel()


async def take_turn(tenant_id: int, stream_id: UUID, ends: float) -> None:
    """One stream's records, batch after batch, until none is left, one was not taken, or the time is over."""
    claim = await run_sync(claim_stream, tenant_id, stream_id)
    if claim is None:
        return
    loop = asyncio.get_running_loop()
    try:
        while loop.time() < ends:
            batch = await run_sync(next_batch, claim)
            if batch is None:
                break
            if batch.lines and not await _hand_over(claim, batch):
                break
    except LeaseLost:
        _log.info("a stream was taken away from its turn", extra={"stream_id": str(stream_id)})
    await run_sync(release, claim)


async def _hand_over(claim: Claim, batch: Batch) -> bool:
    outcome, duration_us = await timed(claim.receiver, batch)
    return await run_sync(settle, claim, batch, outcome, duration_us)
