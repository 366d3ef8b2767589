"""What a team writes itself, in a real browser: prompts in rows, resources with a text, and kinds without settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, WIDE, aside, visitor_of
from tests.factories import PASSWORD, Team, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.fixture
def team() -> Team:
    return aside(make_team, "Writers")


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_words_of_ones_own_are_written_on_any_screen(
    live_marina: LiveMarina, browser: Browser, team: Team, screenshots: Path, width: int, theme: str
) -> None:
    visitor = visitor_of(browser, live_marina.base_url, width=width, theme=theme)
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page

    def seen(name: str) -> None:
        visitor.shown_well(screenshots / f"{name}-{width}-{theme}.png")

    page.goto(live_marina.app_url(team.slug, "data-sources/"))
    seen("ready-kinds")
    page.get_by_role("button", name="Add Data toolkit").click()
    expect(page.get_by_text("toolkit answers.")).to_be_visible()

    page.goto(live_marina.app_url(team.slug, "prompts/"))
    page.get_by_role("link", name="New prompt").click()
    page.get_by_label("Name").first.fill("review")
    first = page.get_by_role("group", name="Argument 1")
    first.get_by_label("Name").fill("tone")
    first.get_by_label("Choices").fill("kind, strict")
    page.get_by_role("group", name="Message 1").get_by_label("Text").fill("Be ${tome}.")
    visitor.expected = {400}
    page.get_by_role("button", name="Create prompt").click()
    expect(page.get_by_text("The slot ${tome} at character 4 is not known")).to_be_visible()
    seen("prompt-new")
    page.get_by_role("group", name="Message 1").get_by_label("Text").fill("Be ${tone}.")
    second = page.get_by_role("group", name="Message 2")
    second.get_by_label("Embed as resource (URI)").fill("notes://" + "rules" * 30)
    second.get_by_label("Text").fill("Short sentences.")
    page.get_by_role("button", name="Create prompt").click()
    expect(page.get_by_text("review is offered now.")).to_be_visible()
    seen("prompt")
    page.get_by_role("link", name="Change").click()
    seen("prompt-edit")

    page.goto(live_marina.app_url(team.slug, "resources/new"))
    page.get_by_label("URI").fill("notes://" + "welcome" * 20)
    page.get_by_label("Text").fill("Hello " * 200)
    seen("resource-new")
    page.get_by_role("button", name="Create resource").click()
    expect(page.get_by_text("is offered now.")).to_be_visible()
    seen("resource")
    page.goto(live_marina.app_url(team.slug, "resources/"))
    seen("resources")
    assert visitor.faults == []
