"""Official clients that know a URL and nothing else: from a bare 401 to a call, with a member in Chromium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from tenants.models import OAuthAccessToken
from tenants.scoping import tenant_scope
from tests.browser.conftest import aside, fill_sign_in, new_context
from tests.browser.inspector import Pages, inspecting
from tests.clients.berth import LEGACY, MODERN
from tests.clients.node import running_client
from tests.factories import Team
from tests.oauth.flows import kinds_of, make_harbour
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.clients, pytest.mark.timeout(200)]

EXECUTE = "Call the server's tools"


class Member:
    """A member at their browser: signs in where they are asked to, reads the page, and agrees."""

    def __init__(self, page: Page, team: Team) -> None:
        self.page = page
        self.team = team
        self.consents = 0

    def visit(self, address: str, *, without: str | None = None) -> None:
        """Open a client's link and agree, but for one of the rights."""
        self.page.goto(address)
        self.agree(self.page, without=without)
        expect(self.page.get_by_text("You may close this window.")).to_be_visible()

    def agree(self, page: Page, *, without: str | None = None) -> None:
        if not self.consents:
            fill_sign_in(page, self.team.owner_email)
        expect(page.get_by_role("heading", name="Allow ")).to_be_visible()
        if without is not None:
            page.get_by_label(without).uncheck()
        page.get_by_role("button", name="Allow").click()
        self.consents += 1


@pytest.fixture
def harbour(database: None) -> Team:
    return aside(make_harbour)


def follow(script: str, job: dict[str, Any], member: Member, *, first_without: str | None = None) -> Any:
    """Run a client and be its member; what it saw."""
    with running_client(script, job) as lines:
        for line in lines:
            if not line.startswith("{"):
                # What the SDK warns of: this client keeps nothing from one start to the next.
                continue
            said = json.loads(line)
            if "visit" not in said:
                return said
            member.visit(said["visit"], without=None if member.consents else first_without)
    pytest.fail(f"{script} ended without a word")


@pytest.mark.parametrize("script", ["oauth_typescript_1.mjs", "oauth_typescript_2.mjs"])
def test_typescript_sdk_goes_from_a_bare_401_to_a_call_and_refreshes(
    live_marina: LiveMarina, harbour: Team, browser: Browser, script: str
) -> None:
    member = Member(new_context(browser).new_page(), harbour)
    job = {"url": live_marina.mcp_url(harbour.slug), "call": {"name": "list_tables", "arguments": {}}}
    seen = follow(script, job, member)
    assert seen["error"] is None
    assert "list_tables" in seen["tools"]
    assert len(seen["answers"]) == 2
    assert all("fish" in json.dumps(answer) for answer in seen["answers"])
    assert (member.consents, seen["refreshed"]) == (1, True)
    assert aside(kinds_of, harbour) == [
        "oauth.client_registered",
        "oauth.consented",
        "oauth.token_issued",
        "oauth.token_refreshed",
    ]


def test_typescript_sdk_asks_for_the_right_that_a_call_lacks(
    live_marina: LiveMarina, harbour: Team, browser: Browser
) -> None:
    member = Member(new_context(browser).new_page(), harbour)
    job = {"url": live_marina.mcp_url(harbour.slug), "call": {"name": "list_tables", "arguments": {}}}
    seen = follow("oauth_typescript_2.mjs", job, member, first_without=EXECUTE)
    assert seen["error"] is None
    assert "fish" in json.dumps(seen["answers"][0])
    assert member.consents == 2
    assert set(seen["scopes"][0].split()) == {"tools:read", "tools:execute"}


@pytest.mark.parametrize(("era", "version"), [("modern", MODERN), ("legacy", LEGACY)])
def test_inspector_goes_from_a_bare_401_to_a_call_and_refreshes(
    live_marina: LiveMarina, harbour: Team, browser: Browser, tmp_path: Path, era: str, version: str
) -> None:
    with inspecting(live_marina.mcp_url(harbour.slug), era=era, home=tmp_path) as address:
        page = new_context(browser).new_page()
        page.goto(address)
        inspector = Pages(page)
        inspector.connect()
        Member(page, harbour).agree(page)
        inspector.see(f"MCP {version}")
        inspector.open("Tools")
        inspector.run_tool("List tables")
        inspector.see("fish")
        inspector.press("Close results")
        aside(end_access_tokens, harbour)
        while "oauth.token_refreshed" not in aside(kinds_of, harbour):
            # A token that is known is looked at again within five seconds.
            inspector.press("Execute Tool")
            inspector.see("fish")
            inspector.press("Close results")


def end_access_tokens(team: Team) -> None:
    """Their hour is over."""
    with tenant_scope(team.tenant_id):
        OAuthAccessToken.objects.update(expires=timezone.now())
