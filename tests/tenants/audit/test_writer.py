"""The group-commit writer against real PostgreSQL, with a relay between where the network is to fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sized
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from core.errors import Unavailable
from core.threads import run_sync
from tenants.audit import writer as writing
from tenants.audit.records import Entry
from tenants.audit.waiting import QUEUE_RECORDS, Queue
from tenants.audit.writer import LOCKED_BATCHES, TICK_SECONDS, AuditWriter
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.tenants.audit.far_side import Fault, Relay
from tests.tenants.audit.places import Place, make_place
from tests.tenants.audit.writers import append, assert_whole, entry, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]


@pytest.fixture
def teams() -> list[Place]:
    return [make_place() for _ in range(5)]


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[AuditWriter]:
    """Who looked at what waits too long: each four times a second, and less often where the machine stalls."""
    looked: list[AuditWriter] = []
    refuse_overdue = AuditWriter._refuse_overdue

    def look(writer: AuditWriter) -> None:
        looked.append(writer)
        refuse_overdue(writer)

    monkeypatch.setattr(AuditWriter, "_refuse_overdue", look)
    return looked


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with Relay(settings.ENV.writer_database_url) as relay:
        yield relay


@pytest.fixture
async def distant(relay: Relay) -> AsyncIterator[AuditWriter]:
    """A writer whose network may fail."""
    writer = AuditWriter(relay.url)
    await writer.start()
    await until(lambda: writer.accepting)
    yield writer
    await writer.close()


async def _stored(tenant_id: int) -> list[tuple[int, str]]:
    def read() -> list[tuple[int, str]]:
        with tenant_scope(tenant_id):
            written = AuditRecord.objects.filter(kind="tools/call").order_by("seq")
            return list(written.values_list("seq", "request_id"))

    return await run_sync(read)


def _batch_sizes(tenant_id: int) -> list[int]:
    """How many records each transaction wrote, in their order."""
    with tenant_scope(tenant_id), connection.cursor() as cursor:
        table = connection.ops.quote_name(AuditRecord._meta.db_table)
        cursor.execute(
            f"SELECT count(*) FROM {table} WHERE tenant_id = %s GROUP BY xmin ORDER BY min(seq)", [tenant_id]
        )
        return [row[0] for row in cursor.fetchall()]


def _more_than(count: int, things: Sized) -> bool:
    return len(things) > count


@contextmanager
def _within_5_seconds(ticks: list[AuditWriter], writer: AuditWriter) -> Iterator[None]:
    """By the writer's own clock, which a stalled machine stops as well."""
    before = ticks.count(writer)
    yield
    assert (ticks.count(writer) - before) * TICK_SECONDS <= 5


async def test_a_record_is_visible_to_others_when_write_returns(writer: AuditWriter, team: Place) -> None:
    seq = await writer.write(team.tenant_id, entry("one"))
    assert (seq, "one") in await _stored(team.tenant_id)


async def test_every_waiter_gets_its_own_number_and_the_chains_are_whole(
    writer: AuditWriter, teams: list[Place]
) -> None:
    places = [(teams[number % 5].tenant_id, f"r{number}") for number in range(400)]
    seqs = await asyncio.gather(*(writer.write(tenant_id, entry(name)) for tenant_id, name in places))
    for team in teams:
        answered = [(seq, name) for seq, (at, name) in zip(seqs, places, strict=True) if at == team.tenant_id]
        assert answered == await _stored(team.tenant_id)
        await assert_whole(team.tenant_id)


async def test_hostile_text_is_recorded_and_harms_no_neighbour(writer: AuditWriter, team: Place) -> None:
    hostile = Entry(
        "k\0" * 40,
        "ok",
        "\ud800" * 300,
        tool="t" * 500,
        request_id="\0",
        arguments={"\ud800": 2**80, "n": "\0"},
    )
    await asyncio.gather(
        writer.write(team.tenant_id, hostile), writer.write(team.tenant_id, entry("neighbour"))
    )
    assert "neighbour" in dict(await _stored(team.tenant_id)).values()
    await assert_whole(team.tenant_id)


