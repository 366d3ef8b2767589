"""An outside issuer in a real browser: trusted, a token judged, at both widths and in both themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_an_issuer_is_trusted_and_a_token_is_judged(
    live_marina: LiveMarina, browser: Browser, screenshots: Path, width: int, theme: str
) -> None:
    team = aside(make_team)
    visitor = Visitor(new_context(browser, width=width, theme=theme).new_page(), live_marina.base_url)
    visitor.watch()
    visitor.expected.add(400)
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "issuers/"))
    assert visitor.overflow() <= 0
    page.get_by_role("link", name="Trust an issuer").first.click()
    page.get_by_label("Name", exact=True).fill("corp")
    page.get_by_label("Issuer", exact=True).fill("http://id.example.com/realms/a-rather-long-name-of-a-realm")
    page.get_by_label("What its values are worth").fill("analyst = tools:read tools:execute")
    page.get_by_role("button", name="Trust it").click()
    expect(page.get_by_text("is not an https address")).to_be_visible()
    page.screenshot(path=screenshots / f"issuer-new-{width}-{theme}.png", full_page=True)
    assert visitor.overflow() <= 0
    page.get_by_label("Issuer", exact=True).fill(
        "https://id.example.com/realms/a-rather-long-name-of-a-realm"
    )
    page.get_by_role("button", name="Trust it").click()
    page.get_by_label("Access token").fill("not a signed token")
    page.get_by_role("button", name="Judge it").click()
    expect(page.get_by_role("heading", name="The token is refused")).to_be_visible()
    assert visitor.overflow() <= 0
    assert visitor.inaccessible() == []
    page.screenshot(path=screenshots / f"issuer-{width}-{theme}.png", full_page=True)
    page.goto(live_marina.app_url(team.slug, "issuers/"))
    expect(page.get_by_role("link", name="corp")).to_be_visible()
    assert visitor.overflow() <= 0
    page.screenshot(path=screenshots / f"issuers-{width}-{theme}.png", full_page=True)
    assert visitor.faults == []
