"""Tasks as of 2025-11-25: a call that its client makes one, which has its result from a request of its own.

They belong to the session in which they were made, so they are followed in it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

from core.errors import SourceError
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.faults import SessionLost
from servers.execution.backends.mcp.following import Followed, Words, every_of, read_task
from servers.execution.backends.mcp.hearing import Hearing
from servers.execution.backends.mcp.replies import Reply
from servers.execution.backends.mcp.session import Conversation
from servers.execution.backends.mcp.ways import ASIDE_SECONDS
from servers.execution.backends.mcp.wire import TASK_CANCEL, TASK_GET, NotMcp, RpcError

TTL_MS: Final = 86_400_000
"""How long a server is asked to keep one."""
_RESULT: Final = "tasks/result"
_INTERVAL: Final = "pollInterval"
_STATE_BYTES: Final = 65_536


def as_task(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a call that is to be a task."""
    return {**params, "task": {"ttl": TTL_MS}}


async def result_of_task(
    conversation: Conversation, task: Followed, hearing: Hearing, *, most_bytes: int
) -> Reply:
    """The reply that a task ends with; whoever stops waiting has it cancelled by ``cancel_task``.

    Raises as ``Conversation.request`` does, and ``NotMcp``.
    """
    named, words, every = {"taskId": task.id}, Words(), task.every
    while True:
        state = (await conversation.request(TASK_GET, named, most_bytes=_STATE_BYTES)).result
        await words.pass_on(state, hearing.context)
        if state.get("status") != "working":
            # What it asks comes with the result, before it.
            return await conversation.request(_RESULT, named, most_bytes=most_bytes, hear=hearing)
        every = every_of(state, _INTERVAL, every)
        await asyncio.sleep(every)


def task_of(created: Mapping[str, Any]) -> Followed:
    """The task in a ``CreateTaskResult``. Raises ``NotMcp``."""
    task = created.get("task")
    if not isinstance(task, dict):
        raise NotMcp("a call that was to be a task was answered otherwise")
    # Where it is, its session is: which upstream that is, is not kept.
    return read_task(task, 0, _INTERVAL)


async def cancel_task(conversation: Conversation, task: Followed) -> None:
    """Tell the server that nobody waits for a task any more. It may not do that, nor answer."""
    with contextlib.suppress(RpcError, NotMcp, SourceError, OutboundRefused, SessionLost, TimeoutError):
        async with asyncio.timeout(ASIDE_SECONDS):
            await conversation.request(TASK_CANCEL, {"taskId": task.id}, most_bytes=_STATE_BYTES)
