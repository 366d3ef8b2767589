"""``python -m tests.bench.long_work``: what long work costs and how soon it hears. Starts everything it needs; prints.

``--works``: ``latency`` (queueing at rest, progress and cancelling across two replicas), ``fairness`` (two quiet teams
beside one with a hundred times their load), ``polling`` (200 tasks asked for by 1,000 clients, once a second each).
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
import redis

from config.local.options import read_options
from tests.bench.machine import choose_cores, find_other_load
from tests.bench.offered import AT_ONCE, HOLD, STAMP, STEPS
from tests.bench.offered import LONG_TEAMS as TEAMS
from tests.bench.systems import Stage, inherited_environment, run_step
from tests.bench.works import MODERN

EXTENSION: Final = "io.modelcontextprotocol/tasks"
POLLERS: Final = 1_000
POLLED: Final = 200
_WAIT_SECONDS: Final = 30.0
_IDLE_SECONDS: Final = 2.0


class Client:
    """Asks one replica as one team, over one connection."""

    def __init__(self, base_url: str, team: str, key: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=_WAIT_SECONDS)
        self._path, self._key = f"/mcp/{team}", key
        self._used = 0.0

    def ask(self, method: str, params: Mapping[str, Any], *, tasks: bool = True, **meta: Any) -> Any:
        """The result of a request; of one whose answer is a stream, the response itself."""
        if time.monotonic() - self._used > _IDLE_SECONDS:
            # The server closes those that say nothing.
            self._connection.close()
        self._used = time.monotonic()
        self._connection.request(
            "POST", self._path, *request_of(self._key, method, params, tasks=tasks, **meta)
        )
        response = self._connection.getresponse()
        if response.getheader("Content-Type", "").startswith("text/event-stream"):
            return response
        answer = json.loads(response.read())
        if "error" in answer:
            raise SystemExit(f"{method}: {answer['error']}")
        return answer["result"]

    def begin(self, tool: str, **arguments: Any) -> str:
        """Call a tool: its task."""
        created = self.ask("tools/call", {"name": tool, "arguments": arguments})
        return str(created["taskId"])

    def call_and_leave(self, tool: str, mark: str, store: Any) -> float:
        """Call a tool for a stream, and close that once the tool has begun: when that was."""
        params = {"name": tool, "arguments": {"mark": mark}}
        self._connection.request(
            "POST",
            self._path,
            *request_of(self._key, "tools/call", params, tasks=False, progressToken="p"),
        )
        _noted(store, "entered", mark)
        gone = time.time()
        self._connection.close()
        return gone

    def result(self, task_id: str, *, every: float = 0.1) -> Mapping[str, Any]:
        """What a task gave, once it has ended."""
        while True:
            found = self.ask("tasks/get", {"taskId": task_id})
            if found["status"] == "completed":
                given: Mapping[str, Any] = found["result"]["structuredContent"]
                return given
            if found["status"] != "working":
                raise SystemExit(f"a task ended: {found}")
            time.sleep(every)


def request_of(
    key: str, method: str, params: Mapping[str, Any], *, tasks: bool, **meta: Any
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request of 2026-07-28."""
    capabilities: dict[str, Any] = {"extensions": {EXTENSION: {}}} if tasks else {}
    told = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "marina-bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": capabilities,
        **meta,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": told}}
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": method,
        "Mcp-Name": str(params.get("name") or params.get("taskId") or ""),
    }
    return json.dumps(body).encode(), headers


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share is."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def tell(name: str, values: Sequence[float]) -> None:
    """A line of seconds as milliseconds."""
    middle, last = statistics.median(values) * 1e3, percentile(values, 0.99) * 1e3
    print(f"{name:<58}{len(values):>6} times   p50 {middle:>7.1f} ms   p99 {last:>7.1f} ms", flush=True)


