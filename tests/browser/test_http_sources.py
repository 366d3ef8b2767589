"""An HTTP source through the form, and a tool of its own made of a curl line, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, Team, make_team
from tests.farside import FarSide, far_side, reply
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.fixture
def team() -> Team:
    return aside(make_team, "Harbour office")


@pytest.fixture
def api() -> Iterator[FarSide]:
    with far_side() as side:
        side.serve("/v1", reply(b"ok"))
        side.serve("/v1/tides/7", reply(b'{"metres": 1.5}', kind="application/json"))
        yield side


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_api_is_connected_and_a_curl_line_becomes_its_tool(
    width: int,
    theme: str,
    live_marina: LiveMarina,
    browser: Browser,
    team: Team,
    api: FarSide,
    screenshots: Path,
) -> None:
    visitor = Visitor(new_context(browser, width=width, theme=theme).new_page(), live_marina.base_url)
    visitor.watch()
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "data-sources/new?kind=http"))
    expect(page.get_by_label("Client secret", exact=True)).not_to_be_visible()
    expect(page.get_by_label("User name")).not_to_be_visible()
    page.get_by_label("How Marina signs in").select_option("oauth")
    expect(page.get_by_label("Address of the token endpoint")).to_be_visible()
    page.get_by_label("How Marina signs in").select_option("api_key")
    expect(page.get_by_label("Address of the token endpoint")).not_to_be_visible()
    page.get_by_label("Name", exact=True).fill("sea")
    page.get_by_label("Base address").fill(f"{api.origin}/v1")
    page.get_by_label("Token or API key").fill("a-key-of-the-api")
    page.screenshot(path=screenshots / f"http-source-{theme}.png", full_page=True)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("It answers")).to_be_visible()
    page.get_by_role("button", name="Save data source").click()
    expect(page.get_by_text("sea answers.")).to_be_visible()

    page.get_by_role("link", name="HTTP request").click()
    page.get_by_text("Begin from a curl line").click()
    page.get_by_label("Paste it here").fill(f"curl {api.origin}/v1/tides/7 -H 'X-Api-Key: a-key-of-the-api'")
    page.get_by_role("button", name="Make the definition of it").click()
    expect(page.get_by_text("The definition is made of it.")).to_be_visible()
    expect(page.get_by_label("Definition")).to_have_value(re.compile(re.escape("/tides/{tide_id}")))
    expect(page.locator("#tool-preview")).to_contain_text("tide_id")
    page.get_by_label("Name", exact=True).fill("tide")
    page.screenshot(path=screenshots / f"http-tool-{theme}.png", full_page=True)
    page.get_by_role("button", name="Create tool").click()
    expect(page.get_by_text("Tool tide is offered now.")).to_be_visible()
