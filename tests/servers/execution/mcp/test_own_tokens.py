"""Marina signs in by itself, with client id and secret: tokens are asked for once, and sent nowhere else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from core.errors import InvalidInput, SourceError
from tests.farside import Asked, FarSide, Send, far_side, reply
from tests.servers.execution.mcp.conftest import Ask
from tests.servers.execution.mcp.test_bad_servers import as_json

pytestmark = pytest.mark.anyio


@dataclass
class Guarded:
    """A server that takes the tokens which its authorization server gives to one client."""

    side: FarSide
    good: set[str] = field(default_factory=set)
    asked: list[dict[str, str]] = field(default_factory=list)
    wanted: str = ""
    """A scope that calls need."""
    issuer: str = ""

    def __post_init__(self) -> None:
        origin = self.side.origin
        self.issuer = self.issuer or origin
        self.url = self.side.serve("/mcp", self._answer)
        self.side.serve("/.well-known/oauth-protected-resource/mcp", self._resource)
        metadata = {
            "issuer": origin,
            "authorization_endpoint": f"{origin}/authorize",
            "token_endpoint": f"{origin}/token",
            "code_challenge_methods_supported": ["S256"],
        }
        self.side.serve("/.well-known/oauth-authorization-server", as_json(metadata))
        self.side.serve("/token", self.give)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "auth": "oauth",
            "sign_in": "client",
            "client_id": "marina",
            "client_secret": "very-secret",
            "issuer": self.side.origin,
        }

    def _resource(self, asked: Asked, send: Send) -> None:
        send(as_json({"resource": self.url, "authorization_servers": [self.issuer]}))

    def give(self, asked: Asked, send: Send) -> None:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        self.asked.append({**form, "authorization": asked.headers.get("authorization", "")})
        token = f"token-{len(self.asked)}-{form.get('scope', '')}".replace(" ", "+")
        self.good.add(token)
        send(as_json({"access_token": token, "token_type": "Bearer", "expires_in": 3600}))

    def _answer(self, asked: Asked, send: Send) -> None:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        message = orjson.loads(asked.body or b"{}")
        method = message.get("method")
        if token not in self.good:
            send(reply(status=401, headers={"WWW-Authenticate": 'Bearer scope="base"'}))
        elif method == "tools/call" and self.wanted not in token:
            said = f'Bearer error="insufficient_scope", scope="{self.wanted}"'
            send(reply(status=403, headers={"WWW-Authenticate": said}))
        elif method == "tools/call" and message["params"]["name"] == "tell":
            error = {"code": -32000, "message": f"You sent {token}."}
            send(as_json({"jsonrpc": "2.0", "id": message["id"], "error": error}))
        elif "id" not in message:
            send(reply(status=202))
        else:
            greeting = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "guarded", "version": "1"},
            }
            results: dict[str, Any] = {
                "initialize": greeting,
                "tools/list": {"tools": [{"name": "look", "inputSchema": {"type": "object"}}]},
                "tools/call": {"content": [{"type": "text", "text": token}]},
            }
            send(as_json({"jsonrpc": "2.0", "id": message["id"], "result": results.get(method, {})}))


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with far_side() as side:
        yield Guarded(side)


async def test_one_token_serves_many_calls(ask: Ask, guarded: Guarded) -> None:
    for _ in range(3):
        outcome = await ask.call(guarded.url, "look", settings=guarded.settings)
        assert outcome.text == "token-1-base"
    (form,) = guarded.asked
    assert (form["grant_type"], form["resource"], form["scope"]) == (
        "client_credentials",
        guarded.url,
        "base",
    )
    assert form["authorization"] == f"Basic {b64encode(b'marina:very-secret').decode()}"


async def test_what_it_offers_is_shown_before_it_is_saved(ask: Ask, guarded: Guarded) -> None:
    offering = await ask.offering(guarded.url, **guarded.settings)
    assert [each.name for each in offering.tools] == ["look"]


async def test_a_token_that_is_refused_is_not_asked_for_again_and_again(ask: Ask, guarded: Guarded) -> None:
    await ask.call(guarded.url, "look", settings=guarded.settings)
    guarded.good.clear()
    with pytest.raises(SourceError, match="just given"):
        await ask.call(guarded.url, "look", settings=guarded.settings)
    assert len(guarded.asked) == 1


async def test_a_server_that_tells_our_token_in_an_error_is_masked(ask: Ask, guarded: Guarded) -> None:
    await ask.call(guarded.url, "look", settings=guarded.settings)
    outcome = await ask.call(guarded.url, "tell", settings=guarded.settings)
    assert outcome.failed
    assert "token-1" not in outcome.text
    assert "[masked]" in outcome.text


async def test_more_scope_is_asked_for_with_what_there_was(ask: Ask, guarded: Guarded) -> None:
    guarded.wanted = "more"
    outcome = await ask.call(guarded.url, "look", settings=guarded.settings)
    assert outcome.text == "token-2-base+more"
    assert [form["scope"] for form in guarded.asked] == ["base", "base more"]


async def test_the_secret_is_sent_to_no_other_authorization_server(ask: Ask, guarded: Guarded) -> None:
    settings = {**guarded.settings, "issuer": "https://as.example"}
    with pytest.raises(InvalidInput, match="Nothing was sent there"):
        await ask.offering(guarded.url, **settings)
    assert not guarded.asked


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"auth": "oauth", "sign_in": "client"}, "client_id"),
        (
            {"auth": "oauth", "sign_in": "client", "client_id": "a", "issuer": "https://a.example"},
            "client_secret",
        ),
        ({"auth": "oauth", "client_id": "a"}, "issuer"),
        ({"auth": "oauth", "client_secret": "a"}, "client_id"),
        ({"auth": "oauth", "sign_in": "nobody"}, "sign_in"),
        ({"auth": "oauth", "token": "a"}, "token"),
        ({"auth": "bearer", "token": "a", "client_secret": "b"}, "client_secret"),
        ({"auth": "none", "client_id": "b"}, "client_id"),
        ({"auth": "oauth", "scope": 'a "b"'}, "scope"),
        ({"auth": "oauth", "client_id": "a", "issuer": "javascript:x"}, "issuer"),
    ],
)
async def test_settings_that_do_not_fit_are_refused_at_their_place(
    ask: Ask, settings: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        ask.backend.clean_settings({"url": "https://x.example/mcp", **settings})
    assert path in {fault["path"] for fault in refused.value.errors}
