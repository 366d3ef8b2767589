"""Long work is done by a program beside Marina: what it gives and raises comes back, and it ends with who began it."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from core import aside as aside_module
from core import doing
from core.aside import Aside, GaveUp, NotThere
from core.errors import Forbidden, InvalidInput, MarinaError, RateLimited, SourceError
from tests.core import asides
from tests.protocol.waiting import wait_for

pytestmark = pytest.mark.anyio


@pytest.fixture
def aside() -> Iterator[Aside]:
    aside = Aside("tests-aside")
    yield aside
    aside.close()


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_what_work_gives_and_raises_comes_back_from_one_program(aside: Aside) -> None:
    assert await aside.run(partial(asides.add, 20, 22), team=1) == 42
    pid = await aside.run(asides.tell_process, team=1)
    assert pid != os.getpid()
    with pytest.raises(SourceError, match=r"It is no SQL\.") as caught:
        await aside.run(asides.refuse, team=1)
    assert (caught.value.code, caught.value.data) == ("query_invalid", {"position": 3})
    assert await aside.run(asides.chatter, team=1) == "done"
    assert await aside.run(asides.tell_process, team=2) == pid


async def test_what_takes_too_much_is_given_up_and_the_next_is_done(
    aside: Aside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for too_much in (asides.take_all, asides.crash):
        with pytest.raises(GaveUp):
            await aside.run(too_much, team=1)
        assert await aside.run(partial(asides.add, 1, 1), team=1) == 2
    pid = await aside.run(asides.tell_process, team=1)
    monkeypatch.setattr(aside_module, "CLOCK_SECONDS", 0.3)
    with pytest.raises(GaveUp):
        await aside.run(partial(asides.sleep_on, str(tmp_path / "begun"), 600), team=1)
    assert not is_running(pid)
    # Once alone: nobody behind it waits for it twice.
    assert (tmp_path / "begun").read_text() == "begun\n"


async def test_a_piece_has_its_time_of_a_processor(aside: Aside) -> None:
    await aside.run(asides.hurry, team=1)
    with pytest.raises(GaveUp):
        await aside.run(asides.spin, team=1)
    assert await aside.run(partial(asides.add, 1, 1), team=1) == 2


async def test_what_cannot_come_back_is_a_fault(aside: Aside) -> None:
    with pytest.raises(TypeError, match="cannot be told"):
        await aside.run(asides.give_back_a_lambda, team=1)


async def test_one_that_ended_for_want_of_work_is_begun_anew(aside: Aside) -> None:
    pid = await aside.run(asides.tell_process, team=1)
    psutil.Process(pid).kill()
    await asyncio.to_thread(wait_for, lambda: not is_running(pid))
    assert await aside.run(asides.tell_process, team=1) not in (pid, os.getpid())


@pytest.mark.parametrize("size", [1, 4_000_000])
async def test_one_that_ends_just_when_there_is_work_costs_nobody_anything(
    aside: Aside, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    pid = await aside.run(asides.end_soon, team=1)
    await asyncio.to_thread(wait_for, lambda: not is_running(pid))
    # It was looked whether it had ended a moment before it did.
    monkeypatch.setattr(Connection, "poll", lambda *_: False)
    assert await aside.run(partial(asides.measure, b"x" * size), team=1) == size


async def test_it_ends_with_what_it_does_when_it_is_closed_and_may_be_used_again(
    aside: Aside, tmp_path: Path
) -> None:
    pid = await aside.run(asides.tell_process, team=1)
    begun = tmp_path / "begun"
    waiting = asyncio.ensure_future(aside.run(partial(asides.sleep_on, str(begun), 600), team=1))
    await asyncio.to_thread(wait_for, begun.exists)
    aside.close()
    with pytest.raises(NotThere):
        await waiting
    assert not is_running(pid)
    assert await aside.run(partial(asides.add, 1, 1), team=1) == 2


async def test_it_ends_with_who_forgot_it() -> None:
    forgotten = Aside("tests-forgotten")
    pid = await forgotten.run(asides.tell_process, team=1)
    del forgotten
    gc.collect()
    assert not is_running(pid)


async def test_it_ends_when_nobody_wants_anything(aside: Aside) -> None:
    pid = await aside.run(asides.end_soon, team=1)
    await asyncio.to_thread(wait_for, lambda: not is_running(pid))


async def test_it_stays_where_a_large_process_began_it_and_ends_when_it_has_grown(aside: Aside) -> None:
    large = bytearray(b"x" * doing.GROWN_BYTES)
    pid = await aside.run(asides.tell_process, team=1)
    assert await aside.run(asides.tell_process, team=1) == pid
    del large
    await aside.run(partial(asides.keep, doing.GROWN_BYTES), team=1)
    assert await aside.run(asides.tell_process, team=1) != pid


def run_alone(code: str) -> list[str]:
    """The words that a program says in whose ``main`` this is, with an ``aside``."""
    begun = "import asyncio, os; from core.aside import Aside; from tests.core import asides; aside = Aside('alone')"
    code = f"{begun}\nasync def main():\n" + "".join(f"    {line}\n" for line in code.splitlines())
    said = subprocess.run(
        [sys.executable, "-c", f"{code}\nasyncio.run(main())"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return said.stdout.split()


async def test_it_ends_with_the_process_that_began_it() -> None:
    (pid,) = await asyncio.to_thread(
        run_alone, "print(await aside.run(asides.tell_process, team=1), flush=True)\nos._exit(0)"
    )
    await asyncio.to_thread(wait_for, lambda: not is_running(int(pid)))


FORKING = """
print(await aside.run(asides.tell_process, team=1), flush=True)
if forked := os.fork():
    os.waitpid(forked, 0)
    print(await aside.run(asides.tell_process, team=1), flush=True)
