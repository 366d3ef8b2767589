"""Commands that hang, end or fail otherwise, in the sandbox for real: each is found out, told, and begun again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from core.errors import SourceError
from core.sandbox import Box
from core.sandboxed import Sandboxed, start
from servers.execution.backends.mcp import hosted, stdio
from servers.execution.backends.mcp import hosting as hosting_module
from tests.servers.execution.mcp.test_hosted import Hosting, gone, made_by, odd, yard

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hosting() -> AsyncIterator[Hosting]:
    hosting = Hosting()
    yield hosting
    await hosting.engine.close()


async def test_one_that_hangs_is_found_out_and_begun_again(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted, "PING_SECONDS", 0.5)
    given, busy = odd(), yard()
    await hosting.run(given, "print(7)")
    for _ in range(hosted.LATE_CALLS):
        assert hosting.states == ["starting", "running"][: len(hosting.states)]
        with pytest.raises(SourceError) as fault:
            await hosting.run(given, "time.sleep(1000)", timeout=1.5)
        assert fault.value.code == "source_timeout"
    assert (await hosting.until("waiting")).reason == "it answered none of 3 calls, nor a ping"
    assert await hosting.run(given, "print(7)") == "7\n"
    assert hosting.notes[-1].restarts == 1
    await hosting.engine.close()
    assert "Marina ended it: it answered none of 3 calls, nor a ping" in hosting.lines

    hosting.notes.clear()
    monkeypatch.setattr(hosted, "PING_SECONDS", 60.0)
    await hosting.call(busy, "add", a=1, b=2)
    for _ in range(hosted.LATE_CALLS + 1):
        with pytest.raises(SourceError) as fault:
            await hosting.call(busy, "wait", seconds=60, timeout=2.5)
        assert fault.value.code == "source_timeout"
    await asyncio.sleep(1)
    assert (await hosting.call(busy, "add", a=1, b=2)).structured == {"result": 3}
    assert hosting.states == ["starting", "running"]


def groups_sessions() -> bool:
    """Whether Linux has a group for each session, as its kernel is made and set."""
    new = subprocess.run(
        [sys.executable, "-c", "print(open('/proc/self/autogroup').read())"],
        start_new_session=True,
        capture_output=True,
        check=False,
    )
    return bool(new.stdout.strip())


async def test_one_that_computes_without_end_stands_back(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not groups_sessions():
        return  # Then nothing but how nice it is counts, and it is from its beginning.
    monkeypatch.setattr(hosted, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(hosted, "SPARE_SECONDS", 0.5)
    # The machine may be busy.
    monkeypatch.setattr(hosted, "SHARE", 0.01)
    mark = str(uuid4())
    spinning = asyncio.create_task(hosting.run(odd(mark), "while True: pass"))
    async with asyncio.timeout(60):
        while not any(nice_of(pid) == "19" for pid in made_by(mark)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    spinning.cancel()
    await asyncio.gather(spinning, return_exceptions=True)


def nice_of(pid: int) -> str:
    """That of the group that a process is of."""
    try:
        # A process of no session's group has an empty one.
        return Path(f"/proc/{pid}/autogroup").read_text().rpartition(" ")[2].strip()
    except OSError:
        return ""


async def test_what_nobody_thought_of_ends_it_and_is_told(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = str(uuid4())
    given = odd(mark)
    await hosting.run(given, "print(7)")
    with monkeypatch.context() as patch:
        patch.setattr(stdio, "read_messages", None)
        with pytest.raises(SourceError) as fault:
            await hosting.run(given, "print(8)")
        assert "what it wrote could not be read" in fault.value.message
        assert await gone(mark)
    assert (await hosting.until("waiting")).restarts == 1

    async def fail(box: Box) -> Sandboxed:
        raise RuntimeError

    monkeypatch.setattr(hosted, "start", fail)
    with pytest.raises(SourceError) as fault:
        await hosting.run(given, "print(7)")
    assert "it could not be begun" in fault.value.message
    assert hosting.notes[-1].state == "waiting"


async def test_a_check_begins_it_once_and_not_sooner_than_a_call_would(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes: list[Box] = []

    async def count(box: Box) -> Sandboxed:
        boxes.append(box)
        return await start(box)

    monkeypatch.setattr(hosted, "start", count)
    given = yard()
    fetched = await hosting.backend.fetch_documents(given.settings)
    stored = hosting.backend.keep_settings(hosting.backend.clean_settings(fetched))
    boxes.clear()
    assert (await hosting.engine.check(replace(given, settings=stored))).state == "healthy"
    assert len(boxes) == 1

    boxes.clear()
    monkeypatch.setattr(hosting_module, "FIRST_WAIT_SECONDS", 100.0)
    broken = odd("ending")
    codes = [(await hosting.engine.check(broken)).code for _ in range(3)]
    assert codes == ["source_failed", "source_restarting", "source_restarting"]
    assert len(boxes) == 2  # begun once more with a handshake, as some need it
    with pytest.raises(SourceError) as fault:
        await hosting.run(broken, "print(7)")
    assert fault.value.code == "source_restarting"
    # Other settings may be better ones.
    assert (await hosting.engine.check(replace(broken, version=2))).code == "source_failed"
