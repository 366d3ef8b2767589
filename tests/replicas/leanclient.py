"""A small asynchronous MCP client of both eras, for tests that need hundreds. It keeps every byte it was sent.

It takes what comes as it comes and judges little: tests look into ``received`` and ``heard``. Progress, questions and
notifications are read from whichever stream brings them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
TIMEOUT_SECONDS = 60.0

Message = dict[str, Any]
Answerer = Callable[[str, Message], Message]
"""From a question's method and params, its result."""

_LISTENED = {"toolsListChanged": True, "resourcesListChanged": True, "promptsListChanged": True}


class Refused(Exception):
    """The endpoint answered with an error: of HTTP, or of JSON-RPC."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {body[:500]}")
        self.status = status


class LeanClient:
    """One client of one server. Make it with ``connected``, or call ``open`` and ``close``."""

    def __init__(
        self, http: httpx2.AsyncClient, url: str, key: str, version: str, answer: Answerer | None = None
    ) -> None:
        self.http, self.url, self.key, self.version = http, url, key, version
        self.received: list[str] = []
        self.heard: list[Message] = []
        self.news = asyncio.Condition()
        self.session = ""
        self._answer = answer
        self._number = 0
        self._listening: list[asyncio.Task[None]] = []

    @property
    def is_modern(self) -> bool:
        return self.version >= MODERN

    async def open(self) -> None:
        """Shake hands, where the era has such a thing."""
        if self.is_modern:
            return
        client = {
            "protocolVersion": self.version,
            "capabilities": self._capabilities(),
            "clientInfo": {"name": "lean", "version": "1"},
        }
        await self.request("initialize", client)
        await self._notify("notifications/initialized")

    async def close(self) -> None:
        """Drop the streams and end the session."""
        await self.drop_streams()
        if self.session:
            await self.http.delete(self.url, headers=self._headers("", {}))
            self.session = ""

    async def drop_streams(self) -> None:
        """Go away from every stream that ``listen`` opened, as a client that is closed does."""
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        self._listening.clear()

    async def request(self, method: str, params: Mapping[str, Any] | None = None) -> Message:
        """Ask, answer what is asked back, and give the result. Raises ``Refused``."""
        given = dict(params or {})
        while True:
            result = await self._ask(method, given)
            if result.get("resultType") != "input_required":
                return result
            asked = result.get("inputRequests", {})
            given["inputResponses"] = {
                name: self._reply(one["method"], one["params"]) for name, one in asked.items()
            }
            if "requestState" in result:
                given["requestState"] = result["requestState"]

    async def call(self, tool: str, arguments: Mapping[str, Any], *, progress: bool = False) -> Message:
        """Call a tool. With ``progress`` its notifications are asked for too."""
        params: Message = {"name": tool, "arguments": dict(arguments)}
        if progress:
            # The same token for everybody: it may mean something within one client only.
            params["_meta"] = {"progressToken": "progress"}
        return await self.request("tools/call", params)

    async def listen(self, *resources: str) -> None:
        """Open a stream of changes, and come back once it stands."""
        stands = asyncio.Event()
        if not self.is_modern:
            for uri in resources:
                await self.request("resources/subscribe", {"uri": uri})
        task = asyncio.create_task(self._listen(resources, stands))
        self._listening.append(task)
        waiting = asyncio.create_task(stands.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()

    async def hear(self, method: str, count: int = 1) -> None:
        """Wait until so many notifications of this method have come. Raises ``TimeoutError``."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS), self.news:
                await self.news.wait_for(lambda: len(self.heard_of(method)) >= count)
        except TimeoutError:
            raise TimeoutError(f"{method} did not come to a client of {self.version}: {self.heard}") from None

    def heard_of(self, method: str) -> list[Message]:
        """The notifications of this method so far."""
        return [message for message in self.heard if message["method"] == method]

    async def _ask(self, method: str, params: Mapping[str, Any]) -> Message:
        self._number += 1
        number = self._number
        async with self._post({"id": number, "method": method, "params": dict(params)}) as response:
            if (session := response.headers.get("mcp-session-id")) is not None:
                self.session = session
            async for message in self._read(response):
                if message.get("id") == number and "method" not in message:
                    if "error" in message:
                        raise Refused(response.status_code, json.dumps(message["error"]))
                    result: Message = message["result"]
                    return result
            raise Refused(response.status_code, "the answer did not come")

    async def _listen(self, resources: tuple[str, ...], stands: asyncio.Event) -> None:
        if self.is_modern:
            self._number += 1
            wanted = {**_LISTENED, "resourceSubscriptions": list(resources)}
            body = {"id": self._number, "method": "subscriptions/listen", "params": {"notifications": wanted}}
            async with self._post(body) as response:
                async for message in self._read(response):
                    if message.get("method") == "notifications/subscriptions/acknowledged":
                        stands.set()
            return
        headers = {**self._headers("", {}), "Accept": "text/event-stream"}
        async with self.http.stream("GET", self.url, headers=headers, timeout=None) as response:
            await _check(response)
            stands.set()
            async for _ in self._read(response):
                pass

    @asynccontextmanager
    async def _post(self, body: Message) -> AsyncIterator[httpx2.Response]:
        headers = self._headers(body.get("method", ""), body.get("params", {}))
        if self.is_modern and "params" in body:
            given = body["params"]
            meta = {
                **given.get("_meta", {}),
                "io.modelcontextprotocol/protocolVersion": self.version,
                "io.modelcontextprotocol/clientInfo": {"name": "lean", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": self._capabilities(),
            }
            body = {**body, "params": {**given, "_meta": meta}}
        timeout = None if body.get("method") == "subscriptions/listen" else TIMEOUT_SECONDS
        message = {"jsonrpc": "2.0", **body}
        async with self.http.stream(
            "POST", self.url, headers=headers, json=message, timeout=timeout
        ) as response:
            await _check(response)
            yield response

    async def _read(self, response: httpx2.Response) -> AsyncIterator[Message]:
        """The messages of an answer, those it brings by the way dealt with."""
        self.received.append(repr(response.headers.multi_items()))
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            text = (await response.aread()).decode()
            self.received.append(text)
            if text:
                yield json.loads(text)
            return
        async for line in response.aiter_lines():
            self.received.append(line)
            if line.startswith("data:") and (data := line[5:].strip()):
                message: Message = json.loads(data)
                await self._take(message)
                yield message

    async def _take(self, message: Message) -> None:
        if "method" not in message:
            return
        if "id" in message:
            result = self._reply(message["method"], message.get("params", {}))
            async with self._post({"id": message["id"], "result": result}) as response:
                await response.aread()
            return
        async with self.news:
            self.heard.append(message)
            self.news.notify_all()

    def _reply(self, method: str, params: Message) -> Message:
        assert self._answer is not None, f"nobody is here to answer {method}"
        return self._answer(method, params)

    async def _notify(self, method: str) -> None:
        async with self._post({"method": method, "params": {}}) as response:
            await response.aread()

    def _capabilities(self) -> Message:
        return {"elicitation": {}} if self._answer is not None else {}

    def _headers(self, method: str, params: Mapping[str, Any]) -> dict[str, str]:
        headers = {
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {self.key}",
        }
        if method != "initialize":
            headers["MCP-Protocol-Version"] = self.version
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        if self.is_modern and method:
            headers["Mcp-Method"] = method
            if (name := params.get("name") or params.get("uri")) is not None:
                headers["Mcp-Name"] = name
        return headers


async def _check(response: httpx2.Response) -> None:
    if response.status_code >= 400:
        raise Refused(response.status_code, (await response.aread()).decode(errors="replace"))


def make_http(connections: int) -> httpx2.AsyncClient:
    """What many lean clients share: as many connections as they need, none of them through a proxy."""
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx2.AsyncClient(limits=limits, trust_env=False, timeout=TIMEOUT_SECONDS)
