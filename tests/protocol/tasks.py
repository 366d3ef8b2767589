"""A client of tasks, on the raw wire, and the workers of a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.loop import post
from servers.services.tasks.hints import use_hint
from servers.services.tasks.running import Runner
from tests.protocol.wireclient import Answer, Endpoint, modern_meta

EXTENSION = "io.modelcontextprotocol/tasks"
ENDED = ("completed", "failed", "cancelled")


def declaring(**capabilities: Any) -> dict[str, Any]:
    """The ``_meta`` of a client that takes tasks, and can be asked as ``capabilities`` say."""
    declared = {"extensions": {EXTENSION: {}}, "elicitation": {}, **capabilities}
    return modern_meta(**{"io.modelcontextprotocol/clientCapabilities": declared})


@dataclass(frozen=True)
class TaskClient:
    """Calls tools at one URL and asks for their tasks."""

    endpoint: Endpoint

    def begin(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Call a tool: the task that it goes on as."""
        created = self.endpoint.call(tool, arguments, meta={**declaring(), **(meta or {})}).result
        assert created["resultType"] == "task", created
        return created

    def ask(self, method: str, task_id: str, **params: Any) -> Answer:
        """``tasks/get``, ``tasks/update`` or ``tasks/cancel``."""
        sent = {"taskId": task_id, **params}
        return self.endpoint.modern(f"tasks/{method}", sent, meta=declaring(), headers={"Mcp-Name": task_id})

    def get(self, task_id: str) -> dict[str, Any]:
        return self.ask("get", task_id).result

    def until(self, task_id: str, *statuses: str, seconds: float = 60) -> dict[str, Any]:
        """Ask until the task has one of these statuses, by default until it has ended."""
        deadline = time.monotonic() + seconds
        while (found := self.get(task_id))["status"] not in (statuses or ENDED):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found

    def answer(self, task_id: str, **answers: Any) -> Answer:
        """Answer questions, each with a form that was filled in."""
        responses = {key: {"action": "accept", "content": value} for key, value in answers.items()}
        return self.ask("update", task_id, inputResponses=responses)


class Workers:
    """Workers in the test's own process: each hint has the runner look for work on Marina's loop."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._working: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Take hints from now on, and look what waits already."""
        use_hint(self.hint)
        self.hint()

    def hint(self) -> None:
        post(self._look)

    def _look(self) -> None:
        task = asyncio.get_running_loop().create_task(self.runner.look())
        self._working.add(task)
        task.add_done_callback(self._working.discard)
