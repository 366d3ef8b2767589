"""Sends whatever it is told to send, over connections that stay open. Judges nothing."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.protocol.wireclient import MODERN, modern_meta

SECONDS = 20.0
NAMED = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId"),
}

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Request:
    """One HTTP request: all of it may be wrong."""

    body: bytes
    headers: Headers
    method: str = "POST"
    path: str | None = None

    def but(self, **headers: str | bytes | None) -> Request:
        """The same with other headers; ``None`` leaves one out. Underscores stand for hyphens."""
        changed = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        kept = [(name, value) for name, value in self.headers if name.lower() not in changed]
        for name, value in changed.items():
            if value is not None:
                kept.append((name, value.encode() if isinstance(value, str) else value))
        return replace(self, headers=kept)


@dataclass(frozen=True)
class Answer:
    """What came back. Of a stream, its events."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        return found

    @property
    def is_stream(self) -> bool:
        return self.headers.get_content_type() == "text/event-stream"

    @property
    def messages(self) -> list[Any]:
        """The JSON of each event that has any."""
        lines = self.body.decode().splitlines()
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


@dataclass(frozen=True)
class Target:
    """One server's URL and a key for it."""

    port: int
    team: str
    key: str | None
    session: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/mcp/{self.team}"

    def basic(self, **more: str) -> Headers:
        """The headers of every good request."""
        sent = {
            "Host": f"127.0.0.1:{self.port}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            **more,
        }
        if self.key is not None:
            sent["Authorization"] = f"Bearer {self.key}"
        return [(name, value.encode()) for name, value in sent.items()]

    def modern(self, method: str, params: Mapping[str, Any] | None = None, **meta: Any) -> Request:
        """A good request of 2026-07-28."""
        message = modern_message(method, params, **meta)
        headers = self.basic(**{"MCP-Protocol-Version": MODERN, "Mcp-Method": method})
        name = message["params"].get(NAMED.get(method, ""))
        if isinstance(name, str):
            headers.append(("Mcp-Name", name.encode()))
        return Request(json.dumps(message).encode(), headers)

    def legacy(
        self, method: str, params: Mapping[str, Any] | None = None, *, version: str = "2025-11-25"
    ) -> Request:
        """A good request of an earlier revision, within the session where there is one."""
        headers = self.basic(**{"MCP-Protocol-Version": version})
        if self.session is not None:
            headers.append(("Mcp-Session-Id", self.session.encode()))
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": method}
        if params is not None:
            message["params"] = params
        return Request(json.dumps(message).encode(), headers)

    def connect(self) -> Connection:
        """A connection that stays open as long as the server likes."""
        return Connection(self.port)

    def begun(self, version: str = "2025-11-25") -> Target:
        """The same with a session."""
        params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "f", "version": "1"}}
        with self.connect() as connection:
            answer = connection.post(self, self.legacy("initialize", params, version=version))
        session = answer.headers["Mcp-Session-Id"]
        assert session, answer.body
        return replace(self, session=session)


def modern_message(method: str, params: Mapping[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """A message of 2026-07-28."""
    return {
        "jsonrpc": "2.0",
        "id": 7,
        "method": method,
        "params": {**(params or {}), "_meta": modern_meta(**meta)},
    }


class Connection:
    """One keep-alive connection, opened anew only where the server said that it would close."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def post(self, target: Target, request: Request) -> Answer:
        """Send a request and read all of the answer."""
        self._http.putrequest(
            request.method, request.path or target.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in request.headers:
            self._http.putheader(name, value)
        body = b"" if request.method in {"GET", "HEAD"} else request.body
        if body or request.method == "POST":
            self._http.putheader("Content-Length", str(len(body)))
        self._http.endheaders(body)
        response = self._http.getresponse()
        return Answer(response.status, response.headers, response.read())


@contextmanager
def raw_socket(port: int) -> Iterator[socket.socket]:
    """A connection that says nothing by itself."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        yield connection


def read_answers(connection: socket.socket, count: int = 1) -> list[Answer]:
    """So many answers that came on a connection, one after another."""
    file = connection.makefile("rb")
    answers = []
    for _ in range(count):
        response = http.client.HTTPResponse(_Kept(file))  # type: ignore[arg-type]
        response.begin()
        answers.append(Answer(response.status, response.headers, response.read()))
    return answers


class _Kept:
    """Gives several responses the one file of a socket, which none of them may close."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def makefile(self, mode: str) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __iter__(self) -> Any:
        return iter(self._file)

    def close(self) -> None:
        return
