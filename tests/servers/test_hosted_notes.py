"""What is told of hosted commands: in order, of what runs now, and no longer than it does. On real Redis."""

from __future__ import annotations

from dataclasses import replace
from time import time
from uuid import uuid4

import orjson
import pytest
from django.conf import settings

from core.bus import Bus
from servers.execution.contract import Hosted, Source
from servers.services import hosted_notes
from servers.services.hosted_notes import HostedNotes

pytestmark = pytest.mark.anyio


def source() -> Source:
    return Source(uuid4(), 1, "ships", "mcp", 1, {})


async def test_one_that_ends_late_takes_nothing_from_the_one_that_runs() -> None:
    bus = Bus(settings.ENV.redis_url)
    notes = HostedNotes(bus)
    now = time()
    for former, later in ((1, 1), (1, 2)):
        given = source()
        notes.note(given, Hosted("running", now, now, number=1), [])
        changed = replace(given, version=later)
        notes.note(changed, Hosted("starting", now, number=2), [])
        notes.note(changed, Hosted("running", now, now, reason="the later one", number=2), [])
        notes.note(replace(given, version=former), Hosted("stopped", now, number=1), ["its last line"])
        await notes.settle()
        found = await notes.read(1, given.id)
        assert [(run.state, run.reason) for run in found.runs] == [("running", "the later one")]
        assert [line.text for line in found.lines] == ["its last line"]
        notes.note(changed, Hosted("stopped", now, number=2), [])
        await notes.settle()
        assert (await notes.read(1, given.id)).runs == []
    await notes.close()
    await bus.close()


async def test_nothing_stays_of_processes_that_are_gone() -> None:
    bus = Bus(settings.ENV.redis_url)
    given = source()
    key = f"marina:hosted:1:{given.id}"
    old = [time() - hosted_notes.BELIEVED_SECONDS - 1, "running", 1.0, 1.0, 0, "", None]
    await bus.redis.hset(
        key, mapping={"killed:1": orjson.dumps(old), "stopped:1": orjson.dumps([time(), "stopped", *old[2:]])}
    )
    notes = HostedNotes(bus)
    notes.note(given, Hosted("starting", time(), number=1), [])
    await notes.settle()
    assert list(await bus.redis.hgetall(key)) == [notes._process.encode()]
    notes.note(given, Hosted("stopped", time(), number=1), [])
    await notes.settle()
    assert await bus.redis.hgetall(key) == {}
    await notes.close()
    await bus.close()
