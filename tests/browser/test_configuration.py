"""Configuration as a file, in a real browser: chosen, planned with what is not in it, applied, downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, WIDE, aside, visitor_of
from tests.factories import PASSWORD, Team, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

FILE = """\
marina: 1
sources:
  orders:
    kind: http
    settings:
      base_url: https://api.example.com/v1
      auth: bearer
      token: {kept: true}
  kit:
    kind: toolkit
tools:
  get_order_with_a_name_as_long_as_the_names_of_tools_may_be_here:
    source: orders
    kind: http
    definition: {method: GET, path: /orders/1}
servers:
  pilots:
    title: For pilots
    sources: [kit, orders]
"""


@pytest.fixture
def team() -> Team:
    return aside(make_team, "Filers")


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_a_file_is_chosen_planned_applied_and_comes_back(
    live_marina: LiveMarina,
    browser: Browser,
    team: Team,
    screenshots: Path,
    tmp_path: Path,
    width: int,
    theme: str,
) -> None:
    visitor = visitor_of(browser, live_marina.base_url, width=width, theme=theme)
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page

    def seen(name: str) -> None:
        visitor.shown_well(screenshots / f"{name}-{width}-{theme}.png")

    page.goto(live_marina.app_url(team.slug, "configuration/"))
    seen("configuration")
    file = tmp_path / "team.yaml"
    file.write_text(FILE)
    page.get_by_label("Or choose a file").set_input_files(file)
    expect(page.get_by_label("orders: token")).to_be_visible()
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_text("sources.orders.settings.token: Line 8")).to_be_visible()
    seen("configuration-faults")
    page.get_by_label("orders: token").fill("sekrit-1")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_text("4 to create, 0 to change, 0 to delete.")).to_be_visible()
    seen("configuration-plan")
    assert "sekrit" not in page.locator("#configuration-plan").inner_text()
    page.get_by_role("button", name="Apply this plan").click()
    expect(page.get_by_text("The file is applied: 4 created, 0 changed, 0 deleted.")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"{team.slug}.marina.yaml"
    text = Path(download.value.path()).read_text()
    assert "sekrit" not in text
    page.get_by_label("File", exact=True).fill(text)
    page.get_by_label("Delete what the file does not name").check()
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("heading", name="Nothing to do")).to_be_visible()
    seen("configuration-same")
    page.get_by_label("File", exact=True).fill("marina: 1\ntools: {}\n")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_text("0 to create, 0 to change, 1 to delete.")).to_be_visible()
    seen("configuration-prune")
    assert visitor.faults == []