def measure_latency(urls: Sequence[str], keys: Mapping[str, str], store: Any, times: int) -> None:
    """Queueing at rest, progress and cancelling, by one replica what another one took."""
    team = TEAMS[0]
    here, there = (Client(url, team, keys[team]) for url in urls)
    for _ in range(10):
        here.result(here.begin(STAMP))
    at_once, queued, after = [], [], []
    for _ in range(times):
        sent = time.time()
        inline = here.ask("tools/call", {"name": AT_ONCE, "arguments": {}})
        at_once.append(inline["structuredContent"]["began"] - sent)
        sent = time.time()
        task_id = here.begin(STAMP)
        answered = time.time()
        time.sleep(0.15)
        began = here.result(task_id)["began"]
        queued.append(began - sent)
        after.append(began - answered)
    tell("a call within its request, until its tool begins", at_once)
    tell("a call at a worker, until its tool begins", queued)
    tell("… counted from the answer with the task", after)
    added = (statistics.median(queued) - statistics.median(at_once)) * 1e3
    print(f"{'queueing adds, at rest':<58}{'':>13}   p50 {added:>7.1f} ms")
    heard = []
    for _ in range(max(1, times // 10)):
        stream = there.ask("tools/call", {"name": STEPS, "arguments": {}}, tasks=False, progressToken="p")
        for line in stream:
            now = time.time()
            if line.startswith(b"data:") and b"notifications/progress" in line:
                heard.append(now - float(json.loads(line[5:])["params"]["message"]))
    tell("progress, from the tool to a client of another replica", heard)
    stopped = []
    for number in range(times // 2):
        mark = f"{time.time_ns()}-{number}"
        task_id = here.begin(HOLD, mark=mark)
        _noted(store, "entered", mark)
        asked = time.time()
        there.ask("tasks/cancel", {"taskId": task_id})
        stopped.append(_noted(store, "stopped", mark) - asked)
    tell("tasks/cancel at another replica, until the work stopped", stopped)
    left = []
    for number in range(times // 4):
        mark = f"{time.time_ns()}-left-{number}"
        gone = Client(urls[1], team, keys[team]).call_and_leave(HOLD, mark, store)
        left.append(_noted(store, "stopped", mark) - gone)
    tell("a stream that its client closed, until the work stopped", left)


def measure_fairness(
    url: str,
    processes: Sequence[psutil.Process],
    keys: Mapping[str, str],
    fill: Callable[[str, int, float], None],
    seconds: float,
    load: float,
) -> None:
    """Two teams with ten tasks a second each; then beside them one with a hundred times as many, in its line."""
    before = [_spent(each) for each in processes]
    quiet = _waits(url, keys, seconds)
    web, worker = (_spent(each) - spent for each, spent in zip(processes, before, strict=True))
    each = f"web {web / len(quiet) * 1e3:.1f} ms, worker {worker / len(quiet) * 1e3:.1f} ms"
    print(f"{'processor time that a task costs, its polling included':<58}{'':>13}   {each}")
    tell("two teams at 20 tasks/s in all, until their tools begin", quiet)
    fill(TEAMS[2], 100 * 20, load)
    beside = _waits(url, keys, seconds)
    tell("… while a third one has 2,000 in its line", beside)
    rise = percentile(beside, 0.99) / percentile(quiet, 0.99) - 1
    print(f"{'rise of p99':<58}{'':>13}       {rise * 100:>7.1f} %")


def _waits(url: str, keys: Mapping[str, str], seconds: float) -> list[float]:
    with ThreadPoolExecutor(2) as teams:
        found = list(teams.map(lambda team: _calls_of(url, team, keys[team], seconds), TEAMS[:2]))
    return [each for waits in found for each in waits]


def _calls_of(url: str, team: str, key: str, seconds: float) -> list[float]:
    client = Client(url, team, key)
    begun: list[tuple[float, str]] = []
    ends = time.monotonic() + seconds
    due = time.monotonic()
    while due < ends:
        time.sleep(max(0.0, due - time.monotonic()))
        sent = time.time()
        begun.append((sent, client.begin(STAMP, seconds=0.1)))
        due += 0.1
    return [client.result(task_id)["began"] - sent for sent, task_id in begun]


def measure_polling(url: str, pid: int, keys: Mapping[str, str], seconds: float) -> None:
    """The share of a core that the web process takes while 1,000 clients ask for 200 tasks as often as it says."""
    team = TEAMS[0]
    client = Client(url, team, keys[team])
    ids = [client.begin(HOLD, mark=f"polled-{number}") for number in range(POLLED)]
    requests = []
    netloc = urlsplit(url).netloc
    for task_id in ids:
        body, headers = request_of(keys[team], "tasks/get", {"taskId": task_id}, tasks=True)
        lines = [f"POST /mcp/{team} HTTP/1.1", f"Host: {netloc}", f"Content-Length: {len(body)}"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())])
        requests.append(head.encode() + b"\r\n\r\n" + body)
    web = psutil.Process(pid)
    before, began = _spent(web), time.monotonic()
    late = asyncio.run(_poll(netloc, requests, seconds))
    spent, took, answered = _spent(web) - before, time.monotonic() - began, len(late)
    for task_id in ids:
        client.ask("tasks/cancel", {"taskId": task_id})
    tell(f"tasks/get, {POLLERS} clients of {POLLED} tasks, {answered / took:,.0f} a second", late)
    print(f"{'the web process takes, of a core':<58}{'':>13}       {spent / took * 100:>7.1f} %")
    print(f"{'… of its processor time, each':<58}{'':>13}       {spent / answered * 1e6:>7.0f} µs")


async def _poll(netloc: str, requests: Sequence[bytes], seconds: float) -> list[float]:
    host, port = netloc.split(":")
    taken: list[float] = []
    refused = 0
    begins = asyncio.get_running_loop().time() + 1.0
    ends = begins + seconds

    async def poll(number: int) -> None:
        nonlocal refused
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection(host, int(port))
        due = begins + number / POLLERS
        while due < ends:
            await asyncio.sleep(max(0.0, due - loop.time()))
            sent = loop.time()
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            refused += not head.startswith(b"HTTP/1.1 200")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            taken.append(loop.time() - sent)
            due += 1.0
        writer.close()

    await asyncio.gather(*(poll(number) for number in range(POLLERS)))
    if refused:
        print(f"{refused} answers were refusals (503): the machine could not keep up.")
    return taken


def _noted(store: Any, what: str, mark: str) -> float:
    """When a tool noted this, once it has."""
    return float(_until(lambda: store.get(f"bench:{what}:{mark}")))


def _spent(process: psutil.Process) -> float:
    """Seconds of processor time that a process and its children have taken."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _WAIT_SECONDS
    while (value := found()) is None:
        if time.monotonic() > deadline:
            raise SystemExit("what was waited for did not come")
        time.sleep(0.001)
    return value


def main(arguments: Sequence[str]) -> None:
    """Start storage, two web processes and a worker; measure; end them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.long_work")
    parser.add_argument("--works", default="latency,fairness,polling")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument(
        "--load", type=float, default=0.5, help="seconds that each task of the third team takes"
    )
    chosen = parser.parse_args(arguments)
    environ = {**inherited_environment(), "MARINA_OPEN_TASKS_PER_TEAM": "10000"}
    options = read_options(environ)
    cores = choose_cores()
    if other := find_other_load():
        print(other)
    stage = Stage(options.home / "bench-long", cores, environ, options)
    try:
        environment = stage.start_storage()
        made = _run(environment, "teams")
        keys = json.loads(made.splitlines()[-1])["keys"]
        doors = [stage.start_for_long_work(environment, number) for number in range(2)]
        runner = stage.start_runner(environment)
        store = redis.Redis.from_url(environment["REDIS_URL"])
        _until(lambda: store.get("marina:task-worker"))
        works = chosen.works.split(",")
        urls = [url for url, _ in doors]
        if "latency" in works:
            measure_latency(urls, keys, store, chosen.times)
        if "fairness" in works:

            def fill(team: str, count: int, seconds: float) -> None:
                _run(environment, "fill", team, str(count), str(seconds))

            processes = [psutil.Process(pid) for pid in (doors[0][1], runner)]
            measure_fairness(urls[0], processes, keys, fill, chosen.seconds, chosen.load)
        if "polling" in works:
            measure_polling(*doors[1], keys, chosen.seconds)
    finally:
        stage.close()


def _run(environment: Mapping[str, str], *words: str) -> str:
    return run_step(
        [sys.executable, "-m", "tests.bench.long_prepare", *words], environment, f"prepare {words[0]}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
