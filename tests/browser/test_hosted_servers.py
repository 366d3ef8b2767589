"""A command in a real browser: chosen in place of an address, tested, called, looked at; at both widths and themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_a_command_is_chosen_and_its_lines_are_shown(
    live_marina: LiveMarina, browser: Browser, screenshots: Path, width: int, theme: str
) -> None:
    team = aside(make_team)
    visitor = Visitor(new_context(browser, width=width, theme=theme).new_page(), live_marina.base_url)
    visitor.watch()
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    page.goto(f"{live_marina.app_url(team.slug, 'data-sources/new')}?kind=mcp")
    page.get_by_label("Name", exact=True).fill("ships")
    expect(page.get_by_label("Address", exact=True)).to_be_visible()
    expect(page.get_by_label("Command", exact=True)).to_be_hidden()
    page.get_by_label("Transport", exact=True).select_option(label="stdio")
    expect(page.get_by_label("Address", exact=True)).to_be_hidden()
    page.get_by_label("Command", exact=True).fill("odd")
    page.get_by_label("Further arguments", exact=True).fill("telling")
    page.get_by_label("Environment", exact=True).fill('{"KEY": "a-key-of-theirs"}')
    assert visitor.overflow() <= 0
    assert visitor.inaccessible() == []
    page.screenshot(path=screenshots / f"hosted-new-{width}-{theme}.png", full_page=True)
    page.locator("button[type=submit].button-primary").click()
    expect(page.get_by_role("heading", name="Command", exact=True)).to_be_visible()
    expect(page.get_by_text("It does not run just now")).to_be_visible()
    # The look at it wrote this: what is noted comes a moment later.
    noted = page.get_by_text("the key is [masked]").first
    for _ in range(60):
        page.reload()
        if noted.is_visible():
            break
        page.wait_for_timeout(1_000)
    expect(noted).to_be_visible()
    assert visitor.overflow() <= 0
    assert visitor.inaccessible() == []
    page.screenshot(path=screenshots / f"hosted-{width}-{theme}.png", full_page=True)
    assert visitor.faults == []
