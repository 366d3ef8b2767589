"""A real browser goes through a team's identity provider and comes back a member: the page's policy lets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, aside, visitor_of
from tests.factories import PASSWORD, Team, make_team
from tests.plugins.issuer import Answer, Asked
from tests.plugins.live_marina import LiveMarina
from tests.sso.provider import OpenIdProvider

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[OpenIdProvider]:
    """A provider whose people agree to everything at once."""
    running = OpenIdProvider(tmp_path)

    def authorize(asked: Asked) -> Answer:
        redirect = urlsplit(asked.query["redirect_uri"])
        back = running.agree(
            f"https://provider/?{urlencode(asked.query)}", sub="s1", email=f"{redirect.port}@acme.example"
        )
        return Answer(status=302, headers={"Location": f"{redirect.scheme}://{redirect.netloc}{back}"})

    running.routes["GET", "/authorize"] = authorize
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def marina(database: None, provider: OpenIdProvider, tmp_path: Path) -> Iterator[LiveMarina]:
    trusting = {"SSL_CERT_FILE": str(provider.authority), "MARINA_OUTBOUND_ALLOW": "127.0.0.0/8 ::1"}
    with LiveMarina(tmp_path / "web.log", environment=trusting).running() as running:
        yield running


@pytest.mark.parametrize("width", [1440, NARROW])
def test_from_the_settings_to_the_first_sign_in(
    marina: LiveMarina, browser: Browser, provider: OpenIdProvider, screenshots: Path, width: int
) -> None:
    team: Team = aside(make_team, "Harbour office")
    owner = visitor_of(browser, marina.base_url, width=width)
    owner.sign_in(team.owner_email, PASSWORD)
    page = owner.page
    page.goto(marina.app_url(team.slug, "single-sign-on/new"))
    page.get_by_label("Name", exact=True).fill("Acme")
    page.get_by_label("Issuer URL").fill(provider.identifier)
    page.get_by_label("Client id").fill(provider.client_id)
    page.get_by_label("Client secret").fill(provider.client_secret)
    page.get_by_label("E-mail domains").fill("acme.example")
    page.get_by_role("button", name="Add provider").click()
    page.get_by_role("button", name="Test the connection").click()
    expect(page.locator("#findings")).to_contain_text("names this issuer letter for letter")
    assert owner.overflow() <= 0
    assert owner.inaccessible() == []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=str(screenshots / f"provider-{scheme}-{width}.png"), full_page=True)

    member = visitor_of(browser, marina.base_url, width=width, ignore_https_errors=True)
    page = member.page
    page.goto(f"{marina.base_url}/app/sign-in")
    page.get_by_role("link", name="Sign in with your team").click()
    page.get_by_label("Team").fill(team.slug)
    page.get_by_role("button", name="Continue").click()
    assert member.overflow() <= 0
    page.screenshot(path=str(screenshots / f"door-{width}.png"), full_page=True)
    page.get_by_role("button", name="Continue with Acme").click()
    page.wait_for_url(marina.app_url(team.slug))
    page.goto(f"{marina.base_url}/app/account/")
    expect(page.get_by_role("main")).to_contain_text(f"Acme ({team.slug})")
    assert member.overflow() <= 0
    page.screenshot(path=str(screenshots / f"account-{width}.png"), full_page=True)

    page = owner.page
    page.goto(marina.app_url(team.slug, "single-sign-on/"))
    expect(page.get_by_role("main")).to_contain_text("Where your members sign in")
    assert owner.overflow() <= 0
    assert owner.inaccessible() == []
    page.screenshot(path=str(screenshots / f"list-dark-{width}.png"), full_page=True)
    page.get_by_label(f"Type {team.slug} to confirm").fill(team.slug)
    page.get_by_role("button", name="Require it").click()
    expect(page.get_by_role("main")).to_contain_text("Single sign-on is required")
    assert owner.faults == []
