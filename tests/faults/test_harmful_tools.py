"""Tools that hang, give far too much, or end whoever runs them: each comes to a clear end, and others go on."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.farside import Asked, FarSide, Send, far_side
from tests.faults.stack import ROUNDS, Stack
from tests.protocol.tasks import TaskClient
from tests.protocol.wireclient import Answer, Endpoint

pytestmark = pytest.mark.timeout(300)

MEBIBYTE: Final = 1 << 20
MUCH: Final = 100
"""Mebibytes."""

UPSTREAM_SECONDS: Final = 2


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as server:
        server.serve("/silent", lambda asked, send: _wait(server))
        server.serve("/much", give_much)
        yield server


@pytest.fixture
def team(stack: Stack, far: FarSide) -> dict[str, Any]:
    """A team with the plugin's tools, and a source whose far side is the test's."""
    (made,) = stack.make_teams(1)
    settings = {"base_url": far.origin, "timeout": UPSTREAM_SECONDS}
    body = {"name": "far", "kind": "http", "settings": settings}
    answer = rest(stack, made, "data-sources", body)
    assert answer.status == 201, answer.body
    return made


def give_much(asked: Asked, send: Send) -> None:
    send(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {MUCH * MEBIBYTE}\r\n\r\n".encode())
    for _ in range(MUCH):
        send(b"x" * MEBIBYTE)


def _wait(server: FarSide) -> None:
    server.over.wait()


def rest(stack: Stack, team: dict[str, Any], path: str, body: object = None) -> Answer:
    place = Endpoint(stack.webs[0].port, f"/api/v1/tenants/{team['slug']}/{path}", team["admin"])
    if body is None:
        return place.send(None, method="GET")
    return place.send(json.dumps(body).encode())


def door(stack: Stack, team: dict[str, Any], web: int = 0) -> Endpoint:
    return Endpoint(stack.webs[web].port, f"/mcp/{team['slug']}", team["key"])


def peak_of(pid: int) -> int:
    """The most memory that a process has had, in MiB, since ``forget_peak``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak(pid: int) -> int:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_of(pid)


def test_an_upstream_that_hangs_costs_its_own_calls_their_time_and_nobody_else_any(
    stack: Stack, team: dict[str, Any]
) -> None:
    other = stack.make_teams(1)[0]
    with ThreadPoolExecutor(40) as pool:
        hanging = [pool.submit(door(stack, team).call, "api_get", {"endpoint": "silent"}) for _ in range(40)]
        slowest = 0.0
        while not all(each.done() for each in hanging):
            began = time.monotonic()
            assert door(stack, other).call("say_number", {"number": 1}).result["structuredContent"]["rows"]
            slowest = max(slowest, time.monotonic() - began)
        answers = [each.result() for each in hanging]
    assert {answer.status for answer in answers} == {200}
    texts = {answer.result["content"][0]["text"] for answer in answers if answer.result["isError"]}
    print(f"another team's slowest call took {slowest:.2f} s; the tool said {texts}")
    assert len(texts) == 1, texts
    assert slowest < UPSTREAM_SECONDS


@pytest.mark.parametrize(
    ("tool", "arguments", "most"),
    [
        ("give_much", {"mebibytes": MUCH}, 5 * MUCH),
        ("api_get", {"endpoint": "much"}, 64),
        ("query_database", {"query": f"SELECT repeat('x', {MUCH * MEBIBYTE}) AS much"}, 3 * MUCH),
    ],
    ids=["of a plugin", "of an HTTP API", "of a database"],
)
def test_a_result_of_100_mb_is_refused_and_its_memory_is_bounded(
    stack: Stack, team: dict[str, Any], tool: str, arguments: dict[str, Any], most: int
) -> None:
    pid = stack.webs[0].pid
    before = forget_peak(pid)
    answer = door(stack, team).call(tool, arguments)
    grown = peak_of(pid) - before
    print(f"{tool}: {grown} MiB more, {answer.body[:300]!r}")
    assert answer.status == 200
    assert answer.result["isError"]
    assert len(answer.body) < 10_000
    assert grown < most
    (record, *_) = rest(stack, team, f"audit/records?tool={tool}").json["results"]
    assert record["outcome"] == "error"
    assert (record["reason"]["code"], stack.webs[0].pid) == ("result_too_large", pid)


