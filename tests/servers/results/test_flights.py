"""Work that is done once for all who wait: each with a deadline of its own, ended with the last of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.errors import SourceError, Unavailable
from servers.execution.context import NOBODY, Detached
from servers.execution.contract import Context
from servers.services.results import flights as flying
from servers.services.results.contexts import Company, Noted
from servers.services.results.flights import Flights, TooLate

pytestmark = pytest.mark.anyio


class Job:
    """Counts how often it is begun, and waits until it may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.go = asyncio.Event()
        self.company: Context = NOBODY

    async def __call__(self, company: Context) -> str:
        self.begun += 1
        self.company = company
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return f"run {self.begun}"


class Listener(Detached):
    """A caller that keeps what it hears, as soon as it takes it."""

    def __init__(self, take: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__(NOBODY.principal)
        self.heard: list[Any] = []
        self._take = take

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        if self._take is not None:
            await self._take()
        self.heard.append(progress)

    async def log(self, level: Any, data: Any, logger: str = "") -> None:
        self.heard.append(data)


def join(
    flights: Flights[str],
    job: Any,
    *,
    tenant: int = 1,
    key: bytes = b"k",
    timeout: float = 30,
    context: Context | None = None,
) -> asyncio.Task[tuple[str, bool]]:
    return asyncio.ensure_future(
        flights.join(tenant, key, job, context=context or Listener(), timeout=timeout)
    )


async def turn(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_all_who_wait_get_the_result_of_one_run() -> None:
    flights, job = Flights[str](longest=30), Job()
    tasks = [join(flights, job) for _ in range(10)]
    await turn()
    job.go.set()
    assert await asyncio.gather(*tasks) == [("run 1", False), *[("run 1", True)] * 9]
    assert (flights._flying, flights._all) == ({}, set())


async def test_another_key_and_another_tenant_are_other_work() -> None:
    flights, job = Flights[str](longest=30), Job()
    tasks = [join(flights, job), join(flights, job, key=b"l"), join(flights, job, tenant=2)]
    await turn()
    assert job.begun == 3
    job.go.set()
    assert [joined for _, joined in await asyncio.gather(*tasks)] == [False] * 3


async def test_one_who_is_cancelled_leaves_the_work_to_the_others() -> None:
    flights, job = Flights[str](longest=30), Job()
    first, second = join(flights, job), join(flights, job)
    await turn()
    first.cancel()
    await turn()
    assert first.cancelled()
    job.go.set()
    assert await second == ("run 1", True)
    assert job.cancelled == 0


async def test_the_work_is_cancelled_with_the_last_and_who_comes_then_begins_anew() -> None:
    flights, job = Flights[str](longest=30), Job()
    tasks = [join(flights, job), join(flights, job)]
    await turn()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    # The cancelled work has not ended yet.
    after = join(flights, job)
    await turn()
    assert (job.cancelled, job.begun) == (1, 2)
    job.go.set()
    assert await after == ("run 2", False)


async def test_each_waits_as_long_as_it_may() -> None:
    flights, job = Flights[str](longest=30), Job()
    short, long = join(flights, job, timeout=0.01), join(flights, job)
    with pytest.raises(TooLate):
        await short
    assert job.cancelled == 0
    job.go.set()
    assert await long == ("run 1", True)
    alone = Job()
    with pytest.raises(TooLate):
        await join(flights, alone, timeout=0.01)
    await turn()
    assert alone.cancelled == 1


async def test_a_failure_is_everybodys_and_the_next_call_tries_again() -> None:
    flights, begun = Flights[str](longest=30), 0

    async def fail(company: Context) -> str:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        raise SourceError("closed", code="source_unreachable")

    tasks = [join(flights, fail) for _ in range(3)]
    failures = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(each, "code", None) for each in failures] == ["source_unreachable"] * 3
    assert begun == 1
    with pytest.raises(SourceError):
        await join(flights, fail)
    assert begun == 2


async def test_who_comes_after_a_change_is_given_nothing_from_before() -> None:
    flights, job = Flights[str](longest=30), Job()
    before, others = join(flights, job), join(flights, job, tenant=2)
    await turn()
    flights.begin_anew(1)
    after, theirs = join(flights, job), join(flights, job, tenant=2)
    await turn()
    assert job.begun == 3
    job.go.set()
    joined = [await each for each in (before, after, others, theirs)]
    assert [each[1] for each in joined] == [False, False, False, True]
    assert (flights._flying, flights._all) == ({}, set())


async def test_what_is_too_much_is_done_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flying, "MAX_FLIGHTS", 1)
    monkeypatch.setattr(flying, "MAX_WAITING", 2)
    flights, job = Flights[str](longest=30), Job()
    tasks = [join(flights, job), join(flights, job), join(flights, job), join(flights, job, key=b"l")]
    await turn()
    assert job.begun == 3
    job.go.set()
    assert len(await asyncio.gather(*tasks)) == 4


async def test_closing_ends_what_is_under_way() -> None:
    flights, job = Flights[str](longest=30), Job()
    task = join(flights, job)
    await turn()
    await flights.close()
    await asyncio.wait([task])
    assert task.cancelled()
    assert job.cancelled == 1


async def test_everybody_hears_how_far_it_is_and_one_who_does_not_listen_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("servers.services.results.contexts.PATIENCE_SECONDS", 0.01)
    flights, job = Flights[str](longest=30), Job()
    deaf = asyncio.Event()

    async def refuse() -> None:
        raise Unavailable("its record cannot be written")

    listeners = [Listener(), Listener(deaf.wait), Listener(refuse), Listener()]
    tasks = [join(flights, job, context=each) for each in listeners]
    await turn()
    for progress in (1, 2, 3):
        await job.company.progress(progress)
    await job.company.log("info", "a line")
    deaf.set()
    await turn()
    job.go.set()
    await asyncio.gather(*tasks)
    assert [each.heard for each in listeners] == [[1, 2, 3, "a line"], [1], ["a line"], [1, 2, 3, "a line"]]


async def test_a_shared_run_knows_nobody_and_asks_nobody() -> None:
    company = Company()
    assert company.principal == NOBODY.principal
    assert company.trace is None
    assert not company.can("roots/list")
    assert company.tool("other") is None
    with pytest.raises(SourceError):
        await company.ask({})
    with pytest.raises(SourceError):
        await company.call("other", {}, key="1")


@pytest.mark.parametrize("what", ["tool", "ask", "call", "resource_updated", "release_stream"])
async def test_what_makes_a_result_this_calls_own_is_noted(what: str) -> None:
    noted = Noted(NOBODY)
    await noted.progress(1)
    await noted.log("info", "a line")
    assert noted.principal == NOBODY.principal
    # It stands in the key.
    assert not noted.can("roots/list")
    assert not noted.once
    match what:
        case "tool":
            noted.tool("other")
        case "ask":
            with pytest.raises(SourceError):
                await noted.ask({})
        case "call":
            with pytest.raises(SourceError):
                await noted.call("other", {}, key="1")
        case "resource_updated":
            await noted.resource_updated("a://b")
        case "release_stream":
            await noted.release_stream()
    assert noted.once
