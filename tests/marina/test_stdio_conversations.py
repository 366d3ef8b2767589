"""``marina-stdio`` between the official SDK's stdio client, or a bare host, and a server of the official SDK."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.marina.harbour import Harbour, open_harbour
from tests.marina.host import COMMAND, MODERN, Host, start_bridge


@pytest.fixture
def harbour() -> Iterator[Harbour]:
    with open_harbour() as harbour:
        yield harbour


async def answer_elicitation(context: Any, params: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": "Maren"})


@asynccontextmanager
async def sdk_client(url: str, mode: Any, **options: Any) -> AsyncIterator[Client]:
    server = StdioServerParameters(command=COMMAND, args=[url])
    async with Client(stdio_client(server), mode=mode, **options) as client:
        yield client


def text_of(result: Any) -> str:
    assert not result.is_error, result
    return str(result.content[0].text)


@pytest.mark.parametrize(("mode", "version"), [("auto", MODERN), ("legacy", "2025-11-25")])
def test_the_sdk_lists_calls_answers_and_sees_progress(harbour: Harbour, mode: str, version: str) -> None:
    async def converse() -> None:
        seen: list[float] = []

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            seen.append(progress)

        async with sdk_client(harbour.url, mode, elicitation_callback=answer_elicitation) as client:
            assert client.protocol_version == version
            assert {"add", "hail", "sail"} <= {tool.name for tool in (await client.list_tools()).tools}
            assert text_of(await client.call_tool("add", {"a": 2, "b": 3})) == "5"
            assert text_of(await client.call_tool("hail", {})) == "ahoy Maren"
            assert text_of(await client.call_tool("sail", {}, progress_callback=progressed)) == "arrived"
            assert seen == [1, 2, 3]

    asyncio.run(converse())


def test_many_calls_at_once_do_not_wait_for_a_slow_one(harbour: Harbour) -> None:
    async def converse() -> None:
        async with start_bridge(harbour.url) as host:
            await host.request("slow", "tools/call", {"name": "moor", "arguments": {}}, version=MODERN)
            for number in range(100):
                params = {"name": "add", "arguments": {"a": number, "b": 1}}
                await host.request(number, "tools/call", params, version=MODERN)
            answers = [await host.receive() for _ in range(100)]
            assert {item["id"]: item["result"]["structuredContent"]["result"] for item in answers} == {
                number: number + 1 for number in range(100)
            }

    asyncio.run(converse())


def test_a_session_is_opened_used_and_ended(harbour: Harbour) -> None:
    async def converse() -> None:
        async with start_bridge(harbour.url) as host:
            assert (await host.initialize())["result"]["protocolVersion"] == "2025-11-25"
            await host.request(1, "tools/call", {"name": "add", "arguments": {"a": 1, "b": 1}})
            assert (await host.receive())["id"] == 1
            assert await host.end() == (0, "")

    asyncio.run(converse())
    opening, initialized, call = (
        harbour.of("initialize"),
        harbour.of("notifications/initialized"),
        harbour.of("tools/call"),
    )
    assert "mcp-session-id" not in opening[0].headers
    assert "mcp-protocol-version" not in opening[0].headers
    session = initialized[0].headers["mcp-session-id"]
    assert call[0].headers["mcp-session-id"] == session
    assert call[0].headers["mcp-protocol-version"] == "2025-11-25"
    assert [item.headers["mcp-session-id"] for item in harbour.verbs("DELETE")] == [session]


def test_the_server_speaks_on_a_stream_of_its_own(harbour: Harbour) -> None:
    async def converse() -> None:
        async with start_bridge(harbour.url) as host:
            await host.initialize()
            assert await asyncio.to_thread(harbour.listening.wait, 30)
            await host.request(1, "tools/call", {"name": "dredge", "arguments": {}})
            messages = [await host.receive() for _ in range(2)]
            assert {message.get("method") for message in messages} == {
                "notifications/tools/list_changed",
                None,
            }

    asyncio.run(converse())


def test_a_stream_that_breaks_off_is_taken_up_where_it_was(harbour: Harbour) -> None:
    async def converse() -> None:
        async with start_bridge(harbour.url) as host:
            await host.initialize()
            params = {"name": "drift", "arguments": {}, "_meta": {"progressToken": "p"}}
            await host.request(1, "tools/call", params)
            messages = [await host.receive() for _ in range(3)]
            assert [message["params"]["progress"] for message in messages[:2]] == [1, 2]
            assert messages[2]["result"]["content"][0]["text"] == "found again"
        assert any("last-event-id" in seen.headers for seen in harbour.verbs("GET"))

    asyncio.run(converse())


def test_a_session_that_the_server_lost_is_begun_anew(harbour: Harbour) -> None:
    async def converse() -> None:
        async with start_bridge(harbour.url) as host:
            await host.initialize()
            assert await asyncio.to_thread(harbour.listening.wait, 30)
            harbour.forget_sessions()
            for number in (1, 2):
                await host.request(number, "tools/call", {"name": "add", "arguments": {"a": number, "b": 1}})
            answers = [await host.receive() for _ in range(2)]
            assert {item["id"]: item["result"]["structuredContent"]["result"] for item in answers} == {
                1: 2,
                2: 3,
            }
            status, errors = await host.end()
            assert status == 0
            assert "a new one was begun" in errors
        opened = harbour.of("initialize")
        assert len(opened) == 2
        assert opened[0].body["params"] == opened[1].body["params"]

    asyncio.run(converse())


@pytest.mark.parametrize("version", [None, MODERN])
def test_cancelling_ends_the_call_and_nothing_more_is_said(harbour: Harbour, version: str | None) -> None:
    async def converse() -> None:
        async with start_bridge(harbour.url) as host:
            if version is None:
                await host.initialize()
            await host.request("slow", "tools/call", {"name": "moor", "arguments": {}}, version=version)
            assert await asyncio.to_thread(harbour.waiting.wait, 30)
            params = {"requestId": "slow", "reason": "enough"}
            await host.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
            assert await asyncio.to_thread(harbour.cancelled.wait, 30)
            await host.request("next", "tools/list", version=version)
            assert (await host.receive())["id"] == "next"
            assert await host.end() == (0, "")
        # Since 2026-07-28, the closed stream says it.
        assert len(harbour.of("notifications/cancelled")) == (1 if version is None else 0)

    asyncio.run(converse())


def test_subscriptions_deliver_until_they_are_cancelled(harbour: Harbour) -> None:
    async def converse() -> None:
        async with sdk_client(harbour.url, "auto") as client:
            async with client.listen(tools_list_changed=True) as changes:
                await client.call_tool("dredge", {})
                assert type(await anext(aiter(changes))).__name__ == "ToolsListChanged"
            assert text_of(await client.call_tool("add", {"a": 1, "b": 1})) == "2"

    asyncio.run(converse())


@pytest.mark.parametrize("is_listed", [True, False])
def test_arguments_are_mirrored_into_headers(harbour: Harbour, is_listed: bool) -> None:
    async def converse() -> None:
        async with start_bridge(harbour.url) as host:
            if is_listed:
                await host.request("list", "tools/list", version=MODERN)
                await host.receive()
            params = {"name": "berth", "arguments": {"harbour": "Ærøskøbing"}}
            await host.request(1, "tools/call", params, version=MODERN)
            answer = await host.receive()
            assert answer["result"]["content"][0]["text"] == "a berth in Ærøskøbing"

    asyncio.run(converse())
    call = harbour.of("tools/call")[-1].headers
    assert call["mcp-protocol-version"] == MODERN
    assert call["mcp-method"] == "tools/call"
    assert call["mcp-name"] == "berth"
    assert call["mcp-param-harbour"] == "=?base64?w4Zyw7hza8O4YmluZw==?="
    assert len(harbour.of("tools/list")) == 1


def test_sigterm_ends_the_session_and_the_bridge(harbour: Harbour) -> None:
    async def converse() -> None:
        async with start_bridge(harbour.url) as host:
            await host.initialize()
            await host.request("slow", "tools/call", {"name": "moor", "arguments": {}})
            assert await asyncio.to_thread(harbour.waiting.wait, 30)
            host.process.send_signal(signal.SIGTERM)
            assert await host.ended() == (0, "")

    asyncio.run(converse())
    assert len(harbour.verbs("DELETE")) == 1


def test_a_host_that_reads_no_more_ends_the_bridge_quietly(harbour: Harbour) -> None:
    async def converse() -> None:
        process = await asyncio.create_subprocess_shell(
            f"'{COMMAND}' {harbour.url} | head -n 1",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        host = Host(process)
        try:
            await host.initialize()
            ending = asyncio.create_task(host.ended())
            # What is said before ``head`` has gone still finds its way.
            while not ending.done():
                with contextlib.suppress(ConnectionError):
                    await host.request(1, "tools/list")
                await asyncio.wait([ending], timeout=0.5)
            assert await ending == (0, "")
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    asyncio.run(converse())
