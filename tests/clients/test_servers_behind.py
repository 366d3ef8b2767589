"""MCP servers that others wrote, unmodified, behind Marina's one URL: every client calls each of them.

Those that are commands run in Marina's sandbox, the others listen on loopback; of either era.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult, TextContent

from config.local.ports import find_free_port
from config.local.process import kill_group, start_process
from servers.services.sources import create_source
from tests.clients.environments import FOLDER, run_python_client
from tests.clients.node import run_client, running_script, running_server
from tests.factories import make_team
from tests.farside import far_side, reply
from tests.hosted.commands import SERVERS
from tests.marina.harbour import wait_for_port
from tests.plugins.live_marina import LiveMarina
from tests.servers.execution.mcp.shipyard import open_shipyard

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

RIGHTS = ("tools:read", "tools:execute", "resources:read", "prompts:read")
HARBOUR = Path(os.environ["MARINA_TEST_HARBOUR"])


Calls = list[tuple[str, dict[str, Any], str]]
"""Each with its arguments, and words of what it gives."""


@dataclass
class Behind:
    """Where clients connect, and what each calls there, with a ship of its own."""

    url: str
    key: str
    calls_of: Callable[[str], Calls]

    def __post_init__(self) -> None:
        self._calls = self.calls_of("")

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """For the next client."""
        self._calls = self.calls_of(f"ship-{uuid4().hex}")
        return [(name, given) for name, given, _ in self._calls]

    def job(self, mode: str = "legacy") -> dict[str, Any]:
        """What a client's program is told."""
        return {
            "url": self.url,
            "key": self.key,
            "mode": mode,
            "transport": "http",
            "calls": self.calls,
        }

    def check(self, seen: dict[str, Any]) -> None:
        """Whether a client had of each what it was to have."""
        assert {name for name, _, _ in self._calls} <= set(seen["tools"])
        wrong = [
            (name, said[:300])
            for (name, _, word), said in zip(self._calls, seen["called"], strict=True)
            if word not in said
        ]
        assert not wrong


def lay_in() -> str:
    """What the commands see: a file, and a repository with one commit. Its folder."""
    repository = HARBOUR / "boats"
    repository.mkdir(exist_ok=True)
    (repository / "log.txt").write_text("calm\n")
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
    for words in (
        ("init", "--quiet"),
        ("add", "log.txt"),
        (*who, "commit", "--quiet", "-m", "Nothing moves."),
    ):
        subprocess.run(["git", "-C", str(repository), *words], check=True, capture_output=True)
    # To the commands they are another user's files.
    for place in (HARBOUR, *HARBOUR.rglob("*")):
        place.chmod(0o755 if place.is_dir() else 0o644)
    return str(repository)


@contextmanager
def fast_server() -> Iterator[str]:
    """FastMCP's server while the block runs: its address."""
    port = find_free_port()
    process = start_process(
        [str(SERVERS / "bin" / "python"), str(FOLDER / "fast_server.py"), str(port)],
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(SERVERS)},
        cwd=FOLDER,
        output=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        kill_group(process.pid)
        process.wait()


