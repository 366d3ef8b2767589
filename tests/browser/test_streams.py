"""A stream in a real browser: made, its secret shown once, tested, delivered again; at both widths, in both themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, make_team
from tests.farside import far_side, reply
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_a_webhook_is_made_and_tested(
    live_marina: LiveMarina, browser: Browser, screenshots: Path, width: int, theme: str
) -> None:
    team = aside(make_team)
    visitor = Visitor(new_context(browser, width=width, theme=theme).new_page(), live_marina.base_url)
    visitor.watch()
    visitor.expected.add(400)
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    with far_side() as far:
        url = far.serve("/a-rather-long-path/of-a-collector", reply())
        page.goto(live_marina.app_url(team.slug, "streams/"))
        assert visitor.overflow() <= 0
        page.get_by_role("link", name="New stream").first.click()
        page.get_by_label("Name", exact=True).fill("siem")
        page.get_by_label("Address", exact=True).fill("ftp://siem.example.com/")
        page.get_by_role("button", name="Make stream").click()
        expect(page.get_by_text("is no address that Marina sends to")).to_be_visible()
        assert visitor.overflow() <= 0
        assert visitor.inaccessible() == []
        page.screenshot(path=screenshots / f"stream-new-{width}-{theme}.png", full_page=True)
        page.get_by_label("Address", exact=True).fill(url)
        page.get_by_role("button", name="Make stream").click()
        expect(page.get_by_role("heading", name="Save this secret now")).to_be_visible()
        assert visitor.overflow() <= 0
        page.screenshot(path=screenshots / f"stream-secret-{width}-{theme}.png", full_page=True)
        page.get_by_role("link", name="I saved it").click()
        page.get_by_role("button", name="Send a test").click()
        expect(page.get_by_text("The test: taken.")).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        assert visitor.overflow() <= 0
        assert visitor.inaccessible() == []
        page.screenshot(path=screenshots / f"stream-{width}-{theme}.png", full_page=True)
    page.goto(live_marina.app_url(team.slug, "streams/"))
    expect(page.get_by_role("link", name="siem")).to_be_visible()
    assert visitor.overflow() <= 0
    page.screenshot(path=screenshots / f"streams-{width}-{theme}.png", full_page=True)
    assert visitor.faults == []
