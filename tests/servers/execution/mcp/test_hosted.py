"""Commands of data sources, in the sandbox for real: one process that all share, on demand, and each odd one's end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from core.errors import InvalidInput, SourceError
from core.hostedcommands import HostedCommand
from core.outbound import AllowAddress
from servers.execution.addresses import allow_public
from servers.execution.backends.mcp import hosted, keptlines, stdio
from servers.execution.backends.mcp.backend import McpBackend
from servers.execution.contract import Hosted, Operation, Outcome, Source
from servers.execution.engine import Engine
from tests.hosted.commands import command, packages
from tests.leftovers import Leftovers
from tests.servers.execution.mcp.conftest import Client
from tests.servers.execution.mcp.test_asking import OfLegacy

pytestmark = pytest.mark.anyio

CONNECTS = int(os.environ.get("MARINA_HOSTED_CONNECTS", "12"))
"""How often the command of a source is begun and ended, one after another."""


class Hosting:
    """An engine that may run some commands, with what it noted of them."""

    def __init__(self, *allowed: HostedCommand, allow: AllowAddress = allow_public) -> None:
        allowed = allowed or (
            command("odd", arguments=True, memory=256, disk=4, processes=24),
            command("yard", note="A yard."),
        )
        self.notes: list[Hosted] = []
        self.lines: list[str] = []
        self._noted = asyncio.Event()
        self.engine = Engine(hosted_commands=allowed, note_hosted=self._note, allow_address=allow)
        backend = self.engine.backend("mcp")
        assert isinstance(backend, McpBackend)
        self.backend = backend

    def _note(self, source: Source, state: Hosted | None, lines: Sequence[str]) -> None:
        if state is not None:
            self.notes.append(state)
            self._noted.set()
        self.lines += lines

    @property
    def states(self) -> list[str]:
        return [note.state for note in self.notes]

    async def until(self, state: str) -> Hosted:
        """The last note, once it is of this state."""
        async with asyncio.timeout(60):
            while not self.notes or self.notes[-1].state != state:
                self._noted.clear()
                await self._noted.wait()
        return self.notes[-1]

    async def call(
        self,
        source: Source,
        tool: str,
        *,
        client: Client | None = None,
        timeout: float = 20,
        **arguments: Any,
    ) -> Outcome:
        operation = Operation("tool", {"name": tool})
        return await self.engine.execute(
            source, operation, arguments, timeout=timeout, context=client or Client()
        )

    async def run(self, source: Source, code: str, **more: Any) -> str:
        return (await self.call(source, "run", code=code, **more)).text


def odd(*kinds: str, **settings: Any) -> Source:
    return source("odd", args=list(kinds), **settings)


def yard(**settings: Any) -> Source:
    return source("yard", env={**packages(), **settings.pop("env", {})}, **settings)


def source(name: str, **settings: Any) -> Source:
    return Source(uuid4(), 1, "hosted", "mcp", 1, {"command": name, **settings})


def made_by(text: str) -> list[int]:
    """The processes of this machine that have a text in their words, but for those of tests that run beside these."""
    found = set()
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                words = (place / "cmdline").read_text(errors="replace")
            except OSError:
                continue
            if text in words:
                found.add(int(place.name))
    me = psutil.Process()
    beside = [each for each in psutil.Process(me.ppid()).children() if each.pid != me.pid]
    # Looked up afterwards: what they begin meanwhile is theirs, too.
    return sorted(found - {each.pid for other in beside for each in other.children(recursive=True)})


async def begun(text: str, seconds: float = 60.0) -> bool:
    """Whether there is one, at the latest then: a process that takes on its program has no words for a moment."""
    until = time.monotonic() + seconds
    while not made_by(text):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.01)
    return True


async def gone(text: str, seconds: float = 60.0) -> bool:
    """Whether none is left, at the latest then: what other tests end has for a moment nobody that it comes of."""
    until = time.monotonic() + seconds
    while made_by(text):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.05)
    return True


@pytest.fixture
async def hosting() -> AsyncIterator[Hosting]:
    hosting = Hosting()
    yield hosting
    await hosting.engine.close()


async def test_all_that_it_offers_is_shown_and_called_by_one_process(hosting: Hosting) -> None:
    given = yard()
    fetched = await hosting.backend.fetch_documents(given.settings)
    offering = hosting.backend.offered(hosting.backend.clean_settings(fetched))
    described = {tool.name: tool.description for tool in offering.tools}
    assert "(From the hosted MCP server yard)" in described["add"]
    assert hosting.states == []  # it was for a look only

    outcomes = await asyncio.gather(
        *(hosting.call(given, "add", client=Client(f"key:{n}"), a=n, b=1) for n in range(30))
    )
    assert [outcome.structured for outcome in outcomes] == [{"result": n + 1} for n in range(30)]
    processes = {(await hosting.call(given, "process")).text for _ in range(3)}
    assert (len(processes), hosting.states) == (1, ["starting", "running"])
    client = Client()
    await hosting.call(given, "sail", client=client)
    assert client.told == [(mile, 3, f"mile {mile}") for mile in (1, 2, 3)]
    assert (await hosting.engine.check(given)).state == "healthy"


async def test_it_has_of_our_environment_nothing(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARINA_MASTER_KEY", "our-own-key")
    found = await hosting.run(
        odd("telling", env={"KEY": "a-key-of-theirs"}),
        "print(sorted(os.environ.items())); print(os.listdir('/'))",
    )
    assert ("a-key-of-theirs" in found, "MARINA" in found, "our-own-key" in found) == (True, False, False)
    await hosting.engine.close()
    assert hosting.lines == ["the key is [masked]"]


ESCAPES = {
    "our environment": ("print(open('/proc/1/environ').read() + open('/proc/self/environ').read())", "HOME="),
    "other processes": ("print([each for each in os.listdir('/proc') if each.isdecimal()])", "['1', '2']"),
    "the network": ("import socket; socket.create_connection(('1.1.1.1', 53), 3)", "unreachable"),
    "this machine": ("import socket; socket.create_connection(('127.0.0.1', 22), 3)", "refused"),
    "the machine beneath": ("import socket; socket.socket(40, 1)", "PermissionError"),
    "files of ours": ("print(os.listdir('/work')); print(open('/etc/shadow').read())", "Error"),
    "the system": ("open('/usr/bin/x', 'w')", "Error"),
    "a full disk": ("open(os.environ['HOME'] + '/x', 'wb').write(bytes(5_000_000))", "Error"),
    "another user": ("os.setuid(0)", "Invalid argument"),
    "the kernel": ("import ctypes; print(ctypes.CDLL(None, use_errno=True).unshare(0x10000000))", "-1"),
}


@pytest.mark.parametrize("what", ESCAPES)
async def test_it_reaches_for_what_is_not_its_own(hosting: Hosting, what: str) -> None:
    code, says = ESCAPES[what]
    given = odd()
    found = await hosting.run(given, code)
    assert says in found, found
    assert "MARINA" not in found
    # It goes on as if nothing had been.
    assert await hosting.run(given, "print(7)") == "7\n"


async def test_a_fork_bomb_hits_its_bound_and_nobody_else(hosting: Hosting) -> None:
    given, other = odd(), odd()
    bomb = (
        "n = 0\ntry:\n  while os.fork(): n += 1\n  time.sleep(1000)\nexcept OSError: print(n, 'then no more')"
    )
    found = await hosting.run(given, bomb)
    assert "then no more" in found
    assert int(found.split()[0]) < 24
    assert await hosting.run(other, "print(os.fork() and 1 or os._exit(0))") == "1\n"


async def test_memory_of_all_its_processes_is_counted(hosting: Hosting) -> None:
    given = odd()
    # Each of them holds less than one may.
    hoard = "for _ in range(4):\n  if not os.fork():\n    x = b'x' * 100_000_000\n    break\ntime.sleep(1000)"
    with pytest.raises(SourceError) as fault:
        await hosting.run(given, hoard)
    assert "used more than 256 MB of memory" in fault.value.message
    state = await hosting.until("waiting")
    assert "used more than 256 MB" in state.reason
    # A moment later it is begun anew.
    assert await hosting.run(given, "print(7)") == "7\n"


async def test_what_it_writes_that_is_no_message_is_kept_aside(hosting: Hosting) -> None:
    given = odd("talkative")
    assert await hosting.run(given, "print(7)") == "7\n"
    await hosting.engine.close()
    assert hosting.lines == ["stdout: Welcome to the odd server!"]


async def test_garbage_without_end_ends_it(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    given = odd()
    with pytest.raises(SourceError) as fault:
        await hosting.run(given, "while True: sys.__stdout__.write('garbage\\n')")
    assert "lines to its output that are no messages of MCP" in fault.value.message
    assert (await hosting.until("waiting")).restarts == 1
    assert len(hosting.lines) <= hosting.notes[-1].restarts * 3 * keptlines.LINES_A_SECOND

    monkeypatch.setattr(stdio, "MAX_LINE_BYTES", 100_000)
    with pytest.raises(SourceError) as fault:
        await hosting.run(odd(), "while True: sys.__stdout__.write('x' * 65536)")
    assert (fault.value.code, "message of more than" in fault.value.message) == ("result_too_large", True)


async def test_a_wrong_id_and_too_much_end_their_call_alone(hosting: Hosting) -> None:
    given = odd(max_bytes=2_000)
    with pytest.raises(SourceError) as fault:
        await hosting.run(given, "write({'jsonrpc': '2.0', 'id': 99, 'result': {}})")
    assert fault.value.code == "source_not_mcp"
    with pytest.raises(SourceError) as fault:
        await hosting.run(given, "print('x' * 5000)")
    assert fault.value.code == "result_too_large"
    assert await hosting.run(given, "print(7)") == "7\n"
    assert hosting.states == ["starting", "running"]


async def test_one_that_ignores_sigterm_is_killed_with_all_it_began(hosting: Hosting) -> None:
    given = odd("deaf")
    mark = f"sleep-{uuid4()}"
    await hosting.run(
        given,
        f"import subprocess; subprocess.Popen(['/bin/sh', '-c', 'trap \"\" TERM; : {mark}; sleep 1000; :'])",
    )
    assert await begun(mark)
    began = time.monotonic()
    await hosting.engine.close()
    assert time.monotonic() - began < 40
    assert await gone(mark)


async def test_who_stops_waiting_leaves_the_process_to_others(hosting: Hosting) -> None:
    given = yard()
    assert (await hosting.call(given, "add", a=1, b=2)).structured == {"result": 3}
    with pytest.raises(SourceError) as late:
        await hosting.call(given, "wait", seconds=60, timeout=3)
    assert late.value.code == "source_timeout"
    assert (await hosting.call(given, "add", a=1, b=2)).structured == {"result": 3}
    assert hosting.states == ["starting", "running"]


async def test_one_that_ends_is_begun_again_later_and_later(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between the longest second wait and the shortest third one.
    monkeypatch.setattr(hosted, "PATIENCE_SECONDS", 2.7)
    given = odd("ending")
    waits = []
    for _ in range(5):
        with pytest.raises(SourceError) as fault:
            await hosting.run(given, "print(7)")
        if fault.value.code == "source_restarting":
            break
        waits.append((hosting.notes[-1].next_try or 0) - hosting.notes[-1].at)
    assert "ended with status 3" in fault.value.message
    # Where the machine stalls, so much of the third wait is over that it is waited for the rest.
    assert (fault.value.code, fault.value.retryable) == ("source_restarting", True)
    assert len(waits) in (3, 4)
    for wait, about in zip(waits, (1, 2, 4, 8), strict=False):
        assert 0.74 * about <= wait <= 1.26 * about
    await hosting.engine.close()
    assert "no such option" in hosting.lines


async def test_why_it_does_not_start_is_told_to_whoever_enters_it(hosting: Hosting) -> None:
    with pytest.raises(InvalidInput) as fault:
        await hosting.backend.fetch_documents({"command": "odd", "args": ["ending"]})
    (found,) = fault.value.errors
    assert found["path"] == "command"
    assert "ended with status 3" in found["message"]
    assert found["message"].endswith("no such option")
    assert "no such option" not in fault.value.message


async def test_one_that_ends_in_the_middle_is_begun_anew(hosting: Hosting) -> None:
    given = yard()
    with pytest.raises(SourceError) as fault:
        await hosting.call(given, "end", status=9)
    assert "ended with status 9" in fault.value.message
    assert (await hosting.call(given, "add", a=1, b=2)).structured == {"result": 3}
    assert hosting.states == ["starting", "running", "waiting", "starting", "running"]


async def test_one_that_takes_nothing_but_a_handshake_first_is_begun_with_it(hosting: Hosting) -> None:
    assert await hosting.run(odd("touchy"), "print(7)") == "7\n"


async def test_one_that_says_nothing_is_given_up(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(hosted, "START_SECONDS", 1.0)
    with pytest.raises(SourceError) as fault:
        await hosting.run(odd("silent"), "print(7)")
    assert "did not answer within 1 s" in fault.value.message
    assert hosting.states == ["starting", "waiting"]
    assert await gone("odd.py\0silent")


async def test_it_is_ended_when_nobody_uses_it_and_begun_again(hosting: Hosting) -> None:
    given = odd()
    await hosting.run(given, "print(7)")
    await hosting.backend.upstreams.close_idle(now=time.monotonic() + hosted.IDLE_SECONDS / 2)
    assert hosting.states == ["starting", "running"]
    await hosting.backend.upstreams.close_idle(now=time.monotonic() + hosted.IDLE_SECONDS + 1)
    assert (await hosting.until("stopped")).reason == ""
    assert await hosting.run(given, "print(8)") == "8\n"


async def test_one_that_is_too_old_answers_what_it_was_asked_while_another_takes_its_place(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = yard()
    first = (await hosting.call(given, "process")).text
    waiting = asyncio.create_task(hosting.call(given, "wait", seconds=2))
    await asyncio.sleep(0.2)
    monkeypatch.setattr(hosted._Run, "is_old", property(lambda run: not run.asked_more or run is old))
    async with hosting.backend.upstreams.use(given) as upstream:
        old = upstream._connector._run  # type: ignore[attr-defined]  # a command's
    await hosting.call(given, "say", text="from the second")
    assert (await waiting).text == "waited"
    assert first
    await hosting.engine.close()
    assert "from the second" in hosting.lines


QUESTION = (
    "import json\n"
    "write({'jsonrpc': '2.0', 'id': 'q', 'method': 'elicitation/create', 'params': {'message': 'Which first?'}})\n"
    "print(json.loads(sys.stdin.readline()).get(%r))"
)


async def test_a_question_goes_to_the_only_caller_there_is(hosting: Hosting) -> None:
    client = OfLegacy()
    assert "Ann" in await hosting.run(odd(), QUESTION % "result", client=client)
    assert len(client.asked) == 1


async def test_a_question_that_could_be_anybodys_is_refused(hosting: Hosting) -> None:
    given = odd()
    await hosting.run(given, "print(7)")
    first, second = OfLegacy("key:1"), OfLegacy("key:2")
    asks = f"sys.stdin.readline()\n{QUESTION % 'error'}"
    refused = asyncio.create_task(hosting.run(given, asks, client=first, timeout=60))
    # Read by the first one's, it is never answered.
    waiting = asyncio.create_task(hosting.run(given, "print(8)", client=second, timeout=60))
    assert "does not say which of them" in await refused
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (first.asked, second.asked) == ([], [])


async def test_only_what_the_operator_allows_is_run(hosting: Hosting) -> None:
    for settings, path in (
        ({"command": "bash"}, "command"),
        ({"command": "yard", "args": ["-c"]}, "args"),
        ({"command": "odd", "url": "https://example.com/mcp", "transport": "stdio"}, "url"),
        ({"command": "odd", "env": {"LD_PRELOAD": "/tmp/x.so"}}, "env.LD_PRELOAD"),
        ({"command": "odd", "env": {"PATH": "/tmp"}}, "env.PATH"),
        ({"command": "odd", "auth": "bearer", "token": "abc"}, "auth"),
        ({"url": "https://example.com/mcp", "env": {"A": "b"}}, "env"),
    ):
        with pytest.raises(InvalidInput) as fault:
            hosting.backend.clean_settings(settings)
        assert path in [each["path"] for each in fault.value.errors]
    with pytest.raises(SourceError) as refused:
        await hosting.call(source("bash"), "any")
    assert refused.value.code == "source_denied"
    assert McpBackend().settings_schema["required"] == ["url"]
    with pytest.raises(InvalidInput):
        McpBackend().clean_settings({"command": "odd"})


async def test_so_many_commands_run_and_no_more(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.execution.backends.mcp.hosting.MAX_RUNS_OF_TEAM", 2)
    for given in (odd(), odd()):
        await hosting.run(given, "print(7)")
    with pytest.raises(SourceError) as busy:
        await hosting.run(odd(), "print(7)")
    assert (busy.value.code, "of this team" in busy.value.message) == ("source_busy", True)
    # What is not stored yet has its place among those of the team that looks at it.
    with pytest.raises(InvalidInput) as refused:
        await hosting.backend.fetch_documents({"command": "odd"}, team=1)
    assert refused.value.code == "source_busy"
    assert (await hosting.backend.fetch_documents({"command": "odd"}, team=2))["command"] == "odd"


@pytest.mark.timeout(120 + 3 * CONNECTS)
async def test_nothing_is_left_behind(hosting: Hosting) -> None:
    mark = str(uuid4())
    given = odd(mark)
    await hosting.run(given, "print(7)")
    await hosting.engine.close()
    left = Leftovers()
    for _ in range(CONNECTS):
        assert await hosting.run(given, "print(7)") == "7\n"
        await hosting.backend.upstreams.close()
    await left.none()
    # Those of the runtime, which other tests have used, go on.
    assert await gone(mark)
