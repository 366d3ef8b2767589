"""A real browser signs a team in to an upstream MCP server and comes back: the page's policy lets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, Team, make_team
from tests.plugins.live_marina import LiveMarina
from tests.rest import Rest
from tests.servers.sign_ins.authority import WRITE, Authority, open_authority
from tests.servers.sign_ins.person import add_source

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.fixture
def authority() -> Iterator[Authority]:
    with open_authority() as running:
        yield running


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_a_team_signs_in_takes_over_what_is_offered_and_signs_out(
    width: int,
    theme: str,
    live_marina: LiveMarina,
    browser: Browser,
    authority: Authority,
    screenshots: Path,
) -> None:
    team: Team = aside(make_team, "Harbour office")
    visitor = Visitor(new_context(browser, width=width, theme=theme).new_page(), live_marina.base_url)
    visitor.watch()
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "data-sources/new?kind=mcp"))
    expect(page.get_by_label("Who signs in")).not_to_be_visible()
    page.get_by_label("Name", exact=True).fill("yard")
    page.get_by_label("Address", exact=True).fill(authority.url)
    page.get_by_label("How Marina signs in").select_option("oauth")
    expect(page.get_by_label("Who signs in")).to_be_visible()
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("save the data source, then sign in")).to_be_visible()
    page.get_by_role("button", name="Save data source").click()
    expect(page.get_by_text("needs sign-in")).to_be_visible()
    visitor.shown_well(screenshots / f"upstream-nobody-{theme}.png")

    page.get_by_role("button", name=f"Sign in to 127.0.0.1:{authority.port}").click()
    expect(page.get_by_text("You are signed in.")).to_be_visible()
    page.get_by_role("button", name="Refresh offering").click()
    expect(page.get_by_text("launch").first).to_be_visible()
    page.get_by_role("button", name="Take over").click()
    expect(page.get_by_text("added who, launch")).to_be_visible()
    visitor.shown_well(screenshots / f"upstream-signed-in-{theme}.png")

    page.get_by_role("button", name="Sign out of").click()
    expect(page.get_by_text("the tokens are deleted here, and given back there")).to_be_visible()
    assert not authority.refreshing
    # The browser was sent there, and nowhere else.
    there = f"asked another host: {authority.origin}/authorize?"
    assert [each for each in visitor.faults if not each.startswith(there)] == []
    assert WRITE not in page.content()


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_who_would_be_sent_to_another_host_reads_both_and_goes_on(
    width: int,
    theme: str,
    live_marina: LiveMarina,
    browser: Browser,
    authority: Authority,
    screenshots: Path,
) -> None:
    team: Team = aside(make_team, "Harbour office")
    id_ = aside(lambda: add_source(Rest.admin(team), team, authority.url))
    elsewhere = f"localhost:{authority.port}"
    authority.metadata = {"authorization_endpoint": f"http://{elsewhere}/authorize"}
    visitor = Visitor(new_context(browser, width=width, theme=theme).new_page(), live_marina.base_url)
    visitor.watch()
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, f"data-sources/{id_}/"))
    page.get_by_role("button", name=f"Sign in to 127.0.0.1:{authority.port}").click()
    expect(page.get_by_role("heading", name=f"Sign in at {elsewhere}?")).to_be_visible()
    visitor.shown_well(screenshots / f"upstream-elsewhere-{theme}.png")
    page.get_by_role("link", name="Do not sign in").click()
    page.get_by_role("button", name=f"Sign in to 127.0.0.1:{authority.port}").click()
    page.get_by_role("button", name=f"Go on to {elsewhere}").click()
    expect(page.get_by_text("You are signed in.")).to_be_visible()
    there = f"asked another host: http://{elsewhere}/authorize?"
    assert [each for each in visitor.faults if not each.startswith(there)] == []
