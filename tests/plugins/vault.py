"""A key/value store, version 2, that speaks Vault's HTTP API on loopback.

It is NOT Vault: no registry that the tests may use has its binary. It is written by Vault's published API
documentation (``/api-docs/secret/kv/kv-v2``, ``/api-docs/auth/approle``, ``/api-docs/auth/token``, and the status codes
of ``/api-docs``): paths, methods, status codes, bodies of answers and errors, versions with their metadata, tokens with
leases, policies, namespaces and sealing. What the documentation leaves open, it leaves open as well.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DENIED = ["permission denied"]


@dataclass
class Version:
    """One version of a secret."""

    data: Mapping[str, Any] | None
    created_time: str
    deletion_time: str = ""
    destroyed: bool = False


@dataclass
class Token:
    """What a token may read: everything below its prefixes."""

    prefixes: tuple[str, ...]
    looks_itself_up: bool = True


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


class VaultServer:
    """The store. ``asked`` are the requests that came: method, path and namespace."""

    def __init__(self, mount: str = "secret") -> None:
        self.mount = mount
        self.secrets: dict[str, list[Version]] = {}
        self.tokens: dict[str, Token] = {}
        self.roles: dict[tuple[str, str], tuple[tuple[str, ...], int]] = {}
        self.sealed = False
        self.namespace = ""
        self.asked: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Asked", (_Request,), {"vault": self}))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.01)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def make_token(self, *prefixes: str, looks_itself_up: bool = True) -> str:
        token = f"hvs.{uuid.uuid4().hex}"
        self.tokens[token] = Token(prefixes, looks_itself_up)
        return token

    def make_role(self, *prefixes: str, lease: int = 1200) -> tuple[str, str]:
        """A role id and a secret id that sign in by AppRole."""
        pair = (str(uuid.uuid4()), str(uuid.uuid4()))
        self.roles[pair] = (prefixes, lease)
        return pair

    def write(self, path: str, **data: Any) -> None:
        self.secrets.setdefault(path, []).append(Version(data, now()))

    def delete(self, path: str) -> None:
        """Delete the newest version, so that it could be undeleted."""
        self.secrets[path][-1].deletion_time = now()

    def destroy(self, path: str) -> None:
        self.secrets[path][-1].data, self.secrets[path][-1].destroyed = None, True

    def logins(self) -> int:
        return sum(target.endswith("/login") for _, target in self.asked)

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, Any] | None]:
        """Status and body, as the documentation has them."""
        parts = urlsplit(target)
        self.asked.append((method, parts.path))
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if headers.get("x-vault-namespace", "") != self.namespace:
            return 404, {"errors": ["no handler for route"]}
        path = parts.path.removeprefix("/v1/")
        if path == "auth/approle/login" and method in {"POST", "PUT"}:
            return self._log_in(json.loads(body))
        token = self.tokens.get(headers.get("x-vault-token", ""))
        if path == "auth/token/lookup-self":
            if token is None or not token.looks_itself_up:
                return 403, {"errors": DENIED}
            return 200, envelope(
                {"display_name": "token", "policies": ["default"], "ttl": 0, "renewable": False}
            )
        if not path.startswith(f"{self.mount}/data/"):
            return (403, {"errors": DENIED}) if token is None else (404, {"errors": ["no handler for route"]})
        name = path.removeprefix(f"{self.mount}/data/")
        if token is None or not any(name.startswith(prefix) for prefix in token.prefixes):
            return 403, {"errors": DENIED}
        return self._read(name, parse_qs(parts.query)) if method == "GET" else (405, {"errors": []})

    def _read(self, name: str, query: Mapping[str, list[str]]) -> tuple[int, dict[str, Any]]:
        versions = self.secrets.get(name, [])
        number = int(query.get("version", ["0"])[0]) or len(versions)
        if not 0 < number <= len(versions):
            return 404, {"errors": []}
        version = versions[number - 1]
        gone = version.destroyed or bool(version.deletion_time)
        metadata = {
            "created_time": version.created_time,
            "custom_metadata": None,
            "deletion_time": version.deletion_time,
            "destroyed": version.destroyed,
            "version": number,
        }
        # A deleted version is a 404 that still has its metadata.
        return (404 if gone else 200), envelope(
            {"data": None if gone else version.data, "metadata": metadata}
        )

    def _log_in(self, given: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        role = self.roles.get((given.get("role_id", ""), given.get("secret_id", "")))
        if role is None:
            return 400, {"errors": ["invalid role or secret ID"]}
        prefixes, lease = role
        auth = {
            "client_token": self.make_token(*prefixes),
            "accessor": uuid.uuid4().hex,
            "policies": ["default", "marina"],
            "token_policies": ["default", "marina"],
            "metadata": {"role_name": "marina"},
            "lease_duration": lease,
            "renewable": True,
            "entity_id": str(uuid.uuid4()),
            "token_type": "service",
            "orphan": True,
        }
        return 200, {**envelope(None), "auth": auth}


def envelope(data: Mapping[str, Any] | None) -> dict[str, Any]:
    """What all of Vault's answers have."""
    return {
        "request_id": str(uuid.uuid4()),
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": None,
    }


class _Request(BaseHTTPRequestHandler):
    vault: VaultServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, said = self.vault.answer(self.command, self.path, headers, body)
        text = b"" if said is None else json.dumps(said).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that the library calls

    def log_message(self, *args: Any) -> None:
        """Nothing is printed."""


@contextmanager
def running_vault(mount: str = "secret") -> Iterator[VaultServer]:
    """A store for the length of a test."""
    server = VaultServer(mount)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(10)
