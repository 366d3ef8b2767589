"""The OAuth doctor in a real browser: a client's fault shows while the page stands open, and the self-test is green."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, make_team
from tests.oauth.program import Program
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_fault_shows_while_the_page_stands_open(
    live_marina: LiveMarina, browser: Browser, screenshots: Path, width: int, theme: str
) -> None:
    team = aside(make_team, "Harbour office")
    context = new_context(browser, width=width, theme=theme)
    page = context.new_page()
    visitor = Visitor(page, live_marina.base_url)
    visitor.sign_in(team.owner_email, PASSWORD)
    visitor.watch()
    page.goto(live_marina.app_url(team.slug, "apps/"))
    page.get_by_role("link", name="Doctor").click()
    expect(page.get_by_role("heading", name="No client has tried yet")).to_be_visible()

    program = Program(live_marina.port, team, agent="Harbour assistant/1.0 with a name that goes on and on")
    aside(program.discover)
    aside(program.register, redirect_uris=["strange://callback"])
    row = page.get_by_role("rowheader", name="Harbour assistant")
    expect(row).to_be_visible(timeout=30_000)
    expect(page.get_by_text("refused for a redirect URI")).to_be_visible()
    assert visitor.overflow() == 0
    assert visitor.inaccessible() == []
    page.screenshot(path=screenshots / f"doctor-{theme}.png", full_page=True)

    page.get_by_role("button", name="Run the self-test").click()
    expect(page.get_by_text("A client finds its way in")).to_be_visible(timeout=30_000)
    expect(page.locator("#self-test .badge-bad")).to_have_count(0)
    assert visitor.overflow() == 0
    page.screenshot(path=screenshots / f"self-test-{theme}.png", full_page=True)

    row.get_by_role("link").click()
    expect(page.get_by_text("at fault")).to_be_visible()
    expect(page.get_by_text("For the client's developer:")).to_be_visible()
    assert visitor.overflow() == 0
    assert visitor.inaccessible() == []
    page.screenshot(path=screenshots / f"timeline-{theme}.png", full_page=True)
    assert visitor.faults == []
    context.close()
