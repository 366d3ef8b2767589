"""One conversation of the official Python SDK's client, release line 1, unmodified, in an environment of its own."""

from __future__ import annotations

import warnings
from contextlib import asynccontextmanager

import httpx
from conversation import Job, Sight, cancel_once_begun, run, texts
from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.websocket import websocket_client


@asynccontextmanager
async def connect(job: Job):
    headers = {"Authorization": f"Bearer {job['key']}"}
    if job["transport"] == "sse":
        async with sse_client(job["url"], headers=headers) as (read, write):
            yield read, write
    elif job["transport"] == "websocket":
        # It can send no header, so it meets a public server.
        warnings.simplefilter("ignore", DeprecationWarning)
        async with websocket_client(job["url"]) as (read, write):
            yield read, write
    else:
        async with (
            httpx.AsyncClient(headers=headers, timeout=60) as http,
            streamable_http_client(job["url"], http_client=http) as (read, write, _),
        ):
            yield read, write


async def converse(job: Job) -> Sight:
    seen: Sight = {"progress": []}

    async def ask(context, params):
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sample(context, params):
        word = types.TextContent(type="text", text="Ahoy")
        return types.CreateMessageResult(role="assistant", content=word, model="test")

    async def note(progress, total, message):
        seen["progress"].append([progress, total, message])

    async with (
        connect(job) as (read, write),
        ClientSession(read, write, elicitation_callback=ask, sampling_callback=sample) as session,
    ):
        seen["version"] = (await session.initialize()).protocolVersion
        seen["tools"] = [tool.name for tool in (await session.list_tools()).tools]
        if "calls" in job:
            found = [await session.call_tool(name, given) for name, given in job["calls"]]
            return {**seen, "called": ["".join(texts(each.content)) for each in found]}
        rows = await session.call_tool("query_database", job["query"])
        seen["rows"] = rows.structuredContent["rows"]
        seen["resources"] = [str(each.uri) for each in (await session.list_resources()).resources]
        templates = (await session.list_resource_templates()).resourceTemplates
        seen["templates"] = [each.uriTemplate for each in templates]
        seen["read"] = [(await session.read_resource(uri)).contents[0].text for uri in job["uris"]]
        seen["prompts"] = [each.name for each in (await session.list_prompts()).prompts]
        prompt = await session.get_prompt("voyage", job["prompt"])
        seen["prompt"] = [[each.role, each.content.text] for each in prompt.messages]
        await session.call_tool("count_to", {"number": 3}, progress_callback=note)
        seen["asked"] = (await session.call_tool("ask_name", {})).content[0].text
        seen["sampled"] = (await session.call_tool("ask_model", {})).content[0].text
        waiting = CancellableCall(session, job["marker"])
        seen["cancelled"] = await cancel_once_begun(waiting.run(), job["marker"])
    return seen


class CancellableCall:
    """This release line sends no notification when a task is cancelled: whoever cancels a call sends it."""

    def __init__(self, session: ClientSession, marker: str) -> None:
        self._session, self._marker = session, marker

    async def run(self):
        # No method tells the id of a request that is under way.
        number = self._session._request_id
        try:
            return await self._session.call_tool("wait", {"marker": self._marker})
        finally:
            params = types.CancelledNotificationParams(requestId=number, reason="the test is over")
            notification = types.CancelledNotification(method="notifications/cancelled", params=params)
            await self._session.send_notification(types.ClientNotification(notification))


run(converse)
