"""The official Python client, unmodified: from a bare 401 to a call, through discovery, registration and consent."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

from core.threads import run_sync
from tenants.models import OAuthAccessToken
from tenants.scoping import tenant_scope
from tests.factories import PASSWORD, Team
from tests.oauth.flows import REDIRECT, kinds_of, make_harbour
from tests.plugins.live_marina import LiveMarina

pytestmark = pytest.mark.anyio


@dataclass
class Kept:
    """What the client keeps."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Member:
    """A member's browser: signs in where it is asked to, reads the consent page and agrees."""

    def __init__(self, base_url: str, email: str) -> None:
        self.base_url = base_url
        self.email = email
        self.consents = 0
        self.location = ""

    async def visit(self, url: str) -> None:
        async with httpx2.AsyncClient(base_url=self.base_url, follow_redirects=True, timeout=60) as browser:
            page = await browser.get(url)
            assert "Sign in" in page.text
            page = await browser.post(
                str(page.url),
                data={**_hidden(page.text), "email": self.email, "password": PASSWORD},
                headers={"Origin": self.base_url},
            )
            assert "Allow Probe?" in page.text, page.text
            found = re.findall(r'name="scopes" value="([^"]+)"', page.text)
            answer = await browser.post(
                str(page.url),
                data={**_hidden(page.text), "decision": "allow", "scopes": found},
                headers={"Origin": self.base_url},
                follow_redirects=False,
            )
            assert answer.status_code == 303, answer.text
            self.consents += 1
            self.location = answer.headers["Location"]

    async def come_back(self) -> AuthorizationCodeResult:
        assert self.location.startswith(REDIRECT)
        query = parse_qs(urlsplit(self.location).query)
        return AuthorizationCodeResult(code=query["code"][0], state=query["state"][0], iss=query["iss"][0])


def _hidden(text: str) -> dict[str, str]:
    found = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', text)
    return {name: html.unescape(value) for name, value in found}


@pytest.fixture
def team() -> Team:
    return make_harbour()


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_client_goes_from_a_bare_401_to_a_call_and_refreshes(
    live_marina: LiveMarina, team: Team, mode: str
) -> None:
    kept, member = Kept(), Member(live_marina.base_url, team.owner_email)
    url = live_marina.mcp_url(team.slug)

    auth = OAuthClientProvider(
        url,
        OAuthClientMetadata(
            client_name="Probe",
            redirect_uris=[AnyUrl(REDIRECT)],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        kept,
        redirect_handler=member.visit,
        callback_handler=member.come_back,
    )

    async def call() -> str:
        async with (
            httpx2.AsyncClient(auth=auth, timeout=60) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            answer = await client.call_tool("list_tables", {})
            assert not answer.is_error
            return str(answer.structured_content)

    assert "fish" in await call()
    assert kept.tokens is not None
    first = kept.tokens
    # Knowing that its access token has expired, it refreshes before it asks.
    auth.context.token_expiry_time = 1.0
    assert "fish" in await call()
    assert kept.tokens is not None
    assert kept.tokens.refresh_token != first.refresh_token
    assert member.consents == 1
    assert await run_sync(_count_live, team) == 1
    assert await run_sync(kinds_of, team) == [
        "oauth.client_registered",
        "oauth.consented",
        "oauth.token_issued",
        "oauth.token_refreshed",
    ]


def _count_live(team: Team) -> int:
    with tenant_scope(team.tenant_id):
        return OAuthAccessToken.objects.count()