def test_a_result_of_100_mb_at_a_worker_ends_its_task_and_not_the_worker(
    stack: Stack, team: dict[str, Any]
) -> None:
    restarts = stack.restarts["runner"]
    client = TaskClient(door(stack, team))
    ended = client.until(client.begin("give_much_later", {"mebibytes": MUCH})["taskId"], seconds=60)
    assert ended["status"] == "completed"
    assert ended["result"]["isError"]
    assert "bytes" in ended["result"]["content"][0]["text"]
    assert stack.restarts["runner"] == restarts


@pytest.mark.timeout(420)
def test_what_ends_its_worker_each_time_is_parked_after_three_and_others_are_done(
    stack: Stack, team: dict[str, Any]
) -> None:
    before = stack.restarts["runner"]
    stack.memory_limits["runner"] = 700 * MEBIBYTE
    client = TaskClient(door(stack, team))
    poisoned = {tool: client.begin(tool)["taskId"] for tool in ("end_process", "devour")}
    ended = {tool: client.until(task_id, seconds=200) for tool, task_id in poisoned.items()}
    del stack.memory_limits["runner"]
    deaths = stack.restarts["runner"] - before
    print(f"the worker died {deaths} times")
    assert {each["status"] for each in ended.values()} == {"failed"}
    assert {each["error"]["data"]["code"] for each in ended.values()} == {"task_parked"}
    # Both may have run at the same time, and one end ends both.
    assert 3 <= deaths <= 6
    for tool, task_id in poisoned.items():
        records = rest(stack, team, f"audit/records?tool={tool}").json["results"]
        assert [each["outcome"] for each in records] == ["error", "intent"]
        assert records[0]["reason"]["code"] == "task_parked"
        task = rest(stack, team, f"tasks/{task_id}").json
        assert task["status"] == "failed"
        assert "3 times" in task["message"]
    assert "a task was given up: its workers ended each time" in stack.text_of("worker")
    stack.wait_until_ready()
    # Who comes after them finds a worker.
    after = client.begin("ponder", {"number": 1, "seconds": 0.1})["taskId"]
    assert client.until(after, seconds=30)["status"] == "completed"


def test_two_workers_do_nothing_twice_though_one_stalls_in_the_middle(
    stack: Stack, team: dict[str, Any]
) -> None:
    client = TaskClient(door(stack, team))
    first = stack.parts["runner"].process
    assert first is not None
    with stack.another_runner():
        for number in range(ROUNDS):
            begun = {
                client.begin("count_later", {"number": 100 * number + each, "seconds": 1})["taskId"]: each
                for each in range(12)
            }
            time.sleep(0.2)
            os.kill(first.pid, signal.SIGSTOP)
            try:
                # Longer than its turns are its own: the other one's scheduler takes them for lost.
                ended = {task_id: client.until(task_id, seconds=60) for task_id in begun}
            finally:
                os.kill(first.pid, signal.SIGCONT)
            codes = [each["error"]["data"]["code"] for each in ended.values() if each["status"] == "failed"]
            assert set(codes) <= {"outcome_unknown"}
            print(f"{len(codes)} of {len(begun)} have an unknown outcome")
        # What the stalled one still did, it does now.
        time.sleep(3)
    effects = stack.effects_of(team)
    assert max(effects.values()) == 1
    done = {100 * number + each for number in range(ROUNDS) for each in range(12)}
    assert set(effects) <= done
    stack.wait_until_ready()
