"""Speaks raw HTTP to the endpoint, so that a test says exactly what goes over the wire."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
UNSET: Any = object()


@dataclass(frozen=True)
class Answer:
    """What came back."""

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
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["result"]
        return found


@dataclass(frozen=True)
class Endpoint:
    """A running Marina and one URL of it."""

    port: int
    path: str
    key: str | None
    seconds: float = 60
    """How long the client waits for an answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def at(self, path: str) -> Endpoint:
        return replace(self, path=path)

    def with_key(self, key: str | None) -> Endpoint:
        return replace(self, key=key)

    def send(
        self, body: bytes | None, headers: Mapping[str, str | None] | None = None, *, method: str = "POST"
    ) -> Answer:
        """One request. A header of ``None`` is left out."""
        sent: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self.port}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Authorization": None if self.key is None else f"Bearer {self.key}",
        }
        sent.update(headers or {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.seconds)
        try:
            connection.putrequest(method, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def modern(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        meta: Mapping[str, Any] | None = UNSET,
        headers: Mapping[str, str | None] | None = None,
        rpc_id: Any = 1,
    ) -> Answer:
        """A 2026-07-28 request with envelope and headers as they must be, unless told otherwise."""
        envelope = modern_meta() if meta is UNSET else meta
        sent: dict[str, Any] = dict(params or {})
        if envelope is not None:
            sent["_meta"] = envelope
        message = {"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": sent}
        own: dict[str, str | None] = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if "name" in sent:
            own["Mcp-Name"] = str(sent["name"])
        return self.send(json.dumps(message).encode(), {**own, **(headers or {})})

    def legacy(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        version: str | None = "2025-11-25",
        headers: Mapping[str, str | None] | None = None,
        rpc_id: Any = 1,
    ) -> Answer:
        """A request as before 2026-07-28."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": rpc_id, "method": method}
        if params is not None:
            message["params"] = params
        return self.send(json.dumps(message).encode(), {"MCP-Protocol-Version": version, **(headers or {})})

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> Answer:
        """A modern ``tools/call``."""
        return self.modern("tools/call", {"name": name, "arguments": arguments or {}}, **more)


def modern_meta(**more: Any) -> dict[str, Any]:
    """The ``_meta`` that every 2026-07-28 request carries."""
    return {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "wire-test", "version": "1.2"},
        "io.modelcontextprotocol/clientCapabilities": {},
        **more,
    }
