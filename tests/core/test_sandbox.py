"""The sandbox, with a program in it that tries: what it sees, what it may use, and that it ends with all it began."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core import sandboxed as sandboxed_module
from core.sandbox import Bounds, Box, texts_of, words_of
from core.sandboxed import Sandboxed, start, try_sandbox
from tests.leftovers import Leftovers

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to wait for a processor is neither stuck nor deaf."""
    monkeypatch.setattr(sandboxed_module, "START_SECONDS", 60.0)
    monkeypatch.setattr(sandboxed_module, "CLOSE_SECONDS", 60.0)


HERE = Path(__file__).resolve().parents[2]
PYTHON = os.path.realpath(sys.executable)


async def said_by(script: str, *, seconds: float = 60, **box: object) -> str:
    """What a shell script writes in a sandbox, errors too."""
    sandboxed = await start(Box(["/bin/sh", "-c", f"exec 2>&1\n{script}"], **box))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(seconds):
            return (await sandboxed.stdout.read()).decode()
    finally:
        await sandboxed.end(at_once=True)


def all_processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]


def command_of(pid: int) -> str:
    """The words of a process; none where it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_sandbox_can_be_made_here() -> None:
    assert await try_sandbox() == ""


async def test_it_finds_nothing_of_our_environment_and_files() -> None:
    os.environ["OUR_SECRET"] = "ours"
    try:
        environment = await said_by("env; cat /proc/1/environ /proc/*/environ", environment={"KEY": "theirs"})
    finally:
        del os.environ["OUR_SECRET"]
    assert ("KEY=theirs" in environment, "ours" in environment) == (True, False)
    found = await said_by(f"ls / {HERE} /root /home; cat /etc/shadow /etc/passwd; ls /var /run /sys /boot")
    assert "sandbox:x:1000" in found
    assert "manage.py" not in found
    assert "root:" not in found
    assert found.count("No such file or directory") >= 6


async def test_it_may_write_to_its_home_and_tmp_alone_and_has_no_rights() -> None:
    places = "/usr/bin/x /etc/x /x /dev/x /proc/sys/kernel/hostname /bin/x"
    tried = await said_by(
        f"for p in {places}; do echo x > $p && echo WROTE $p; done; echo y > ~/y && cat ~/y; id -u"
    )
    assert "WROTE" not in tried
    assert tried.endswith("y\n1000\n")
    status = await said_by("grep -E 'Cap|NoNew|Seccomp:' /proc/self/status")
    assert {line.split()[1] for line in status.splitlines() if line.startswith("Cap")} == {"0" * 16}
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


async def test_it_sees_no_process_and_no_network_but_its_own() -> None:
    seen = await said_by("cat /proc/[0-9]*/comm; cat /proc/net/dev; kill -9 1; echo still here")
    assert set(seen.split("Inter-")[0].split()) <= {"bwrap", "sh", "cat"}
    assert [line.split(":")[0].strip() for line in seen.splitlines() if ":" in line] == ["lo"]
    assert "still here" in seen


async def test_secrets_are_no_arguments() -> None:
    box = Box(["/bin/cat"], {"KEY": "a-secret-value"})
    assert "a-secret-value" not in repr(box)
    assert "a-secret-value" not in " ".join(words_of(box, [3, 4, 5, 6, 7, 8], [9, 10], filtered=True))
    assert any(b"a-secret-value" in text for text in texts_of(box, None))
    sandboxed = await start(box)
    assert "bwrap" in "".join(map(command_of, all_processes()))
    assert not [pid for pid in all_processes() if "a-secret-value" in command_of(pid)]
    await sandboxed.end()


async def test_system_calls_that_nobody_needs_are_refused() -> None:
    # unshare(CLONE_NEWUSER), a socket to the machine beneath (vsock), and the kernel's own log.
    tried = await said_by("unshare -U true; dmesg; mount -t tmpfs none /tmp; echo done")
    assert tried.count("ermission denied") + tried.count("not permitted") >= 2
    assert tried.endswith("done\n")


async def test_a_disk_that_is_full_is_its_own() -> None:
    filled = await said_by(
        "for d in /tmp ~ /dev/shm; do for i in 1 2 3; do head -c 3000000 /dev/zero > $d/$i || echo full $d; done; done",
        bounds=Bounds(disk=4),
    )
    assert {line.split()[1] for line in filled.splitlines() if line.startswith("full ")} == {
        "/tmp",
        "/home/sandbox",
        "/dev/shm",
    }


async def test_a_fork_bomb_stops_at_the_bound_and_ends_at_once() -> None:
    bomb = "import os, time\nn = 0\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.05)"
    sandboxed = await start(
        Box(
            [PYTHON, "-c", bomb],
            folders=[sys.base_prefix],
            bounds=Bounds(processes=20),
        )
    )
    most = 0
    async with asyncio.timeout(60):
        while most <= 5:
            await asyncio.sleep(0.05)
            most = max(most, sandboxed.processes())
    for _ in range(20):
        await asyncio.sleep(0.05)
        most = max(most, sandboxed.processes())
    assert 5 < most <= 20
    began = time.monotonic()
    await sandboxed.end(at_once=True)
    # It was not waited for that it ends by itself.
    assert time.monotonic() - began < sandboxed_module.CLOSE_SECONDS / 2
    assert not is_there(sandboxed.first)


async def test_memory_is_bounded_for_each_process_and_counted_for_all() -> None:
    greedy = "x = []\nwhile True: x.append(bytearray(50_000_000))"
    sandboxed = await start(
        Box(
            [PYTHON, "-c", greedy],
            folders=[sys.base_prefix],
            bounds=Bounds(memory=64),
        )
    )
    async with asyncio.timeout(60):
        errors = (await sandboxed.stderr.read()).decode()
    assert "MemoryError" in errors
    await sandboxed.wait()
    assert sandboxed.status == 1
    await sandboxed.end()


async def test_memory_that_no_bound_counts_is_refused() -> None:
    hidden = "import os\nfile = os.memfd_create('x')\nos.truncate(file, 10)"
    sandboxed = await start(Box([PYTHON, "-c", hidden], folders=[sys.base_prefix]))
    async with asyncio.timeout(60):
        assert b"PermissionError" in await sandboxed.stderr.read()
    await sandboxed.wait()
    await sandboxed.end()


async def test_processor_time_is_bounded() -> None:
    sandboxed = await start(Box(["/bin/sh", "-c", "while :; do :; done"], bounds=Bounds(cpu_seconds=1)))
    # One second of a processor, which others have before it.
    async with asyncio.timeout(100):
        await sandboxed.wait()
    await sandboxed.end()
    assert sandboxed.status in {128 + signal.SIGXCPU, 128 + signal.SIGKILL}


async def test_it_stands_back_behind_others() -> None:
    usual = os.sched_getaffinity(0)
    # All of it on one processor: who runs there is the question.
    os.sched_setaffinity(0, {min(usual)})
    try:
        spinning = await ready("echo ready; while :; do :; done")
        spinning.give_way(19)
        behind = share_of(spinning)
        spinning.give_way(0)
        even = share_of(spinning)
        await spinning.end(at_once=True)
    finally:
        os.sched_setaffinity(0, usual)
    assert behind < 0.25
    # Where sessions are no groups, it is nice from its beginning.
    assert behind < even / 2 or not is_grouped()


def is_grouped() -> bool:
    return Path("/proc/self/autogroup").exists()


def share_of(sandboxed: Sandboxed) -> float:
    """What it computes while we compute a second."""
    theirs, ours = sandboxed.computed(), time.thread_time()
    while time.thread_time() < ours + 1:
        pass
    return sandboxed.computed() - theirs


async def ready(script: str) -> Sandboxed:
    sandboxed = await start(Box(["/bin/sh", "-c", script]))
    assert await sandboxed.stdout.readline() == b"ready\n"
    return sandboxed


async def test_it_ends_when_its_input_does_else_by_sigterm_else_by_sigkill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_itself = await ready("echo ready; cat; exit 5")
    await by_itself.end()
    assert by_itself.status == 5
    monkeypatch.setattr(sandboxed_module, "CLOSE_SECONDS", 0.5)
    monkeypatch.setattr(sandboxed_module, "TERM_SECONDS", 60.0)
    told = await ready("trap 'exit 6' TERM; echo ready; while :; do sleep 0.1; done")
    await told.end()
    assert told.status == 6
    monkeypatch.setattr(sandboxed_module, "TERM_SECONDS", 0.5)
    deaf = await ready("trap '' TERM; (trap '' TERM; sleep 1000) & echo ready; while :; do sleep 0.1; done")
    below = deaf.processes()
    await deaf.end()
    assert (below >= 2, deaf.running, is_there(deaf.first)) == (True, False, False)


async def test_one_that_ends_late_is_no_fault_of_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxed_module, "CLOSE_SECONDS", 0.3)
    monkeypatch.setattr(sandboxed_module, "TRY_SECONDS", 60.0)
    monkeypatch.setattr(
        sandboxed_module, "start", lambda box: start(replace(box, program=["/bin/sleep", "1"]))
    )
    assert await try_sandbox() == ""


async def test_what_cannot_be_begun_leaves_no_open_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, flags: int) -> int:
        raise OSError

    await try_sandbox()
    left = Leftovers()
    monkeypatch.setattr(os, "memfd_create", fail)
    assert "could not be started" in await try_sandbox()
    await left.none()


async def test_who_gives_up_while_it_begins_leaves_nothing() -> None:
    mark = f"1000.{secrets.randbelow(10**9)}"
    for milliseconds in range(0, 120, 4):
        beginning = asyncio.create_task(start(Box(["/bin/sleep", mark])))
        await asyncio.sleep(milliseconds / 1_000)
        beginning.cancel()
        (begun,) = await asyncio.gather(beginning, return_exceptions=True)
        if isinstance(begun, Sandboxed):
            await begun.end(at_once=True)
    async with asyncio.timeout(60):
        while any(mark in command_of(pid) for pid in all_processes()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def test_it_dies_with_the_process_that_began_it(tmp_path: Path) -> None:
    script = tmp_path / "begin.py"
    script.write_text(
        "import asyncio, time\n"
        "from core.sandbox import Box\n"
        "from core.sandboxed import start\n"
        "async def begin():\n"
        "    made = await start(Box(['/bin/sleep', '1000']))\n"
        "    print(made.first, flush=True)\n"
        "    time.sleep(1000)\n"
        "asyncio.run(begin())\n"
    )
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE / "platform")},
    ) as process:
        assert process.stdout is not None
        first = int(process.stdout.readline())
        assert is_there(first)
        process.kill()
    until = time.monotonic() + 60
    while is_there(first) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_there(first)
