"""Schedules of tools in a real browser: the next times follow what is typed, and runs appear without a reload."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from servers.services.sources import create_source
from tests.browser.conftest import NARROW, WIDE, aside, visitor_of
from tests.factories import PASSWORD, Team, make_database, make_team
from tests.faults.worker import running_worker
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def make_team_with_data() -> Team:
    team = make_team("Punctual")
    create_source("db", "postgres", {"dsn": make_database("SELECT 1")}, caller=team.owner)
    return team


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_a_schedule_is_set_up_run_and_paused(
    live_marina: LiveMarina, browser: Browser, screenshots: Path, tmp_path: Path, width: int, theme: str
) -> None:
    team = aside(make_team_with_data)
    visitor = visitor_of(browser, live_marina.base_url, width=width, theme=theme)
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page

    def seen(name: str) -> None:
        visitor.shown_well(screenshots / f"{name}-{width}-{theme}.png")

    page.goto(live_marina.app_url(team.slug, "work/"))
    page.get_by_role("link", name="Schedules").click()
    expect(page.get_by_text("No schedule yet")).to_be_visible()
    seen("schedules-none")
    page.get_by_role("link", name="Schedule a tool").click()
    page.get_by_label("Name").fill("Weekly report")
    page.get_by_label("Tool", exact=True).fill("query_database")
    page.get_by_label("Arguments").fill('{"query": "SELECT 42 AS answer"}')
    page.get_by_label("When (cron)").fill("30 7 * * 5")
    page.get_by_label("Time zone").select_option("Europe/Zurich")
    times = page.locator("#schedule-times")
    expect(times.get_by_text("At 07:30 on Friday (Europe/Zurich)")).to_be_visible()
    expect(times.get_by_role("listitem")).to_have_count(5)
    page.get_by_label("When (cron)").fill("61 7 * * 5")
    expect(
        times.get_by_text("Has a fault in its field 1", exact=False).or_(
            times.get_by_text("fault in its field 1")
        )
    ).to_be_visible()
    page.get_by_label("When (cron)").fill("30 7 * * 5")
    expect(times.get_by_role("listitem")).to_have_count(5)
    seen("schedule-form")
    page.get_by_role("button", name="Set it up").click()
    expect(page.get_by_text("It has not run yet.")).to_be_visible()
    with running_worker(tmp_path):
        page.get_by_role("button", name="Run now").click()
        # Nobody loads the page anew.
        expect(page.locator("tr[data-state=ok]")).to_be_visible(timeout=120_000)
        seen("schedule-run")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    page.get_by_role("link", name="task", exact=True).click()
    expect(page.get_by_text("a run of this schedule")).to_be_visible()
    assert visitor.faults == []
