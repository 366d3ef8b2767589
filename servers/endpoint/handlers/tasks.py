"""Tasks (SEP-2663): ``tasks/get``, ``tasks/update``, ``tasks/cancel``, and a call's answer that is one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from core.errors import MarinaError
from servers.endpoint.context import CallContext, declares_tasks
from servers.endpoint.errors import translate
from servers.endpoint.handlers.answers import complete, invalid, text_of
from servers.endpoint.handlers.results import result_members
from servers.endpoint.incoming import Incoming
from servers.endpoint.sessions import principal_of
from servers.endpoint.specification import (
    CLIENT_CAPABILITIES,
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
)
from servers.endpoint.wire import RpcError
from servers.execution.context import TASKS_EXTENSION
from servers.models import Task
from servers.services.callresults import result_of
from servers.services.reading import look_up
from servers.services.tasks import ending
from servers.services.tasks.accepting import HandOver
from servers.services.tasks.hints import hint_soon
from servers.services.tasks.priorities import NUMBERS, PRIORITIES
from servers.services.tasks.rows import KEY_CHARACTERS, answer, open_ended
from servers.services.tasks.telling import CHANGED, tell
from tenants.roles import Action

POLL_MS: Final = 1_000
"""How often a client should ask (SEP-2663, "Task Polling")."""

IDEMPOTENCY_KEY: Final = "marina/idempotencyKey"
"""The ``_meta`` key by which a client makes sure that a call that it sends again is not made again."""

PRIORITY: Final = "marina/priority"
"""The ``_meta`` key by which a client says how urgent a call is among its team's."""


async def get(incoming: Incoming) -> bytes:
    """A task as it is now."""
    return complete(incoming, describe_task(incoming, await _own(incoming)))


async def update(incoming: Incoming) -> bytes:
    """Take answers to what a task asks."""
    responses = incoming.params.get("inputResponses")
    if not isinstance(responses, dict):
        raise invalid("params.inputResponses must be an object, one result a key.")
    task = await _own(incoming)
    if await look_up(answer, task.tenant_id, task.id, responses):
        hint_soon()
    incoming.runtime.tasks.forget(task.id)
    await tell(incoming.runtime.bus, task.id, CHANGED)
    return complete(incoming, {})


async def cancel(incoming: Incoming) -> bytes:
    """Have a task stopped. One that has ended already stays as it is."""
    task = await _own(incoming)
    await ending.cancel(task.tenant_id, task.id, why="The client cancelled the task.")
    incoming.runtime.tasks.forget(task.id)
    return complete(incoming, {})


def hand_over(incoming: Incoming, context: CallContext) -> HandOver:
    """What this request brings for a call that may go on without it. Raises ``RpcError``."""
    meta = incoming.params.get("_meta")
    key = meta.get(IDEMPOTENCY_KEY) if isinstance(meta, Mapping) else None
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= KEY_CHARACTERS):
        raise invalid(
            f"params._meta[{IDEMPOTENCY_KEY!r}] must be text of at most {KEY_CHARACTERS} characters."
        )
    priority = meta.get(PRIORITY) if isinstance(meta, Mapping) else None
    if priority is not None and (not isinstance(priority, str) or priority not in PRIORITIES):
        raise invalid(f"params._meta[{PRIORITY!r}] must be one of {', '.join(PRIORITIES)}.")
    return HandOver(
        capabilities=context.capabilities,
        answers={} if context.retries is None else context.retries.answers,
        takes_task=declares_tasks(incoming),
        principal=principal_of(incoming.caller),
        idempotency_key=key,
        priority=None if priority is None else NUMBERS[priority],
    )


def require_tasks(incoming: Incoming) -> None:
    """Raise ``RpcError`` for a client that did not declare that it knows tasks."""
    if not declares_tasks(incoming):
        raise RpcError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"Missing required client capability: declare the extension {TASKS_EXTENSION} in "
            f"params._meta[{CLIENT_CAPABILITIES!r}].extensions.",
            data={
                "code": "client_cannot",
                "requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}},
            },
        )


def created_bytes(incoming: Incoming, task: Task) -> bytes:
    """The answer to a call that goes on as a task: a ``CreateTaskResult``."""
    members = {"resultType": "task", "_meta": orjson.Fragment(incoming.view.identity), **_members(task)}
    return orjson.dumps(members)


def describe_task(incoming: Incoming, task: Task) -> dict[str, Any]:
    """A ``DetailedTask``: what it is, and by its status what it asks, its result or its error."""
    members = _members(task)
    if task.status == Task.Status.INPUT_REQUIRED:
        members["inputRequests"] = task.asks
    elif task.ended and task.status != Task.Status.CANCELLED:
        try:
            given = result_of(task, open_ended(task))
            result = result_members(incoming, given)
        except MarinaError as error:
            told = translate(error)
            members["error"] = {"code": told.code, "message": told.message, "data": told.data}
        else:
            # What each answer of ours has, the answer that this stands in has.
            del result["resultType"]
            if not result["isError"]:
                result.pop("_meta")
                if given.meta is not None:
                    result["_meta"] = dict(given.meta)
            members["result"] = orjson.Fragment(orjson.dumps(result, default=str))
    return members


async def find_own(incoming: Incoming, task_id: str) -> Task | None:
    """The caller's own task of this id on this server. Raises ``Unavailable``."""
    try:
        wanted = UUID(task_id)
    except ValueError:
        return None
    caller = incoming.caller
    task = await incoming.runtime.tasks.find(caller.tenant_id, wanted)
    if (
        task is None
        or task.server != incoming.surface.slug
        or task.principal != principal_of(caller)
        or (task.ended and task.expires_at < datetime.now(UTC))
    ):
        return None
    return task


async def _own(incoming: Incoming) -> Task:
    require_tasks(incoming)
    incoming.caller.require(Action.TOOLS_CALL)
    task = await find_own(incoming, text_of(incoming, "taskId"))
    if task is None:
        raise RpcError(
            INVALID_PARAMS,
            "There is no such task of yours here, or its time was up. Call the tool again.",
            data={"code": "task_unknown"},
        )
    return task


def _members(task: Task) -> dict[str, Any]:
    members: dict[str, Any] = {
        "taskId": str(task.id),
        "status": task.status,
        "createdAt": _moment(task.created_at),
        "lastUpdatedAt": _moment(task.updated_at),
        "ttlMs": task.ttl_ms,
        "pollIntervalMs": POLL_MS,
    }
    if task.status == Task.Status.CANCELLED:
        # Who of the team cancelled it is in its log.
        members["statusMessage"] = "The task was cancelled."
    elif task.message:
        members["statusMessage"] = task.message
    return members


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
