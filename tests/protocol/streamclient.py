"""Streams and sessions over raw HTTP: what arrives is read event by event, and a test may break off at any point."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from tests.protocol.wireclient import MODERN, Answer, Endpoint, modern_meta

EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    data: str
    id: str | None = None
    name: str | None = None
    retry: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Stream:
    """An answer that is read while it comes. Where it is no stream of events, ``answer`` reads it whole."""

    def __init__(
        self,
        endpoint: Endpoint,
        message: Any = None,
        headers: Mapping[str, str | None] | None = None,
        *,
        method: str = "POST",
        seconds: float = 60,
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=seconds)
        sent: dict[str, str | None] = {
            "Host": f"127.0.0.1:{endpoint.port}",
            "Accept": f"application/json, {EVENTS}",
            "Authorization": None if endpoint.key is None else f"Bearer {endpoint.key}",
        }
        body = None
        if message is not None:
            body = json.dumps(message).encode()
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        self._connection.putrequest(method, endpoint.path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value is not None:
                self._connection.putheader(name, value)
        if body is not None:
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body)
        # Once it is chunked or ends with the connection, http.client lets go of the socket by itself.
        self._socket = self._connection.sock
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_stream(self) -> bool:
        return (self.headers["content-type"] or "").startswith(EVENTS)

    def answer(self) -> Answer:
        """The rest, whole."""
        return Answer(self.status, self.headers, self._response.read())

    def next(self, *, comments: bool = False) -> Event | None:
        """The next event; ``None`` at the end. With ``comments`` a comment counts as one, without data."""
        found: dict[str, str] = {}
        data: list[str] = []
        while line := self._response.readline():
            text = line.decode().rstrip("\n")
            if not text:
                if found or data:
                    retry = found.get("retry")
                    return Event(
                        "\n".join(data),
                        found.get("id"),
                        found.get("event"),
                        None if retry is None else int(retry),
                    )
                continue
            name, _, value = text.partition(":")
            if name == "":
                if comments:
                    return Event("", name="comment")
                continue
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            else:
                found[name] = value
        return None

    def message(self) -> Any:
        """The next event that has a message; ``None`` at the end."""
        while (event := self.next()) is not None:
            if event.data:
                return event.json
        return None

    def messages(self) -> list[Any]:
        """All messages up to the end."""
        found = []
        while (message := self.message()) is not None:
            found.append(message)
        return found

    def close(self) -> None:
        """Go away, at once and without a word."""
        self._response.close()
        self._connection.close()


@dataclass(frozen=True)
class LegacySession:
    """A session of a handshake revision, seen from its client. ``at`` is the replica that is spoken to."""

    at: Endpoint
    id: str
    version: str

    def on(self, port: int) -> LegacySession:
        """The same session, by way of another replica."""
        return replace(self, at=replace(self.at, port=port))

    @property
    def headers(self) -> dict[str, str | None]:
        return {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": self.version}

    def request(self, method: str, params: Any = None, *, rpc_id: Any = 1, **headers: str | None) -> Answer:
        """A request and its whole answer, be it a stream or not."""
        with self.open(method, params, rpc_id=rpc_id, **headers) as stream:
            return stream.answer()

    def open(self, method: str, params: Any = None, *, rpc_id: Any = 1, **headers: str | None) -> Stream:
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": rpc_id, "method": method}
        if params is not None:
            message["params"] = params
        return self.send(message, **headers)

    def call(
        self, tool: str, arguments: Any = None, *, token: Any = None, rpc_id: Any = 1, **headers: str | None
    ) -> Stream:
        """A ``tools/call``, which may stream."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments or {}}
        if token is not None:
            params["_meta"] = {"progressToken": token}
        return self.open("tools/call", params, rpc_id=rpc_id, **headers)

    def send(self, message: Any, **headers: str | None) -> Stream:
        return Stream(self.at, message, {**self.headers, **headers})

    def notify(self, method: str, params: Any = None) -> Answer:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        with self.send(message) as stream:
            return stream.answer()

    def respond(self, question: Any, **content: Any) -> Answer:
        """Answer a question of the server's with ``result`` or ``error``."""
        with self.send({"jsonrpc": "2.0", "id": question, **content}) as stream:
            return stream.answer()

    def listen(self, after: str | None = None, **headers: str | None) -> Stream:
        """Open the stream of the session, or go on with the one that an event was of."""
        sent: dict[str, str | None] = {**self.headers, "Accept": EVENTS, "Last-Event-ID": after, **headers}
        return Stream(self.at, None, sent, method="GET")

    def end(self) -> Answer:
        return self.at.send(None, self.headers, method="DELETE")


def begin(
    endpoint: Endpoint,
    *,
    version: str = "2025-11-25",
    capabilities: Mapping[str, Any] | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> LegacySession:
    """Send ``initialize``."""
    params = {
        "protocolVersion": version,
        "capabilities": capabilities or {},
        "clientInfo": {"name": "stream-test", "version": "1"},
    }
    answer = endpoint.legacy("initialize", params, version=None, headers=headers)
    assert answer.status == 200, answer.body
    return LegacySession(endpoint, answer.headers["mcp-session-id"], answer.result["protocolVersion"])


def open_modern(
    endpoint: Endpoint,
    method: str,
    params: Mapping[str, Any] | None = None,
    *,
    rpc_id: Any = 1,
    headers: Mapping[str, str | None] | None = None,
    **meta: Any,
) -> Stream:
    """A 2026-07-28 request whose answer may be a stream."""
    sent = {**(params or {}), "_meta": modern_meta(**meta)}
    own: dict[str, str | None] = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    name = sent.get("uri" if method == "resources/read" else "name")
    if name is not None:
        own["Mcp-Name"] = str(name)
    message = {"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": sent}
    return Stream(endpoint, message, {**own, **(headers or {})})
