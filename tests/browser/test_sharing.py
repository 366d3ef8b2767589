"""How a tool's calls share results, in a real browser: set, tried twice, cleared, on wide and narrow screens."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from servers.services.sources import create_source
from servers.services.tools import list_tools
from tests.browser.conftest import NARROW, WIDE, aside, visitor_of
from tests.factories import PASSWORD, Team, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


def make_calculating_team() -> tuple[Team, str]:
    team = make_team("Savers")
    create_source("kit", "toolkit", {}, caller=team.owner)
    tool = next(each for each in list_tools(caller=team.owner) if each.name == "calculate")
    return team, str(tool.pk)


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_results_are_kept_given_again_and_cleared(
    live_marina: LiveMarina, browser: Browser, screenshots: Path, width: int, theme: str
) -> None:
    team, tool = aside(make_calculating_team)
    visitor = visitor_of(browser, live_marina.base_url, width=width, theme=theme)
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page

    def seen(name: str) -> None:
        visitor.shown_well(screenshots / f"{name}-{width}-{theme}.png")

    page.goto(live_marina.app_url(team.slug, f"tools/{tool}/"))
    panel = page.get_by_role("region", name="Shared results")
    expect(panel.get_by_text("Not kept.")).to_be_visible()
    panel.get_by_label("Keep results for so many seconds").fill("600")
    panel.get_by_role("button", name="Save").click()
    expect(panel.get_by_text("Kept for 600 seconds, and given to the same call.")).to_be_visible()
    page.get_by_label("expression").fill("6 * 7")
    for _ in range(2):
        page.get_by_role("button", name="Run").click()
        expect(page.locator("[data-outcome=ok]")).to_be_visible()
    expect(page.get_by_text("from the cache").first).to_be_visible()
    seen("tool-shared-results")
    panel.get_by_role("button", name="Clear cache").click()
    expect(page.get_by_text("The cache is cleared.")).to_be_visible()
    assert visitor.faults == []
