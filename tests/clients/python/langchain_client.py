"""One conversation of LangChain's adapters for MCP, unmodified, in an environment of its own.

They list no prompts and no templates, cannot be asked by a model's call, and open a session for each tool call.
"""

from __future__ import annotations

import json

from conversation import Job, Sight, cancel_once_begun, run
from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp.types import ElicitResult


async def converse(job: Job) -> Sight:
    seen: Sight = {"progress": []}

    async def ask(context, params, callback_context):
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def note(progress, total, message, context):
        seen["progress"].append([progress, total, message])

    connection = {
        "transport": job["transport"],
        "url": job["url"],
        "headers": {"Authorization": f"Bearer {job['key']}"},
    }
    marina = MultiServerMCPClient(
        {"marina": connection}, callbacks=Callbacks(on_progress=note, on_elicitation=ask)
    )
    async with marina.session("marina", auto_initialize=False) as session:
        seen["version"] = (await session.initialize()).protocolVersion
    tools = {tool.name: tool for tool in await marina.get_tools()}
    seen["tools"] = list(tools)
    if "calls" in job:
        found = [await tools[name].ainvoke(given) for name, given in job["calls"]]
        return {**seen, "called": ["".join(block.get("text", "") for block in each) for each in found]}
    rows = await tools["query_database"].ainvoke(job["query"])
    seen["rows"] = json.loads(rows[0]["text"])["rows"]
    seen["resources"] = [blob.metadata["uri"] for blob in await marina.get_resources("marina")]
    seen["resources"] = [str(uri) for uri in seen["resources"]]
    seen["read"] = [blob.as_string() for blob in await marina.get_resources("marina", uris=job["uris"])]
    prompt = await marina.get_prompt("marina", "voyage", arguments=job["prompt"])
    roles = {"human": "user", "ai": "assistant"}
    seen["prompt"] = [[roles[message.type], message.content] for message in prompt]
    await tools["count_to"].ainvoke({"number": 3})
    seen["asked"] = (await tools["ask_name"].ainvoke({}))[0]["text"]
    waiting = tools["wait"].ainvoke({"marker": job["marker"]})
    seen["cancelled"] = await cancel_once_begun(waiting, job["marker"])
    return seen


run(converse)
