"""An MCP server of the official SDK behind an authorization server of it, on loopback: of either era.

Whoever comes to its authorization endpoint is taken for the person in ``person``, who agrees at once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.local.ports import LOOPBACK, find_free_port
from tests.marina.harbour import serve
from tests.servers.execution.mcp.shipyard import Era, OfOneEra

READ = "ships:read"
WRITE = "ships:write"


@dataclass
class Asked:
    """A request to the authorization server or the MCP server."""

    verb: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Authority(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """What it knows. ``lifetime`` is that of its access tokens, in seconds; ``renews``: it gives refresh tokens."""

    era: Era = "modern"
    port: int = field(default_factory=find_free_port)
    person: str = "anna"
    lifetime: int | None = 3600
    renews: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    """Members of its metadata that are to be otherwise."""
    refuses: str = ""
    """Requests to the MCP server with this in their body are refused, whatever the token."""
    moved_to: str = ""
    """Who signs people in for the MCP server, where it is another one by now."""
    clients: dict[str, OAuthClientInformationFull] = field(default_factory=dict)
    codes: dict[str, AuthorizationCode] = field(default_factory=dict)
    access: dict[str, AccessToken] = field(default_factory=dict)
    refreshing: dict[str, RefreshToken] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    refreshed: int = 0

    @property
    def origin(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/mcp"

    def at(self, path: str) -> list[Asked]:
        """The requests for a path."""
        return [each for each in self.asked if each.path == path]

    def end_access(self) -> None:
        """Know no access token any more."""
        self.access.clear()

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[str(client_info.client_id)] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        code = AuthorizationCode(
            code=secrets.token_urlsafe(32),
            scopes=params.scopes or [READ],
            expires_at=time.time() + 60,
            client_id=str(client.client_id),
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=True,
            resource=params.resource,
            subject=self.person,
        )
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        code = self.codes.pop(authorization_code.code)
        return self._grant(str(client.client_id), code.scopes, code.resource, code.subject)

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        return self.refreshing.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        self.refreshed += 1
        del self.refreshing[refresh_token.token]
        return self._grant(str(client.client_id), scopes, refresh_token.resource, refresh_token.subject)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.refreshing.pop(token.token, None)
        self.access.pop(token.token, None)

    def _grant(self, client: str, scopes: list[str], resource: str | None, person: str | None) -> OAuthToken:
        access, refresh = f"access-{secrets.token_urlsafe(24)}", f"refresh-{secrets.token_urlsafe(24)}"
        self.access[access] = AccessToken(
            token=access, client_id=client, scopes=scopes, resource=resource, subject=person
        )
        if self.renews:
            self.refreshing[refresh] = RefreshToken(
                token=refresh, client_id=client, scopes=scopes, resource=resource, subject=person
            )
        return OAuthToken(
            access_token=access,
            token_type="Bearer",
            expires_in=self.lifetime,
            refresh_token=refresh if self.renews else None,
            scope=" ".join(scopes),
        )


def make_server(authority: Authority) -> MCPServer:
    """The server and its tools: one for whoever signed in, one that wants a scope besides."""
    server = MCPServer(
        "guarded",
        version="1.0",
        auth_server_provider=authority,
        auth=AuthSettings(
            issuer_url=AnyHttpUrl(authority.origin),
            resource_server_url=AnyHttpUrl(authority.url),
            required_scopes=[READ],
            validate_token_resource=True,
            client_registration_options=ClientRegistrationOptions(
                enabled=True, valid_scopes=[READ, WRITE], default_scopes=[READ, WRITE]
            ),
            revocation_options=RevocationOptions(enabled=True),
        ),
    )

    @server.tool()
    def who() -> str:
        """Who signed in."""
        token = get_access_token()
        return "nobody" if token is None else f"{token.subject} with {' '.join(sorted(token.scopes))}"

    @server.tool()
    def launch() -> str:
        """Launch a ship."""
        return "launched"

    return server


class Gate:
    """Notes what is asked, lets ``launch`` be called with the scope for it alone, and bends the metadata."""

    def __init__(self, app: ASGIApp, authority: Authority) -> None:
        self._app = app
        self._of_era = OfOneEra(app, authority.era)
        self._authority = authority

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path = scope["path"]
        self._authority.asked.append(
            Asked(scope["method"], path, scope["query_string"].decode(), headers, bytes(body))
        )
        if path == "/.well-known/oauth-authorization-server" and self._authority.metadata:
            await self._metadata(scope, send)
            return
        if path == "/.well-known/oauth-protected-resource/mcp" and self._authority.moved_to:
            said = {"resource": self._authority.url, "authorization_servers": [self._authority.moved_to]}
            await _answer(send, 200, orjson.dumps(said), [(b"content-type", b"application/json")])
            return
        if path == "/mcp" and self._authority.refuses and self._authority.refuses.encode() in body:
            await _answer(send, 401, b"", [(b"www-authenticate", b'Bearer error="invalid_token"')])
            return
        token = self._authority.access.get(headers.get("authorization", "").removeprefix("Bearer "))
        if token is not None and b'"launch"' in body and WRITE not in token.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{WRITE}"'
            await _answer(send, 403, b"", [(b"www-authenticate", challenge.encode())])
            return
        given = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def again() -> Message:
            return next(given, None) or await receive()

        await (self._of_era if path == "/mcp" else self._app)(scope, again, send)

    async def _metadata(self, scope: Scope, send: Send) -> None:
        sent: list[Message] = []

        async def collect(message: Message) -> None:
            sent.append(message)

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        await self._app(scope, nothing, collect)
        said = orjson.loads(b"".join(each.get("body", b"") for each in sent))
        said = {**said, **self._authority.metadata}
        said = {name: value for name, value in said.items() if value is not None}
        await _answer(send, 200, orjson.dumps(said), [(b"content-type", b"application/json")])


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def open_authority(era: Era = "modern") -> Iterator[Authority]:
    """Both servers at one address."""
    authority = Authority(era)
    app = make_server(authority).streamable_http_app(streamable_http_path="/mcp")
    with serve(Gate(app, authority), authority.port):
        yield authority