async def test_a_record_that_postgresql_refuses_is_refused_alone(writer: AuditWriter, team: Place) -> None:
    impossible = Entry("tools/call", "ok", "key:test", at=-(2**60))
    results = await asyncio.gather(
        *(writer.write(team.tenant_id, entry(f"good{number}")) for number in range(10)),
        writer.write(team.tenant_id, impossible),
        *(writer.write(team.tenant_id, entry(f"good{number}")) for number in range(10, 20)),
        return_exceptions=True,
    )
    assert [type(result) for result in results].count(Unavailable) == 1
    assert isinstance(results[10], Unavailable)
    assert len(await _stored(team.tenant_id)) == 20
    assert writer.accepting
    await assert_whole(team.tenant_id)


async def test_cancelling_one_waiter_disturbs_no_other_and_its_record_is_written(
    writer: AuditWriter, team: Place
) -> None:
    tasks = [asyncio.create_task(writer.write(team.tenant_id, entry(f"r{number}"))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert tasks[1].cancelled()
    assert tasks[0].result() < tasks[2].result()
    await writer.write(team.tenant_id, entry("later"))
    assert [name for _, name in await _stored(team.tenant_id)] == ["r0", "r1", "r2", "later"]


async def test_several_writers_and_transactions_interleave_on_the_same_tenants(
    writer: AuditWriter, teams: list[Place]
) -> None:
    other = AuditWriter(settings.ENV.writer_database_url)
    await other.start()

    async def by_turns(which: AuditWriter, name: str) -> None:
        for number in range(30):
            team = teams[number % 5] if which is writer else teams[-1 - number % 5]
            await which.write(team.tenant_id, entry(f"{name}-{number}"))

    await asyncio.gather(
        *(by_turns(writer, f"a{k}") for k in range(8)),
        *(by_turns(other, f"b{k}") for k in range(8)),
        *(run_sync(append, team.tenant_id, f"c{k}") for k in range(6) for team in teams),
    )
    await other.close()
    names: Counter[str] = Counter()
    for team in teams:
        names.update(name for _, name in await _stored(team.tenant_id))
        await assert_whole(team.tenant_id)
    assert names.total() == 16 * 30 + 6 * 5
    assert all(count == 1 for name, count in names.items() if not name.startswith("c"))


async def test_batches_take_turns_again_after_another_process_moved_the_head(
    writer: AuditWriter, team: Place
) -> None:
    """While heads are read first, all who wait go together. Nobody was answered then while the others ran."""
    callers, rounds = 16, LOCKED_BATCHES + 40

    async def call_again_and_again() -> None:
        for _ in range(rounds):
            await writer.write(team.tenant_id, entry("again"))

    await writer.write(team.tenant_id, entry("first"))
    await run_sync(append, team.tenant_id, "beside")
    await asyncio.gather(*(call_again_and_again() for _ in range(callers)))
    batches = await run_sync(_batch_sizes, team.tenant_id)
    assert Counter(batches[:LOCKED_BATCHES]).most_common(1)[0][0] == callers
    assert Counter(batches[-40:]).most_common(1)[0][0] == callers // 2


async def test_a_head_that_someone_holds_holds_up_no_other_tenant(
    writer: AuditWriter, teams: list[Place]
) -> None:
    held, free = teams[0].tenant_id, teams[1].tenant_id
    await writer.write(held, entry("first"))
    async with await psycopg.AsyncConnection.connect(settings.ENV.database_url) as holder:
        await holder.execute("SELECT 1 FROM tenants_audithead WHERE tenant_id = %s FOR UPDATE", [held])
        waiting = [asyncio.create_task(writer.write(held, entry(f"held{number}"))) for number in range(5)]
        for number in range(20):
            await writer.write(free, entry(f"free{number}"))
        assert not any(task.done() for task in waiting)
    assert len(await asyncio.gather(*waiting)) == 5
    assert [name for _, name in await _stored(held)] == ["first", *(f"held{number}" for number in range(5))]
    await assert_whole(held)


async def test_a_head_held_for_too_long_refuses_only_its_own_tenant(
    ticks: list[AuditWriter], writer: AuditWriter, teams: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine that stalls while the head is asked for makes no dead connection of this one.
    monkeypatch.setattr(writing, "STUCK_SECONDS", 60.0)
    held, free = teams[0].tenant_id, teams[1].tenant_id
    await writer.write(held, entry("first"))
    async with await psycopg.AsyncConnection.connect(settings.ENV.database_url) as holder:
        await holder.execute("SELECT 1 FROM tenants_audithead WHERE tenant_id = %s FOR UPDATE", [held])
        with _within_5_seconds(ticks, writer), pytest.raises(Unavailable) as refusal:
            await writer.write(held, entry("held"))
        assert refusal.value.code == "log_unavailable"
        assert writer.accepting
        await writer.write(free, entry("free"))
    # Once it is free again, its records go in batches like all others.
    for number in range(LOCKED_BATCHES):
        await writer.write(free, entry(f"free{number}"))
    await asyncio.gather(*(writer.write(held, entry(f"later{number}")) for number in range(40)))
    assert not writer._held
    assert [name for _, name in await _stored(held)] == ["first", *(f"later{number}" for number in range(40))]


async def test_when_the_database_goes_waiters_are_refused_within_5_seconds_and_it_recovers(
    ticks: list[AuditWriter], relay: Relay, distant: AuditWriter, team: Place
) -> None:
    await distant.write(team.tenant_id, entry("before"))
    relay.fault = Fault.SILENCE
    waiting = [
        asyncio.create_task(distant.write(team.tenant_id, entry(f"lost{number}"))) for number in range(20)
    ]
    await asyncio.sleep(0)
    await relay.refuse()
    await until(lambda: not distant.accepting)
    with pytest.raises(Unavailable) as refusal:
        await distant.write(team.tenant_id, entry("refused"))
    assert refusal.value.code == "log_unavailable"
    assert refusal.value.retryable
    with _within_5_seconds(ticks, distant):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    await relay.listen()
    await until(lambda: distant.accepting)
    await distant.write(team.tenant_id, entry("after"))
    assert [name for _, name in await _stored(team.tenant_id)] == ["before", "after"]
    await assert_whole(team.tenant_id)


async def test_an_idle_writer_notices_at_once_that_its_connection_went(
    ticks: list[AuditWriter], relay: Relay, distant: AuditWriter
) -> None:
    assert distant.accepting
    with _within_5_seconds(ticks, distant):
        await relay.refuse()
        await until(lambda: not distant.accepting)


async def test_an_idle_writer_notices_a_database_that_hangs_and_that_it_answers_again(
    ticks: list[AuditWriter], relay: Relay, distant: AuditWriter, team: Place
) -> None:
    with _within_5_seconds(ticks, distant):
        relay.fault = Fault.SILENCE
        await until(lambda: not distant.accepting)
    relay.fault = Fault.NONE
    await until(lambda: distant.accepting)
    await distant.write(team.tenant_id, entry("heard"))


async def test_an_idle_writer_keeps_its_connection_while_the_database_answers(distant: AuditWriter) -> None:
    session = distant._session
    for _ in range(2):
        await until(lambda: distant._silent_ticks >= 2)
        await until(lambda: distant._silent_ticks < 2)
        assert distant.accepting
    assert distant._session is session


async def test_a_database_that_answers_nothing_is_given_up_within_5_seconds(
    ticks: list[AuditWriter], relay: Relay, distant: AuditWriter, team: Place
) -> None:
    relay.fault = Fault.SILENCE
    with _within_5_seconds(ticks, distant), pytest.raises(Unavailable):
        await distant.write(team.tenant_id, entry("unheard"))
    await until(lambda: not distant.accepting)
    relay.fault = Fault.NONE
    await until(lambda: distant.accepting)
    await distant.write(team.tenant_id, entry("heard"))


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.LOSE_REQUEST], ids=["committed", "not committed"])
async def test_a_batch_in_doubt_is_written_once_and_answered(
    relay: Relay, distant: AuditWriter, team: Place, fault: Fault
) -> None:
    await distant.write(team.tenant_id, entry("before"))
    relay.fault = fault
    seqs = await asyncio.gather(*(distant.write(team.tenant_id, entry(f"r{number}")) for number in range(5)))
    stored = await _stored(team.tenant_id)
    assert [name for _, name in stored] == ["before", *(f"r{number}" for number in range(5))]
    assert [seq for seq, _ in stored[1:]] == seqs
    await assert_whole(team.tenant_id)


async def test_connections_cut_again_and_again_lose_and_double_nothing(
    relay: Relay, distant: AuditWriter, teams: list[Place]
) -> None:
    answered: list[tuple[int, int, str]] = []
    stop = asyncio.Event()

    async def keep_writing(name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            tenant_id = teams[number % 5].tenant_id
            try:
                seq = await distant.write(tenant_id, entry(f"{name}-{number}"))
            except Unavailable:
                await asyncio.sleep(0.005)
            else:
                answered.append((tenant_id, seq, f"{name}-{number}"))

    tasks = [asyncio.create_task(keep_writing(f"w{k}")) for k in range(16)]
    for cut in range(10):
        reached = len(answered)
        await until(partial(_more_than, reached + 50, answered))
        relay.fault = (Fault.LOSE_ANSWER, Fault.LOSE_REQUEST)[cut % 2]
    stop.set()
    await asyncio.gather(*tasks)
    for team in teams:
        stored = await _stored(team.tenant_id)
        assert {(seq, name) for at, seq, name in answered if at == team.tenant_id} <= set(stored)
        assert len({name for _, name in stored}) == len(stored), "nothing is written twice"
        await assert_whole(team.tenant_id)


async def test_a_filling_queue_admits_no_new_work_and_keeps_room_for_what_has_run(
    relay: Relay, distant: AuditWriter, team: Place
) -> None:
    distant._queue = Queue(8)
    relay.fault = Fault.SILENCE
    tasks = [asyncio.create_task(distant.write(team.tenant_id, entry("first")))]
    await until(lambda: distant.waiting > 0 and not distant._queue)
    admitted = [distant.accepting]
    tasks += [asyncio.create_task(distant.write(team.tenant_id, entry(f"q{number}"))) for number in range(6)]
    await asyncio.sleep(0)
    admitted.append(distant.accepting)
    assert admitted == [True, False]
    tasks += [
        asyncio.create_task(distant.write(team.tenant_id, entry(f"ran{number}"))) for number in range(2)
    ]
    await asyncio.sleep(0)
    relay.cut()
    relay.fault = Fault.NONE
    assert len(await asyncio.gather(*tasks)) == 9
    await until(lambda: distant.accepting)


async def test_the_writer_keeps_which_intent_a_record_is_the_outcome_of(
    writer: AuditWriter, team: Place
) -> None:
    intent = await writer.write(team.tenant_id, Entry("tools/call", "intent", "key:test"))
    seq = await writer.write(team.tenant_id, Entry("tools/call", "ok", "key:test", intent=intent))

    def read() -> list[tuple[int, int | None]]:
        with tenant_scope(team.tenant_id):
            return list(AuditRecord.objects.order_by("seq").values_list("seq", "intent_seq"))

    assert await run_sync(read) == [(intent, None), (seq, intent)]
    await assert_whole(team.tenant_id)


async def test_a_full_queue_sheds_at_once(relay: Relay, distant: AuditWriter, team: Place) -> None:
    assert QUEUE_RECORDS >= 1_000
    distant._queue = Queue(10)
    relay.fault = Fault.SILENCE
    first = asyncio.create_task(distant.write(team.tenant_id, entry("first")))
    await until(lambda: distant.waiting > 0 and not distant._queue)
    queued = [asyncio.create_task(distant.write(team.tenant_id, entry(f"q{number}"))) for number in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="queue is full") as shed:
        await distant.write(team.tenant_id, entry("shed"))
    # What is handed in may have run already.
    assert "nothing" not in shed.value.message
    relay.cut()
    relay.fault = Fault.NONE
    assert len(await asyncio.gather(first, *queued)) == 11


async def test_close_writes_what_waits_and_then_refuses(team: Place) -> None:
    writer = AuditWriter(settings.ENV.writer_database_url)
    await writer.start()
    waiting = [asyncio.create_task(writer.write(team.tenant_id, entry(f"r{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    await writer.close()
    assert len(await asyncio.gather(*waiting)) == 50
    with pytest.raises(Unavailable):
        await writer.write(team.tenant_id, entry("late"))


async def test_a_writer_started_without_a_database_accepts_once_there_is_one(
    relay: Relay, team: Place
) -> None:
    await relay.refuse()
    writer = AuditWriter(relay.url)
    await writer.start()
    assert not writer.accepting
    await relay.listen()
    await until(lambda: writer.accepting)
    assert await writer.write(team.tenant_id, entry("late start"))
    await writer.close()


async def test_the_writers_role_reads_nothing_but_the_log(team: Place) -> None:
    async with await psycopg.AsyncConnection.connect(
        settings.ENV.writer_database_url, autocommit=True
    ) as role:
        for table in ("tenants_tenant", "tenants_apikey", "tenants_user", "servers_datasource"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await role.execute(f"SELECT * FROM {table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await role.execute("DELETE FROM tenants_auditrecord")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await role.execute("UPDATE tenants_auditrecord SET kind = 'x'")
