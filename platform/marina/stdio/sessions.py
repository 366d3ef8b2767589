"""The session of a legacy conversation: begun by the host, listened to, renewed where the server lost it, ended.

Sources: MCP 2025-11-25, Streamable HTTP, Session Management and Listening for Messages from the Server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from marina.stdio.flights import Flight
from marina.stdio.pipes import Journal
from marina.stdio.upstream import POST_HEADERS, Cursor, Fault, Upstream, media_type
from marina.stdio.wire import Malformed, is_header_value, parse, write_json

_SILENCE_SECONDS: Final = 300.0
"""A stream of the server's own that was silent this long is opened anew: its connection may have died."""
_LONGEST_PAUSE: Final = 30.0
_OPENING_SECONDS: Final = 1.0
"""How long a subscription waits for that stream."""


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """What the answer to ``initialize`` settled. A server without sessions gives no id."""

    session_id: str | None
    version: str
    params: Mapping[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        """What each later request carries."""
        headers = {"mcp-protocol-version": self.version}
        return headers | ({"mcp-session-id": self.session_id} if self.session_id else {})

    def is_gone(self, response: httpx2.Response) -> bool:
        """Whether the answer says that the server does not know this session any more."""
        return self.session_id is not None and response.status_code == 404


class Sessions:
    """The one session, and those that come after it where the server forgets."""

    def __init__(
        self, upstream: Upstream, journal: Journal, deliver: Callable[[bytes, Flight | None], Awaitable[None]]
    ) -> None:
        self.current: Session | None = None
        self._upstream = upstream
        self._journal = journal
        self._deliver = deliver
        self._renewing = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._count = 0

    def begin(self, session_id: str | None, version: str, params: Mapping[str, Any]) -> Session:
        """The host's ``initialize`` was answered."""
        if session_id is not None and not is_header_value(session_id):
            self._journal.note("the server gave a session id that no header can carry; it is left out")
            session_id = None
        self.current = Session(session_id, version, params)
        return self.current

    def listen(self) -> None:
        """Open the stream on which the server speaks of its own accord."""
        if self._listener is not None and self._listener is not asyncio.current_task():
            self._listener.cancel()
        if self.current is not None:
            self._tried.clear()
            self._listener = asyncio.create_task(self._listen(self.current))

    async def wait_for_stream(self) -> None:
        """Until that stream is open, or cannot be had; not for long. What comes before it, the server drops."""
        if self._listener is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_OPENING_SECONDS):
                    await self._tried.wait()

    async def forget(self) -> None:
        """The host begins anew: what it had before ends."""
        if self.current is not None:
            await self.end()

    async def end(self) -> None:
        """Stop listening, and tell the server that the session is over."""
        session, self.current = self.current, None
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        if session is None or session.session_id is None:
            return
        try:
            async with self._upstream.open("DELETE", session.headers, idle=1.0):
                pass  # 405 where sessions end by themselves; there is nothing to do about any other answer
        except Fault as fault:
            self._journal.note(f"the end of the session: {fault.message}")

    async def renew(self, lost: Session | None) -> None:
        """Begin a session in place of ``lost``, as the host began that one. Raises ``Fault``."""
        async with self._renewing:
            if lost is None or self.current is not lost:
                return
            self._count += 1
            request_id = f"marina-stdio:initialize:{self._count}"
            asked = {"jsonrpc": "2.0", "id": request_id, "method": "initialize", "params": lost.params}
            given: list[str | None] = []
            result = await self.ask(write_json(asked), POST_HEADERS, request_id, given)
            if result.get("protocolVersion") != lost.version:
                message = (
                    "The server lost the session, and speaks another version now. Restart it in the host."
                )
                raise Fault(404, message)
            session = self.begin(given[0], lost.version, lost.params)
            done = write_json({"jsonrpc": "2.0", "method": "notifications/initialized"})
            async with self._upstream.open("POST", {**POST_HEADERS, **session.headers}, done) as response:
                if response.status_code >= 400:
                    raise self._upstream.refusal(response)
            self._journal.note(
                "the server had ended the session; a new one was begun, without its subscriptions"
            )
            self.listen()

    async def ask(
        self,
        body: bytes,
        headers: Mapping[str, str],
        request_id: str,
        session_ids: list[str | None] | None = None,
    ) -> dict[str, Any]:
        """Ask something of the bridge's own. Gives the result; ``session_ids`` gets the id that came along."""
        async with self._upstream.open("POST", headers, body) as response:
            if session_ids is not None:
                session_ids.append(response.headers.get("mcp-session-id"))
            if is_stream(response):
                async for data in self._upstream.events(response, Cursor()):
                    if (result := _read_result(data, request_id)) is not None:
                        return result
            elif (result := _read_result(await self._upstream.read(response), request_id)) is not None:
                return result
            raise self._upstream.refusal(response)

    async def _listen(self, session: Session) -> None:
        cursor, failures, was_open = Cursor(), 0, False
        while self.current is session:
            headers = {"accept": "text/event-stream", **session.headers}
            if cursor.last_id:
                headers["last-event-id"] = cursor.last_id
            try:
                async with self._upstream.open("GET", headers, idle=_SILENCE_SECONDS) as response:
                    self._tried.set()
                    if session.is_gone(response) and was_open:
                        break
                    if not is_stream(response):
                        fault = self._upstream.refusal(response)
                        if response.status_code == 405:
                            return  # the server says nothing of its own accord
                        raise fault
                    failures, was_open = 0, True
                    async for data in self._upstream.events(response, cursor):
                        await self._deliver(data, None)
            except Fault as fault:
                self._tried.set()
                if not fault.retryable:
                    self._journal.note(f"the server's own messages: {fault.message}")
                    return
                failures += 1
            pause = min(_LONGEST_PAUSE, 2.0**failures) if failures else 0.0
            await asyncio.sleep(max(cursor.seconds, pause))
        try:
            await self.renew(session)
        except Fault as fault:
            # The next request tries again, and its answer says what is wrong.
            self._journal.note(f"the server ended the session: {fault.message}")


def is_stream(response: httpx2.Response) -> bool:
    """Whether the answer is a stream of events."""
    return response.status_code == 200 and media_type(response) == "text/event-stream"


def _read_result(data: bytes, request_id: str) -> dict[str, Any] | None:
    try:
        value = parse(data)
    except Malformed:
        return None
    if not isinstance(value, dict) or value.get("id") != request_id:
        return None
    result = value.get("result")
    return result if isinstance(result, dict) else None