@pytest.fixture(scope="module")
def behind(live_marina: LiveMarina) -> Iterator[Behind]:
    assert SERVERS.exists(), "The servers for tests are not installed. Run `make test-clients`."
    repository, team = lay_in(), make_team()
    with ExitStack() as stack:
        page = stack.enter_context(far_side())
        page.serve("/ships", reply(b"<html><body><p>Ships are in.</p></body></html>", kind="text/html"))
        port = find_free_port()
        stack.enter_context(running_server("streamableHttp", environment={"PORT": str(port)}))
        wait_for_port(port)
        newer = find_free_port()
        stack.enter_context(running_script("typescript_server.mjs", str(newer)))
        wait_for_port(newer)
        addresses = {
            "legacy": stack.enter_context(open_shipyard("legacy")).url,
            "modern": stack.enter_context(open_shipyard("modern")).url,
            "fast": stack.enter_context(fast_server()),
            "typescript": f"http://127.0.0.1:{port}/mcp",
            "typescript2": f"http://127.0.0.1:{newer}/mcp",
        }
        # The repository is another user's: git wants to hear that this is right.
        trusted = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        sources: dict[str, dict[str, Any]] = {
            **{name: {"url": url} for name, url in addresses.items()},
            **{name: {"command": name} for name in ("time", "fetch", "filesystem")},
            "git": {"command": "git", "env": trusted},
            "memory": {"command": "memory", "env": {"MEMORY_FILE_PATH": "/tmp/memory.jsonl"}},
        }
        # A team offers each URI once, and two of the servers have the same.
        tools_alone = {"resources": ["!*"], "prompts": ["!*"]}
        for name, settings in sources.items():
            create_source(name, "mcp", {**settings, **tools_alone, "prefix": f"{name}_"}, caller=team.owner)
        noon = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}

        def calls_of(ship: str) -> Calls:
            entity = {"name": ship, "entityType": "ship", "observations": ["is fast"]}
            return [
                ("time_convert_time", noon, "21:00"),
                ("git_git_log", {"repo_path": repository, "max_count": 1}, "Nothing moves."),
                ("fetch_fetch", {"url": f"{page.origin}/ships", "raw": True}, "Ships are in."),
                ("filesystem_read_text_file", {"path": f"{repository}/log.txt"}, "calm"),
                ("memory_create_entities", {"entities": [entity]}, ship),
                ("memory_search_nodes", {"query": ship}, "is fast"),
                ("fast_add", {"a": 1, "b": 2}, "3"),
                ("typescript_echo", {"message": "hi"}, "Echo: hi"),
                ("typescript2_launch", {"name": "Argo"}, "Argo is launched."),
                ("legacy_launch", {"name": "Argo"}, "Argo"),
                ("modern_launch", {"name": "Argo"}, "Argo"),
            ]

        yield Behind(live_marina.mcp_url(team.slug), team.key(*RIGHTS), calls_of)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_python_sdk_2(behind: Behind, mode: str) -> None:
    async def converse() -> dict[str, Any]:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {behind.key}"}, timeout=60) as http,
            Client(streamable_http_client(behind.url, http_client=http), mode=mode) as client,
        ):
            seen: dict[str, Any] = {"tools": [tool.name for tool in (await client.list_tools()).tools]}
            found = [await client.call_tool(name, given) for name, given in behind.calls]
            seen["called"] = [
                "".join(block.text for block in each.content if isinstance(block, TextContent))
                for each in found
            ]
            return seen

    behind.check(asyncio.run(converse()))


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_what_the_typescript_sdk_2_asks_in_a_call_is_put_to_the_client(behind: Behind, mode: str) -> None:
    async def answer(context: Any, params: Any) -> ElicitResult:
        assert params.message == "Who commands Argo?"
        return ElicitResult(action="accept", content={"captain": "Ann"})

    async def converse() -> str:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {behind.key}"}, timeout=60) as http,
            Client(
                streamable_http_client(behind.url, http_client=http), mode=mode, elicitation_callback=answer
            ) as client,
        ):
            result = await client.call_tool("typescript2_crew", {"name": "Argo"})
            return "".join(block.text for block in result.content if isinstance(block, TextContent))

    assert asyncio.run(converse()) == "Ann commands Argo."


def test_the_python_sdk_1(behind: Behind) -> None:
    behind.check(run_python_client("langchain", "sdk_1_client.py", behind.job()))


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_fastmcp(behind: Behind, mode: str) -> None:
    behind.check(run_python_client("fastmcp", "fastmcp_client.py", behind.job(mode)))


def test_langchain(behind: Behind) -> None:
    job = {**behind.job(), "transport": "streamable_http"}
    behind.check(run_python_client("langchain", "langchain_client.py", job))


def test_the_typescript_sdk_1(behind: Behind) -> None:
    behind.check(run_client("matrix_typescript_1.mjs", behind.job()))


@pytest.mark.parametrize("mode", ["legacy", "modern"])
def test_the_typescript_sdk_2(behind: Behind, mode: str) -> None:
    behind.check(run_client("matrix_typescript_2.mjs", behind.job(mode)))


@pytest.mark.parametrize("mode", ["legacy", "modern"])
def test_the_ai_sdk(behind: Behind, mode: str) -> None:
    behind.check(run_client("matrix_ai_sdk.mjs", behind.job(mode)))
