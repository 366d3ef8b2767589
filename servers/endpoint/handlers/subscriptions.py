"""``subscriptions/listen`` (2026-07-28): a request whose answer is a stream of changes, until somebody ends it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final
from uuid import UUID

import orjson

from core.bus import Listener
from core.errors import MarinaError
from servers.endpoint.handlers.answers import invalid
from servers.endpoint.handlers.tasks import describe_task, find_own, require_tasks
from servers.endpoint.incoming import Incoming
from servers.endpoint.subscribers import MAX_URIS, Subscriber, change_bytes
from servers.endpoint.tenure import Tenure
from servers.endpoint.turns import Turns
from servers.endpoint.view import PROMPTS, RESOURCES, TOOLS
from servers.endpoint.wire import RpcError
from servers.services.tasks.telling import CHANGED, channel_of, read
from tenants.roles import Action

MAX_TASKS: Final = 100
"""Tasks that one stream is told of."""

TASK: Final = "task"

SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"

_LISTS: Final = {
    "toolsListChanged": (TOOLS, Action.TOOLS_READ),
    "promptsListChanged": (PROMPTS, Action.PROMPTS_READ),
    "resourcesListChanged": (RESOURCES, Action.RESOURCES_READ),
}


async def listen(incoming: Incoming) -> bytes:
    """Tell the client of the changes that it asked for. Returns when this process is going."""
    channel = incoming.channel()
    if not channel.carries:
        raise RpcError(
            406,
            "The answer is a stream of events, which the Accept header leaves out. Send the header "
            "Accept: application/json, text/event-stream.",
            data={"code": "accept_leaves_out_events"},
            status=406,
        )
    lists, uris, honoured = await _filter(incoming)
    tasks = await _tasks(incoming)
    if tasks is not None:
        honoured["taskIds"] = tasks
    hub = incoming.parts.hub
    caller = incoming.caller
    hub.admit(caller, listening=True)
    subscriber = Subscriber(caller, incoming.surface.slug, lists=lists, uris=uris)
    bus = incoming.runtime.bus
    listeners: list[Listener] = []
    try:
        meta = orjson.dumps({SUBSCRIPTION_ID: incoming.rpc_id})
        await channel.send(
            orjson.dumps(
                {
                    "jsonrpc": "2.0",
                    "method": "notifications/subscriptions/acknowledged",
                    "params": {"_meta": orjson.Fragment(meta), "notifications": honoured},
                }
            )
        )
        hub.join(subscriber, incoming.surface)
        for task_id in tasks or ():
            listeners.append(await _listen_to(incoming, subscriber, task_id))
            # It may have gone on since its client heard of it last.
            subscriber.tell(TASK, task_id)
        tenure = Tenure(incoming.check_again)
        while not subscriber.ended:
            for kind, name in subscriber.take():
                message = (
                    await _task_bytes(incoming, name, meta)
                    if kind == TASK
                    else change_bytes(kind, name, meta)
                )
                if message:
                    await channel.send(message)
            if not tenure.seconds_left:
                try:
                    await tenure.check()
                except MarinaError:
                    subscriber.end()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(tenure.seconds_left):
                    await subscriber.woken.wait()
    finally:
        for listener in listeners:
            bus.leave(listener)
        hub.leave(subscriber)
        hub.dismiss(caller, listening=True)
    return orjson.dumps(
        {
            "resultType": "complete",
            "_meta": orjson.Fragment(incoming.view.identity[:-1] + b"," + meta[1:]),
        }
    )


async def _filter(incoming: Incoming) -> tuple[list[str], list[str], dict[str, Any]]:
    """What is listened to: lists, resources, and how that is said to the client."""
    wanted = incoming.params.get("notifications")
    if not isinstance(wanted, dict):
        raise invalid("params.notifications must be an object that names what to listen to.")
    lists: list[str] = []
    honoured: dict[str, Any] = {}
    for member, (name, action) in _LISTS.items():
        asked = wanted.get(member, False)
        if not isinstance(asked, bool):
            raise invalid(f"params.notifications.{member} must be true or false.")
        if asked and incoming.caller.may(action):
            lists.append(name)
            honoured[member] = True
    uris = wanted.get("resourceSubscriptions")
    if uris is None:
        return lists, [], honoured
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris) or len(uris) > MAX_URIS:
        raise invalid(f"params.notifications.resourceSubscriptions must be at most {MAX_URIS} URIs.")
    known = []
    if incoming.caller.may(Action.RESOURCES_READ):
        # A server may have thousands of templates, each of which is tried with each.
        turns = Turns()
        for uri in dict.fromkeys(uris):
            if incoming.surface.find_resource(uri) is not None:
                known.append(uri)
            await turns.give_way()
    honoured["resourceSubscriptions"] = known
    return lists, known, honoured


async def _tasks(incoming: Incoming) -> list[str] | None:
    """The tasks that are listened to, of those that were asked for; ``None``: none were. Raises ``RpcError``."""
    wanted = incoming.params.get("notifications")
    ids = wanted.get("taskIds") if isinstance(wanted, dict) else None
    if ids is None:
        return None
    require_tasks(incoming)
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids) or len(ids) > MAX_TASKS:
        raise invalid(f"params.notifications.taskIds must be at most {MAX_TASKS} ids.")
    if not incoming.caller.may(Action.TOOLS_CALL):
        return []
    return [each for each in dict.fromkeys(ids) if await find_own(incoming, each) is not None]


async def _listen_to(incoming: Incoming, subscriber: Subscriber, task_id: str) -> Listener:
    def changed(_: bytes = b"") -> None:
        subscriber.tell(TASK, task_id)

    def heard(message: bytes) -> None:
        if read(message)[0] == CHANGED:
            changed()

    return await incoming.runtime.bus.subscribe(channel_of(UUID(task_id)), heard, changed)


async def _task_bytes(incoming: Incoming, task_id: str, meta: bytes) -> bytes:
    """``notifications/tasks``: the task as ``tasks/get`` would give it now."""
    task = await find_own(incoming, task_id)
    if task is None:
        return b""
    params = {"_meta": orjson.Fragment(meta), **describe_task(incoming, task)}
    return orjson.dumps({"jsonrpc": "2.0", "method": "notifications/tasks", "params": params})
