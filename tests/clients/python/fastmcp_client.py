"""One conversation of FastMCP's client, unmodified, in an environment of its own."""

from __future__ import annotations

from conversation import Job, Sight, cancel_once_begun, run, texts
from fastmcp import Client
from fastmcp.client.transports import SSETransport, StreamableHttpTransport


async def converse(job: Job) -> Sight:
    seen: Sight = {"progress": []}
    headers = {"Authorization": f"Bearer {job['key']}"}
    transport = SSETransport if job["transport"] == "sse" else StreamableHttpTransport

    async def ask(message, response_type, params, context):
        return response_type(name="Ada")

    async def sample(messages, params, context):
        return "Ahoy"

    async def note(progress, total, message):
        seen["progress"].append([progress, total, message])

    async with Client(
        transport(job["url"], headers=headers),
        mode=job["mode"],
        elicitation_handler=ask,
        sampling_handler=sample,
    ) as client:
        seen["version"] = client.protocol_version
        seen["tools"] = [tool.name for tool in await client.list_tools()]
        if "calls" in job:
            found = [await client.call_tool(name, given) for name, given in job["calls"]]
            return {**seen, "called": ["".join(texts(each.content)) for each in found]}
        rows = await client.call_tool("query_database", job["query"])
        seen["rows"] = rows.structured_content["rows"]
        seen["resources"] = [str(each.uri) for each in await client.list_resources()]
        seen["templates"] = [each.uri_template for each in await client.list_resource_templates()]
        seen["read"] = [(await client.read_resource(uri))[0].text for uri in job["uris"]]
        seen["prompts"] = [each.name for each in await client.list_prompts()]
        prompt = await client.get_prompt("voyage", job["prompt"])
        seen["prompt"] = [[each.role, each.content.text] for each in prompt.messages]
        await client.call_tool("count_to", {"number": 3}, progress_handler=note)
        seen["asked"] = (await client.call_tool("ask_name", {})).content[0].text
        seen["sampled"] = (await client.call_tool("ask_model", {})).content[0].text
        waiting = client.call_tool("wait", {"marker": job["marker"]})
        seen["cancelled"] = await cancel_once_begun(waiting, job["marker"])
    return seen


run(converse)
