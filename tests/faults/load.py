"""Puts a Marina under a mixed load of several teams, and writes down what came of each request. Run by the fault tests.

``python -m tests.faults.load`` reads a job (JSON) on standard input: ``teams`` (see ``teams.py``), ``ports`` of the
web processes, ``first`` (no number below it is used), ``folder`` for downloaded exports. Each line of output is one
``Said`` as JSON. SIGTERM ends it, once the tasks and exports that were begun have ended, or some minutes later.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.protocol.wireclient import Answer, Endpoint, modern_meta

TIMEOUT_SECONDS: Final = 20.0
LAST_SECONDS: Final = 150.0
"""How long what was begun may take to end, after the load has."""

ENDED: Final = ("completed", "failed", "cancelled")
_TASKS: Final[dict[str, Any]] = {
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}
}


@dataclass(frozen=True, slots=True)
class Said:
    """What came of one request, or, as ``task`` and ``exported``, of one task or export as a whole.

    ``kind``: ``ok``, ``failed`` (the tool or the task did), ``refused`` (by Marina), ``lost`` (no answer came),
    ``never`` (it did not end). ``code`` is the error's, ``text`` what was said with it.
    """

    team: str
    work: str
    number: int
    kind: str
    seconds: float
    status: int = 0
    code: str = ""
    request_id: str = ""
    text: str = ""
    id: str = ""

    @property
    def is_task(self) -> bool:
        """Whether it is of a task as a whole."""
        return self.work.startswith("task ")

    @property
    def is_request(self) -> bool:
        """Whether it is of one request."""
        return not self.is_task and self.work != "exported"


class Load:
    """The load on one Marina."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._teams = job["teams"]
        self._ports = itertools.cycle(job["ports"])
        self._numbers = itertools.count(job["first"])
        self._folder = Path(job["folder"])
        self._output = threading.Lock()
        self.over = threading.Event()

    def run(self) -> None:
        """Until ``over`` is set and what was begun has ended."""
        works = (
            self._read,
            self._read,
            self._write,
            self._write,
            self._task,
            self._task,
            self._export,
            self._change,
        )
        threads = [
            threading.Thread(target=self._repeat, args=(work, team)) for team in self._teams for work in works
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _repeat(self, work: Callable[[dict[str, Any], int], float], team: dict[str, Any]) -> None:
        while not self.over.is_set():
            self.over.wait(work(team, next(self._numbers)))

    # Each gives the seconds until the next of its kind.

    def _read(self, team: dict[str, Any], number: int) -> float:
        self._call(team, "read", number, "say_number", {"number": number})
        return 0.05

    def _write(self, team: dict[str, Any], number: int) -> float:
        self._call(team, "write", number, "count", {"number": number})
        return 0.08

    def _change(self, team: dict[str, Any], number: int) -> float:
        # Never the same twice, so that it is a change whatever came of the last.
        body = json.dumps({"seconds": 1 + number % 80_000}).encode()
        path = f"/api/v1/tenants/{team['slug']}/tools/{team['tools']['say_number']}/cache"
        self._ask(team, "change", number, lambda port: _rest(port, team, path).send(body, method="PATCH"))
        return 0.5

    def _task(self, team: dict[str, Any], number: int) -> float:
        """Begin a task, by the same key until it is there, and wait for its end."""
        tool = "ponder" if number % 3 == 0 else "count_later"
        arguments = {"number": number, "seconds": 0.2 + number % 7 * 0.3}
        meta = modern_meta(**_TASKS, **{"marina/idempotencyKey": f"number {number}"})
        began = time.monotonic()
        task_id = ""
        while not self._late(began):
            answer = self._ask(
                team, "begin", number, lambda port: _mcp(port, team).call(tool, arguments, meta=meta)
            )
            if answer is not None and (task_id := str(_result(answer).get("taskId", ""))):
                break
            time.sleep(0.3)
        until = self._until_ended(team, number, task_id, began) if task_id else None
        error = (until or {}).get("error") or {}
        self._say(
            Said(
                team["slug"],
                f"task {tool}",
                number,
                "never" if until is None else "ok" if until["status"] == "completed" else "failed",
                time.monotonic() - began,
                code=(error.get("data") or {}).get("code", "") or (until or {}).get("status", ""),
                text=json.dumps(error),
                id=task_id,
            )
        )
        return 0.1

    def _until_ended(
        self, team: dict[str, Any], number: int, task_id: str, began: float
    ) -> dict[str, Any] | None:
        while not self._late(began):
            answer = self._ask(
                team,
                "poll",
                number,
                lambda port: _mcp(port, team).modern(
                    "tasks/get",
                    {"taskId": task_id},
                    meta=modern_meta(**_TASKS),
                    headers={"Mcp-Name": task_id},
                ),
            )
            found = {} if answer is None else _result(answer)
            if found.get("status") in ENDED:
                return found
            time.sleep(0.3)
        return None

    def _export(self, team: dict[str, Any], number: int) -> float:
        """Have the log exported, and see that what is downloaded is what it is said to be."""
        path = f"/api/v1/tenants/{team['slug']}/audit/exports"
        began = time.monotonic()
        started = self._ask(
            team, "export", number, lambda port: _rest(port, team, path).send(b'{"format":"jsonl"}')
        )
        if started is None or started.status != 202:
            return 1.0
        path = f"{path}/{started.json['id']}"
        told: dict[str, Any] = {"status": "never"}
        while not self._late(began) and told["status"] not in ("done", "failed", "cancelled"):
            time.sleep(0.5)
            answer = self._ask(
                team, "poll", number, lambda port: _rest(port, team, path).send(None, method="GET")
            )
            told = told if answer is None or answer.status != 200 else answer.json
        kind = {"done": "ok", "failed": "failed", "cancelled": "failed"}.get(told["status"], "never")
        fault = str(told.get("error", ""))
        if kind == "ok":
            file = self._download(team, number, f"{path}/download", began)
            if file is None:
                kind = "never"
            elif hashlib.sha256(file).hexdigest() != told["sha256"]:
                kind, fault = "failed", "another digest than was said"
        seconds = time.monotonic() - began
        self._say(
            Said(
                team["slug"],
                "exported",
                number,
                kind,
                seconds,
                text=fault,
                id=started.json["id"],
            )
        )
        return 1.0

    def _download(self, team: dict[str, Any], number: int, path: str, began: float) -> bytes | None:
        """A file, which is kept for the tests; ``None`` where it did not come in time."""
        while not self._late(began):
            answer = self._ask(
                team, "download", number, lambda port: _rest(port, team, path).send(None, method="GET")
            )
            if answer is not None and answer.status == 200:
                (self._folder / f"{team['slug']}.jsonl").write_bytes(answer.body)
                return answer.body
            time.sleep(0.5)
        return None

    def _late(self, began: float) -> bool:
        return time.monotonic() - began > LAST_SECONDS

    def _call(
        self, team: dict[str, Any], work: str, number: int, tool: str, arguments: dict[str, Any]
    ) -> None:
        self._ask(team, work, number, lambda port: _mcp(port, team).call(tool, arguments))

    def _ask(
        self, team: dict[str, Any], work: str, number: int, request: Callable[[int], Answer]
    ) -> Answer | None:
        """Send one request and write down what came of it. ``None`` where no answer came."""
        began = time.monotonic()
        port = next(self._ports)
        try:
            answer = request(port)
        except (OSError, http.client.HTTPException) as fault:
            seconds = time.monotonic() - began
            self._say(Said(team["slug"], work, number, "lost", seconds, code=type(fault).__name__))
            return None
        seconds = time.monotonic() - began
        self._say(_judged(answer, Said(team["slug"], work, number, "ok", seconds)))
        return answer

    def _say(self, said: Said) -> None:
        with self._output:
            print(json.dumps(dataclasses.asdict(said)), flush=True)


def _mcp(port: int, team: dict[str, Any]) -> Endpoint:
    return Endpoint(port, f"/mcp/{team['slug']}", team["key"], seconds=TIMEOUT_SECONDS)


def _rest(port: int, team: dict[str, Any], path: str) -> Endpoint:
    return Endpoint(port, path, team["admin"], seconds=TIMEOUT_SECONDS)


def _told(answer: Answer) -> dict[str, Any]:
    """Its JSON; nothing of a file."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    found = answer.json if kind in ("application/json", "application/problem+json") and answer.body else {}
    return found if isinstance(found, dict) else {}


def _result(answer: Answer) -> dict[str, Any]:
    result = _told(answer).get("result")
    return result if isinstance(result, dict) else {}


def _judged(answer: Answer, said: Said) -> Said:
    request_id = answer.headers.get("X-Request-ID", "")
    said = dataclasses.replace(said, status=answer.status, request_id=request_id)
    text = answer.body[:600].decode(errors="replace")
    found = _told(answer)
    if answer.status < 300 and "jsonrpc" not in found:
        return said
    if "result" in found:
        return dataclasses.replace(said, kind="failed", text=text) if found["result"].get("isError") else said
    code = ((found.get("error") or {}).get("data") or {}).get("code") or found.get("code") or ""
    return dataclasses.replace(said, kind="refused", code=code, text=text)


def main() -> None:
    """Run the job until SIGTERM."""
    load = Load(json.load(sys.stdin))
    signal.signal(signal.SIGTERM, lambda *_: load.over.set())
    running = threading.Thread(target=load.run)
    running.start()
    while running.is_alive():
        # Signals are taken between two of these.
        running.join(0.2)


if __name__ == "__main__":
    main()
