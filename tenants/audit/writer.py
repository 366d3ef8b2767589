"""The log's group-commit writer: one a process. It decides nothing about what is recorded.

Whoever hands in an entry waits on a future of its own until the record is on disk. What comes in while a batch
is being committed makes the next batch, so a thousand waiting calls cost one commit. Best is that two batches take
turns, one being committed while the calls of the other run: so one waits for half as many records as the last two
held, unless they do not come, and goes with the record that makes it full, before other calls run on.

One transaction a batch, in one of two ways:

- *expecting*, one round trip: while we are the only writer of these tenants we know their heads; the batch is
  hashed from them, and PostgreSQL moves the heads, or refuses the batch if one is not what we believed;
- *locked*, two round trips: lock the heads and read them, then hash and write. After a head was not as expected
  (another process writes the same tenants) this way is kept for a while.

Both lock heads in the order of tenant ids, and both hold under any number of writers.

When the database is lost ``accepting`` turns False at once, and within 4 seconds when it hangs: a writer that has
nothing to write asks it once a second. What waits is refused within 5 seconds, unless the database is back before
that. A batch whose COMMIT was under way is *in doubt*: it is looked up after the reconnection, behind the same locks,
and only then answered. A record whose caller was refused may exist; one whose caller was answered does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Sequence
from typing import Final

from core.errors import Unavailable
from tenants.audit.batches import chain_batch, pack_batch, read_heads, store_batch
from tenants.audit.chain import GENESIS, Head
from tenants.audit.records import Entry, encode
from tenants.audit.session import ConnectionLost, Session, StatementFailed
from tenants.audit.statements import (
    BEGIN,
    COMMIT,
    ROLLBACK,
    SQL,
    advance,
    find,
    lock,
    open_chain,
    read_integer,
)
from tenants.audit.waiting import Queue, Waiting, unavailable

REFUSE_SECONDS: Final = 4.0
"""How long a record may wait for the database. With ``TICK_SECONDS`` it stays below the promised 5."""

TICK_SECONDS: Final = 0.25
STUCK_SECONDS: Final = 1.0
"""A batch on its way for longer, with a record that waited too long in it, means a connection that is dead."""

IDLE_TICKS: Final = 4
"""After so many ticks without an answer of the database, and with nothing to write, the writer asks for one."""

BEAT_TICKS: Final = 8
"""So long that answer may take. Ticks, not seconds: a loop that was held up for long has counted one of them."""

LOCKED_BATCHES: Final = 64
"""How many batches to read the heads first, after one was not as expected."""

QUIET_SECONDS: Final = 0.001
"""So long without another record, and a batch goes that is not full: whoever could fill it is not about to."""

GATHERINGS: Final = 3
"""So often a batch waits so long, if each time something comes."""

KNOWN_HEADS: Final = 50_000
FIRST_BACKOFF_SECONDS: Final = 0.05
LAST_BACKOFF_SECONDS: Final = 1.0
HELD_PAUSE_SECONDS: Final = 0.005

_NOT_AS_EXPECTED: Final = "22012"
_HEAD_IS_HELD: Final = "55P03"
_NEVER: Final = sys.maxsize
_TRY_AGAIN: Final = frozenset({_NOT_AS_EXPECTED, _HEAD_IS_HELD, "40001", "40P01"})
_OF_THE_RECORD: Final = ("22", "23")
"""Classes of SQLSTATE that are the fault of a record, not of the database: data, integrity."""

_log = logging.getLogger(__name__)


class AuditWriter:
    """Writes records durably, for every tenant. Use it on the event loop that called ``start``.

    ``dsn`` is a libpq URL or string of a role that may read and add records and heads of all tenants.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._queue = Queue()
        self._batch: Sequence[Waiting] = ()
        self._batch_since = 0.0
        self._doubt: list[Waiting] = []
        self._heads: dict[int, Head] = {}
        self._locked_batches = 0
        self._held: set[int] = set()
        self._session: Session | None = None
        self._accepting = False
        self._closing = False
        self._sent: tuple[int, dict[int, Head]] | None = None
        """How many commands were sent and not answered, and the heads after them."""
        self._around = 1
        self._full = _NEVER
        self._gathering = False
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._silent_ticks = 0
        self._asking = False

    @property
    def accepting(self) -> bool:
        """Whether what is begun now can be recorded: the log is writable, its queue not filling. False: run nothing."""
        return self._accepting and not self._queue.is_filling

    @property
    def connected(self) -> bool:
        """Whether the log can be written, however much waits."""
        return self._accepting

    @property
    def waiting(self) -> int:
        """Records handed in and not yet durable."""
        return len(self._queue) + len(self._batch) + len(self._doubt)

    async def start(self) -> None:
        """Begin. Returns after the first attempt to connect, whether or not it succeeded (``accepting`` tells).

        Without a database it keeps trying until ``close``.
        """
        if self._task is not None:
            raise RuntimeError("this writer was started before: make another")
        self._loop = asyncio.get_running_loop()
        attempted = self._loop.create_future()
        self._task = self._loop.create_task(self._run(attempted), name="audit-writer")
        self._task.add_done_callback(_report_fault)
        self._tick = self._loop.call_later(TICK_SECONDS, self._refuse_overdue)
        await attempted

    async def write(self, tenant_id: int, entry: Entry) -> int:
        """Record ``entry`` and give its sequence number, once it is durable.

        Raises ``Unavailable`` (``log_unavailable``): at once when the log is not writable or its queue is full,
        or within 5 seconds when the database is lost meanwhile. Cancelling the wait does not take the record back.
        """
        return await self.hand_in(tenant_id, entry)

    def hand_in(self, tenant_id: int, entry: Entry) -> asyncio.Future[int]:
        """Put ``entry`` in the queue, and give what ``write`` waits for, for who may have to wait a second time."""
        if not self._accepting:
            raise unavailable()
        if self._queue.is_full:
            raise Unavailable(
                "The log's queue is full, so this could not be recorded and its result is withheld. "
                "Try again in a moment.",
                code="log_unavailable",
            )
        loop = self._loop
        done: asyncio.Future[int] = loop.create_future()
        waits = self._queue.add(Waiting(tenant_id, entry, encode(entry), done, loop.time()))
        if waits >= self._full:
            self._begin()
        elif not self._gathering:
            self._rouse()
        return done

    async def close(self) -> None:
        """Take nothing more, write what waits (5 seconds at most), and disconnect. Safe to call again."""
        self._accepting = False
        self._closing = True
        self._rouse()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=REFUSE_SECONDS + 2 * TICK_SECONDS)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._tick is not None:
            self._tick.cancel()

    # The life of the connection

    async def _run(self, attempted: asyncio.Future[None]) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        try:
            while not (self._closing and not self.waiting):
                try:
                    self._session = await Session.connect(self._dsn, SQL, on_lost=self._on_lost)
                    await self._ask(self._session)
                    await self._settle_doubt(self._session)
                    backoff = FIRST_BACKOFF_SECONDS
                    await self._serve(self._session, attempted)
                except ConnectionLost:
                    _log.warning("log not writable: no connection to the database")
                except StatementFailed as fault:
                    _log.error("log not writable: the database refused", extra={"sqlstate": fault.sqlstate})
                finally:
                    await self._drop_session()
                _settle(attempted)
                if not (self._closing and not self.waiting):
                    await self._sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - spreads replicas out
                    backoff = min(backoff * 2, LAST_BACKOFF_SECONDS)
        finally:
            # Whatever ended this, nobody waits for a writer that is gone.
            self._accepting = False
            for waiting in (*self._doubt, *self._batch):
                waiting.refuse()
            self._doubt, self._batch = [], ()
            self._queue.refuse_all()
            _settle(attempted)

    async def _serve(self, session: Session, attempted: asyncio.Future[None]) -> None:
        while True:
            if self._queue and self._sent is None:
                await self._gather()
            batch = self._queue.take_batch(self._held) if self._sent is None else []
            if batch or self._sent is not None:
                await self._commit(session, batch)
                continue
            if self._closing:
                return
            if session.lost:
                raise ConnectionLost
            if self._silent_ticks >= IDLE_TICKS:
                await self._ask(session)
                continue
            if not self._accepting:
                # Only after what was waiting is written: that proves that the log can be.
                self._accepting = True
                _settle(attempted)
            self._full = self._enough()
            await self._rest()

    def _enough(self) -> int:
        """How many records make a batch full: half of those that go round, so that batches take turns."""
        return max(1, self._around // 2)

    async def _gather(self) -> None:
        """Wait until a batch is full and sent, or what is there is all that comes."""
        full = self._full = self._enough()
        if len(self._queue) < full:
            self._gathering = True
            # The calls that were answered just now run first: their clients may send the next.
            await asyncio.sleep(0)
            for _ in range(GATHERINGS):
                had = len(self._queue)
                if self._sent is not None or had >= full:
                    break
                quiet = self._loop.call_later(QUIET_SECONDS, self._rouse)
                try:
                    await self._rest()
                finally:
                    quiet.cancel()
                if len(self._queue) == had:
                    break
            self._gathering = False
        self._full = _NEVER

    def _begin(self) -> None:
        """Send the batch that is full, if nothing has to be asked first; ``_serve`` goes on with it."""
        self._full = _NEVER
        if self._session is not None and not self._locked_batches:
            batch = self._queue.take_batch(self._held)
            try:
                if batch and not self._send(self._session, batch):
                    self._queue.put_back(batch)
            except ConnectionLost:
                # It is in doubt now, and whoever waits for the answer learns the same.
                pass
        self._rouse()

    async def _ask(self, session: Session) -> None:
        """A trivial round trip: is it there, and may it be written? The ticks bound it."""
        self._silent_ticks = 0
        self._asking = True
        try:
            await self._refuse_read_only(session)
        finally:
            self._asking = False
        self._silent_ticks = 0

    def _on_lost(self) -> None:
        self._accepting = False
        self._rouse_idle()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _rouse_idle(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_exception(ConnectionLost())

    async def _rest(self) -> None:
        """Until somebody rouses us. Raises ``ConnectionLost`` when the connection goes meanwhile."""
        self._wake = wake = self._loop.create_future()
        await wake

    async def _sleep(self, seconds: float) -> None:
        self._wake = self._loop.create_future()
        await asyncio.wait([self._wake], timeout=seconds)
        self._wake = None

    async def _drop_session(self) -> None:
        self._accepting = False
        self._wake, self._full, self._sent, self._gathering = None, _NEVER, None, False
        self._heads.clear()
        self._held.clear()
        self._queue.put_back(self._batch)
        self._batch = ()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _refuse_read_only(self, session: Session) -> None:
        (answer,) = await session.exchange([(b"check", ())], sync=True)
        if answer.get_value(0, 0) != b"\0":
            raise StatementFailed("25006")

    def _refuse_overdue(self) -> None:
        """Every tick: refuse what has waited too long, give up a connection that answers nothing, ask an idle one."""
        self._tick = self._loop.call_later(TICK_SECONDS, self._refuse_overdue)
        now = self._loop.time()
        overdue = now - REFUSE_SECONDS
        late = [waiting for waiting in (*self._doubt, *self._batch) if waiting.since <= overdue]
        for waiting in late:
            waiting.refuse()
        self._queue.refuse_overdue(overdue)
        self._silent_ticks += 1
        if self._session is None:
            if all(waiting.refused for waiting in self._doubt):
                self._doubt = []
        elif (late and now - self._batch_since > STUCK_SECONDS) or (
            self._asking and self._silent_ticks > BEAT_TICKS
        ):
            self._session.abort()
        elif self._silent_ticks >= IDLE_TICKS and self._accepting:
            self._rouse()

    # Batches

    async def _commit(self, session: Session, batch: list[Waiting]) -> None:
        """Write a batch, in whichever way is open, or see to the end of the one that ``_begin`` has sent."""
        try:
            if self._sent is None:
                self._batch = batch
                self._batch_since = self._loop.time()
                await self._open_chains(session, batch)
                if not self._send(session, batch):
                    await self._commit_locked(session, batch)
            if self._sent is not None:
                (count, heads), self._sent = self._sent, None
                await session.receive(count, sync=True)
                self._answer(heads)
        except StatementFailed as fault:
            await self._mend(session, fault)
        self._batch = ()
        self._silent_ticks = 0

    async def _mend(self, session: Session, fault: StatementFailed) -> None:
        """A batch has failed: try again, or find the record whose fault it is by halving, and refuse that alone."""
        again, of_a_record = fault.sqlstate in _TRY_AGAIN, fault.sqlstate.startswith(_OF_THE_RECORD)
        if not again and not of_a_record:
            # The server may be going down, after the commit even: what is in doubt stays so.
            raise fault
        failed, self._doubt = list(self._doubt or self._batch), []
        self._batch = failed
        await session.rollback(ROLLBACK)
        if again:
            self._locked_batches = LOCKED_BATCHES
            if fault.sqlstate == _HEAD_IS_HELD:
                self._held.update(waiting.tenant_id for waiting in failed)
            self._queue.put_back(failed)
        elif len(failed) == 1:
            _log.error(
                "record refused by the database",
                extra={"sqlstate": fault.sqlstate, "tenant_id": failed[0].tenant_id},
            )
            failed[0].refuse()
        else:
            await self._commit_halves(session, failed)

    async def _commit_halves(self, session: Session, batch: list[Waiting]) -> None:
        middle = len(batch) // 2
        first, second = batch[:middle], batch[middle:]
        try:
            await self._commit(session, first)
        finally:
            # Should the connection go during the first half, the second is still ours to put back.
            self._batch = (*self._batch, *second)
        await self._commit(session, second)

    async def _open_chains(self, session: Session, batch: list[Waiting]) -> None:
        for tenant_id in dict.fromkeys(waiting.tenant_id for waiting in batch):
            if tenant_id not in self._heads:
                await session.exchange([BEGIN, open_chain(tenant_id, GENESIS), COMMIT], sync=True)

    def _send(self, session: Session, batch: list[Waiting]) -> bool:
        """Send a batch hashed from the heads that we expect. False when this way is not open: it is untouched then."""
        if self._locked_batches:
            self._locked_batches -= 1
            return False
        tenant_ids = sorted({waiting.tenant_id for waiting in batch})
        if not self._held.isdisjoint(tenant_ids):
            # Only the other way waits for nobody, and learns that a head is free again.
            return False
        before = {
            tenant_id: head for tenant_id in tenant_ids if (head := self._heads.get(tenant_id)) is not None
        }
        if len(before) < len(tenant_ids):
            return False
        after = chain_batch(batch, before)
        commands = [BEGIN, *store_batch(batch, before, after), COMMIT]
        self._sent = len(commands), after
        self._doubt, self._batch = batch, ()
        self._batch_since = self._loop.time()
        session.send(commands, sync=True)
        return True

    async def _commit_locked(self, session: Session, batch: list[Waiting]) -> None:
        """Two round trips. Tenants whose heads are held by another transaction wait for the next batch."""
        tenant_ids = sorted({waiting.tenant_id for waiting in batch})
        only_free = not self._held.isdisjoint(tenant_ids)
        _, rows = await session.exchange([BEGIN, lock(tenant_ids, only_free=only_free)], sync=False)
        before = read_heads(rows)
        self._held.difference_update(before)
        ours = [waiting for waiting in batch if waiting.tenant_id in before]
        if len(ours) < len(batch):
            self._queue.put_back([waiting for waiting in batch if waiting.tenant_id not in before])
            self._batch = ours
        if not ours:
            await session.rollback(ROLLBACK)
            await asyncio.sleep(HELD_PAUSE_SECONDS)
            return
        after = chain_batch(ours, before)
        self._doubt, self._batch = ours, ()
        await session.exchange([pack_batch(ours), advance(after), COMMIT], sync=True)
        self._answer(after)

    def _answer(self, heads: dict[int, Head]) -> None:
        if len(self._heads) > KNOWN_HEADS:
            self._heads.clear()
        self._heads.update(heads)
        answered, self._doubt = self._doubt, []
        # Those that run meanwhile are not seen: what was seen before counts for a while.
        self._around = max(len(answered) + len(self._queue), self._around * 7 // 8)
        for waiting in answered:
            waiting.answer()

    async def _settle_doubt(self, session: Session) -> None:
        """Find out whether the batch whose COMMIT was under way has happened: all of it did, or none; then write it.

        Locking the heads waits for a transaction that may still be ending, and one that has not even begun cannot
        begin before this one has written: the heads that it expects are gone then.
        """
        if all(waiting.refused for waiting in self._doubt):
            self._doubt = []
            return
        last = {waiting.tenant_id: Head(waiting.seq, waiting.hash) for waiting in self._doubt}
        commands = [BEGIN, lock(sorted(last), only_free=False), find(last)]
        _, rows, found = await session.exchange(commands, sync=False)
        if read_integer(found.get_value(0, 0) or b"") == len(last):
            await session.exchange([COMMIT], sync=True)
            for waiting in self._doubt:
                waiting.answer()
            self._doubt = []
            return
        self._doubt = [waiting for waiting in self._doubt if not waiting.refused]
        after = chain_batch(self._doubt, read_heads(rows))
        try:
            await session.exchange([pack_batch(self._doubt), advance(after), COMMIT], sync=True)
        except StatementFailed as fault:
            await self._mend(session, fault)
            self._batch = ()
        else:
            self._answer(after)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _report_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.critical("log writer ended by a fault: calls are refused until a restart", exc_info=fault)