else:
    # The loop is the parent's.
    asyncio._set_running_loop(None)
    print(asyncio.run(aside.run(asides.tell_process, team=1)), flush=True)
    os._exit(0)
"""


async def test_a_forked_process_has_its_own() -> None:
    first, of_the_child, last = await asyncio.to_thread(run_alone, FORKING)
    assert first == last != of_the_child


async def test_a_process_of_many_connections_has_one_too(aside: Aside) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = before
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
    try:
        with ExitStack() as held:
            for _ in range(1_100):
                held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            assert await aside.run(partial(asides.add, 1, 1), team=1) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_where_it_cannot_be_started_it_is_not_there(
    aside: Aside, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(aside_module, "_PROGRAM", "core.no_such_program")
    with pytest.raises(NotThere):
        await aside.run(asides.tell_process, team=1)
    assert "before it was ready" in caplog.text


async def test_where_it_could_not_be_started_it_is_not_tried_for_each_piece(
    aside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def start(*_: object, **__: object) -> None:
        tried.append(1)
        raise OSError(errno.EMFILE, "too many")

    with monkeypatch.context() as patched:
        patched.setattr(aside_module, "start_program", start)
        for _ in range(3):
            with pytest.raises(NotThere):
                await aside.run(asides.tell_process, team=1)
    assert tried == [1]
    monkeypatch.setattr(aside_module, "AGAIN_SECONDS", 0.0)
    assert await aside.run(partial(asides.add, 1, 1), team=1) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Forbidden("No.", rule="a:b", data={"x": 1}),
        InvalidInput("No.", errors=[{"path": "$.a", "message": "Not so."}], code="odd"),
        RateLimited("No.", retry_after=3, rule="a:b"),
        SourceError("No.", code="query_invalid", data={"position": 3}, retryable=True),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_errors_of_marinas_come_back_whole(fault: MarinaError) -> None:
    again = pickle.loads(pickle.dumps(fault))
    assert (type(again), vars(again), again.args) == (type(fault), vars(fault), fault.args)
