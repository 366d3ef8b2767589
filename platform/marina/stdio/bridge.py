"""Keeps the conversation between a host and an endpoint: who waits for what, in which era, in which session.

It passes messages on as they are. It never answers for the server, except to say why there is no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from contextlib import nullcontext, suppress
from typing import Any, Final

import httpx2

from marina.stdio.flights import Flight, Flights
from marina.stdio.pipes import MAX_LINE, Journal, LineTooLong, LineWriter
from marina.stdio.sessions import Session, Sessions, is_stream
from marina.stdio.tools import MirroredArguments
from marina.stdio.upstream import POST_HEADERS, Cursor, Fault, Upstream, media_type
from marina.stdio.wire import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    Malformed,
    Message,
    is_header_value,
    is_id,
    mirror_headers,
    one_line,
    parse,
    read_message,
    write_error,
    write_json,
)

AT_ONCE: Final = 64
"""Requests at the server at the same time; more of them wait. Subscriptions do not count."""
LISTEN_SECONDS: Final = 900.0
"""How long a subscription may be silent, keep-alives included, before it counts as lost."""
_SETTLE_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.5
_TRAILER_SECONDS: Final = 0.05
_MOST_RESUMPTIONS_IN_VAIN: Final = 5
_MOST_PAGES: Final = 50
_ENDED_EARLY: Final = "The server ended its answer before the result. Try again."
_SUBSCRIBE: Final = "resources/subscribe"
_LISTEN: Final = "subscriptions/listen"


class Bridge:
    """One host and one endpoint."""

    def __init__(self, upstream: Upstream, out: LineWriter, journal: Journal, *, timeout: float) -> None:
        self._upstream = upstream
        self._out = out
        self._journal = journal
        self._timeout = timeout
        self._flights = Flights()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._sessions = Sessions(upstream, journal, self._deliver)
        self._tools = MirroredArguments()
        self._listing = asyncio.Lock()
        self._outbox: asyncio.Queue[tuple[bytes, Message | None]] = asyncio.Queue(maxsize=AT_ONCE)
        self._posting: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._last_version: str | None = None

    # -- From the host -----------------------------------------------------------------------------------

    async def read(self, lines: AsyncIterable[bytes | LineTooLong]) -> None:
        """Take lines until there are no more."""
        self._posting = asyncio.create_task(self._empty_outbox())
        async for line in lines:
            await self._flights.room()
            try:
                if body := _require_whole(line).strip():
                    await self._take(body, parse(body))
            except Malformed as error:
                self._journal.note(error.message)
                await self._out.write(write_error(error.request_id, error.code, error.message))

    async def settle(self) -> None:
        """The host sends no more: wait for what it still waits for, but not for ever."""
        waiting = [flight.task for flight in self._flights if flight.method != _LISTEN and flight.task]
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                await asyncio.gather(*waiting, self._outbox.join(), return_exceptions=True)

    async def close(self) -> None:
        """Break off what is under way, and end the session."""
        tasks = [flight.task for flight in self._flights if flight.task]
        tasks += [task for task in (self._posting, self._opening) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._sessions.end()
        await self._upstream.aclose()

    async def _take(self, body: bytes, value: Any) -> None:
        if isinstance(value, list):
            await self._take_batch(body, value)
            return
        message = read_message(body, value)
        if message.method is not None and self._opening is not None:
            # A session is opened before it is used: initialize, its answer, initialized, and then the rest.
            await asyncio.wait({self._opening})
            self._opening = None
        if message.version is not None:
            self._last_version = message.version
        if message.is_request:
            flight = self._start(Flight(body, message, message.awaited))
            if message.method == "initialize":
                await self._sessions.forget()
                self._opening = flight.task
        elif message.method == "notifications/initialized":
            self._opening = asyncio.create_task(self._initialized(body, message))
        elif message.method == "notifications/cancelled" and await self._cancel(message):
            return
        else:
            await self._outbox.put((body, message))

    async def _take_batch(self, body: bytes, values: list[Any]) -> None:
        """A batch (2025-03-26) goes as it is; each request in it is answered in whatever batch comes back."""
        messages = [read_message(b"", value) for value in values]
        if not messages:
            raise Malformed(INVALID_REQUEST, "An empty batch asks for nothing.")
        waiting = {key: value for item in messages for key, value in item.awaited.items()}
        if waiting:
            self._start(Flight(body, None, waiting))
        else:
            await self._outbox.put((body, None))

    def _start(self, flight: Flight) -> Flight:
        if (taken := self._flights.find_taken(flight)) is not None:
            raise Malformed(INVALID_REQUEST, "This id is in use: its first request has no answer yet.", taken)
        self._flights.add(flight)
        flight.task = asyncio.create_task(self._carry(flight))
        # Not in the task: one that is cancelled before it began never gets there.
        flight.task.add_done_callback(lambda _: self._flights.remove(flight))
        return flight

    async def _cancel(self, message: Message) -> bool:
        """Whether the server need not be told: since 2026-07-28, closing the request's stream tells it."""
        request_id = message.params.get("requestId")
        flight = self._flights.owner(request_id) if is_id(request_id) else None
        if flight is None:
            return self._sessions.current is None
        if flight.method == "initialize":
            return True
        self._flights.settle(flight, request_id)
        if not flight.is_modern:
            await self._outbox.put((message.body, message))
        if not flight.waiting and flight.task:
            flight.task.cancel()
        return True

    # -- To the server -----------------------------------------------------------------------------------

    async def _carry(self, flight: Flight) -> None:
        try:
            async with nullcontext() if flight.method == _LISTEN else self._slots:
                if flight.message is not None and flight.is_modern:
                    await self._ask_modern(flight, flight.message)
                else:
                    await self._ask_legacy(flight)
            await self._fail(flight, Fault(502, _ENDED_EARLY, retryable=True))
        except Fault as fault:
            await self._fail(flight, fault)
        except Exception as error:  # noqa: BLE001 - the outer boundary: no host waits for ever for our mistakes
            message = (
                f"The bridge failed ({type(error).__name__}). Restart this server in the host, and report it."
            )
            await self._fail(flight, Fault(500, message))

    async def _fail(self, flight: Flight, fault: Fault) -> None:
        """Tell the host why there is no answer, where it still waits for one."""
        if not flight.waiting:
            return
        self._journal.note(f"{flight.method or 'a batch'}: {fault.message}")
        for request_id in list(flight.waiting.values()):
            self._flights.settle(flight, request_id)
            await self._out.write(write_error(request_id, fault.code, fault.message, fault.data))
            session = self._sessions.current
            if (
                fault.code == 504
                and session is not None
                and not flight.is_modern
                and flight.method != "initialize"
            ):
                # Breaking off says nothing before 2026-07-28: tell the server that nobody waits.
                params = {"requestId": request_id, "reason": "timed out"}
                note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
                with suppress(asyncio.QueueFull):
                    self._outbox.put_nowait((write_json(note), None))

    async def _ask_modern(self, flight: Flight, message: Message) -> None:
        is_call = message.method == "tools/call"
        if is_call and not self._tools.was_listed:
            await self._list_tools(message, again=False)
        for is_last in (not is_call, True):
            headers = {
                **POST_HEADERS,
                **mirror_headers(message),
                **(self._tools.headers(message.params) if is_call else {}),
            }
            idle = max(self._timeout, LISTEN_SECONDS) if message.method == _LISTEN else None
            async with self._upstream.open("POST", headers, message.body, idle=idle) as response:
                if is_stream(response):
                    await self._follow(response, flight, Cursor())
                    return
                body = await self._upstream.read(response)
                if is_last or not _is_mismatch(response, body):
                    await self._pass_on(response, body, flight)
                    return
            # The tool's parameters have changed since its list was read; the call has not begun.
            await self._list_tools(message, again=True)

    async def _ask_legacy(self, flight: Flight) -> None:
        is_opening = flight.method == "initialize"
        if flight.method == _SUBSCRIBE:
            await self._sessions.wait_for_stream()
        for is_last in (is_opening, True):
            session = None if is_opening else self._sessions.current
            headers = {**POST_HEADERS, **(session.headers if session else {})}
            async with self._upstream.open("POST", headers, flight.body) as response:
                if not (session and session.is_gone(response)):
                    flight.offered_session = response.headers.get("mcp-session-id")
                    cursor = Cursor()
                    if not is_stream(response):
                        await self._pass_on(response, await self._upstream.read(response), flight)
                        return
                    try:
                        await self._follow(response, flight, cursor)
                    except Fault as fault:
                        if not (fault.retryable and cursor.last_id):
                            raise
                    break
            if is_last:
                raise Fault(404, "The server ends each session at once. Restart this server in the host.")
            await self._sessions.renew(session)
        await self._resume(flight, cursor, session)

    async def _resume(self, flight: Flight, cursor: Cursor, session: Session | None) -> None:
        """Take up a stream that ended before the answer, where the server gave its events ids."""
        loop = asyncio.get_running_loop()
        since, in_vain = loop.time(), 0
        while flight.waiting and cursor.last_id:
            seen = cursor.last_id
            if loop.time() + cursor.seconds - since > self._timeout:
                raise Fault(
                    504, "The server was silent for too long. Try again, or allow more with --timeout."
                )
            await asyncio.sleep(cursor.seconds)
            headers = {
                "accept": "text/event-stream",
                "last-event-id": seen,
                **(session.headers if session else {}),
            }
            try:
                async with self._upstream.open("GET", headers) as response:
                    if not is_stream(response):
                        raise self._upstream.refusal(response)
                    await self._follow(response, flight, cursor)
                in_vain = 0
            except Fault as fault:
                in_vain += 1
                if not fault.retryable or in_vain >= _MOST_RESUMPTIONS_IN_VAIN:
                    raise
            if cursor.last_id != seen:
                since, in_vain = loop.time(), 0

    async def _initialized(self, body: bytes, message: Message) -> None:
        await self._post(body, message)
        self._sessions.listen()

    async def _empty_outbox(self) -> None:
        while True:
            body, message = await self._outbox.get()
            try:
                await self._post(body, message)
            finally:
                self._outbox.task_done()

    async def _post(self, body: bytes, message: Message | None) -> None:
        """Send what nobody waits for: a notification, or the host's answer to the server."""
        name = (message.method if message else None) or "an answer of the host"
        session = self._sessions.current
        headers = dict(POST_HEADERS)
        if message is not None and message.method is not None and session is None and self._last_version:
            headers |= {
                "mcp-protocol-version": message.version or self._last_version,
                "mcp-method": message.method,
            }
        elif session is not None:
            headers |= session.headers
        try:
            async with self._upstream.open("POST", headers, body) as response:
                if session is not None and session.is_gone(response):
                    self._journal.note(
                        f"{name}: the server ended the session; the next request begins a new one"
                    )
                elif response.status_code >= 400:
                    raise self._upstream.refusal(response)
        except Fault as fault:
            self._journal.note(f"{name}: {fault.message}")

    async def _list_tools(self, message: Message, *, again: bool) -> None:
        """Read the list of tools by itself, to learn which arguments become headers."""
        async with self._listing:
            if self._tools.was_listed and not again:
                return
            meta = {
                key: value
                for key, value in message.meta.items()
                if key.startswith("io.modelcontextprotocol/")
            }
            params: dict[str, Any] = {"_meta": meta}
            try:
                for page in range(_MOST_PAGES):
                    request_id = f"marina-stdio:list:{page}"
                    asked = {"jsonrpc": "2.0", "id": request_id, "method": "tools/list", "params": params}
                    body = write_json(asked)
                    headers = {**POST_HEADERS, **mirror_headers(read_message(body, asked))}
                    result = await self._sessions.ask(body, headers, request_id)
                    self._learn_tools(result)
                    if not isinstance(cursor := result.get("nextCursor"), str):
                        break
                    params = {"_meta": meta, "cursor": cursor}
            except Fault as fault:
                self._journal.note(f"the list of tools, for the headers of a call: {fault.message}")
            # Whatever came of it, the server says so if headers are missing.
            self._tools.was_listed = True

    # -- From the server ---------------------------------------------------------------------------------

    async def _follow(self, response: httpx2.Response, flight: Flight, cursor: Cursor) -> None:
        """Write what a request's stream brings, until all is answered."""
        events = self._upstream.events(response, cursor)
        async for data in events:
            await self._deliver(data, flight)
            if not flight.waiting:
                break
        else:
            return
        # A stream that is read to its end leaves its connection for the next request.
        with suppress(TimeoutError, Fault):
            async with asyncio.timeout(_TRAILER_SECONDS):
                async for data in events:
                    await self._deliver(data, flight)

    async def _pass_on(self, response: httpx2.Response, body: bytes, flight: Flight) -> None:
        """Write an answer that is one JSON body. Raises ``Fault`` where it is none."""
        if media_type(response) != "application/json" or not _is_message(body):
            raise self._upstream.refusal(response)
        if response.status_code >= 400:
            self._journal.note(f"{flight.method or 'a batch'}: {self._upstream.refusal(response).message}")
        await self._deliver(body, flight)

    async def _deliver(self, data: bytes, flight: Flight | None) -> None:
        """Write a message of the server's, or those of a batch that the host waits for."""
        try:
            value = parse(data)
        except Malformed as error:
            if flight is None:
                self._journal.note("the server sent an event that is not JSON")
                return
            raise Fault(502, "The server sent an event that is not JSON. Tell who runs it.") from error
        if isinstance(value, list):
            kept = [item for item in value if self._admit(item, flight) is not None]
            if kept:
                await self._out.write(write_json(kept))
        elif (is_changed := self._admit(value, flight)) is not None:
            await self._out.write(write_json(value) if is_changed else one_line(data))

    def _admit(self, item: Any, flight: Flight | None) -> bool | None:
        """Whether the message was changed; None where it is not for the host."""
        if not isinstance(item, dict):
            return None
        if "method" in item:
            if flight is not None and flight.is_modern and "id" in item:
                self._journal.note(
                    "the server sent a request, which it may not since 2026-07-28; it was dropped"
                )
                return None
            if (
                item["method"] == "notifications/cancelled"
                and flight is not None
                and flight.method == _LISTEN
            ):
                # The end of a subscription: no answer will follow.
                flight.waiting.clear()
            return False
        is_changed = False
        if item.get("id") is None and flight is not None and len(flight.waiting) == 1:
            # An answer without id to a request that had one: the host could not tell whose it is.
            item["id"], is_changed = next(iter(flight.waiting.values())), True
        owner = self._flights.owner(item.get("id"))
        if owner is None:
            return None
        is_changed |= self._learn(owner, item.get("result"))
        self._flights.settle(owner, item["id"])
        if not owner.waiting and owner is not flight and owner.task:
            owner.task.cancel()
        return is_changed

    def _learn(self, flight: Flight, result: Any) -> bool:
        """Keep what an answer says about the conversation. Whether the answer was changed."""
        if flight.message is None or not isinstance(result, dict):
            return False
        if flight.method == "initialize":
            version = result.get("protocolVersion")
            if isinstance(version, str) and is_header_value(version):
                self._sessions.begin(flight.offered_session, version, flight.message.params)
        return flight.is_modern and flight.method == "tools/list" and self._learn_tools(result)

    def _learn_tools(self, result: dict[str, Any]) -> bool:
        """Whether tools were left out, as a client must where their annotations break the rules."""
        tools = result.get("tools")
        if not isinstance(tools, list) or not (refused := self._tools.learn(tools)):
            return False
        for name, reason in refused.items():
            self._journal.note(f"the tool {name} is left out: {reason}")
        result["tools"] = [
            tool for tool in tools if not (isinstance(tool, dict) and tool.get("name") in refused)
        ]
        return True


def _require_whole(line: bytes | LineTooLong) -> bytes:
    if isinstance(line, LineTooLong):
        raise Malformed(INVALID_REQUEST, f"A line is longer than {MAX_LINE} bytes. Send less at once.")
    return line


def _is_message(body: bytes) -> bool:
    try:
        value = parse(body)
    except Malformed:
        return False
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, dict) and item.get("jsonrpc") == "2.0" for item in items)


def _is_mismatch(response: httpx2.Response, body: bytes) -> bool:
    if response.status_code != 400:
        return False
    try:
        value = parse(body)
    except Malformed:
        return False
    error = value.get("error") if isinstance(value, dict) else None
    return isinstance(error, dict) and error.get("code") == HEADER_MISMATCH
