"""What makes the dashboard pleasant in a real browser: themes, narrow screens, keyboards, and doing without."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from servers.services.sources import create_source
from tenants.roles import Role
from tenants.services.members import add_member
from tests.browser.conftest import NARROW, Visitor, aside, new_context
from tests.factories import PASSWORD, Team, make_database, make_team
from tests.plugins.live_marina import LiveMarina

UNREACHABLE = "postgresql://reader:secret@127.0.0.1:9/none"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.fixture
def team() -> Team:
    return aside(make_team)


def visit(browser: Browser, marina: LiveMarina, team: Team, *, width: int = 1440) -> Visitor:
    context = new_context(browser, width=width)
    visitor = Visitor(context.new_page(), marina.base_url)
    visitor.watch()
    visitor.sign_in(team.owner_email, PASSWORD)
    visitor.page.goto(marina.app_url(team.slug))
    return visitor


def background(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_a_chosen_theme_is_kept(live_marina: LiveMarina, browser: Browser, team: Team) -> None:
    visitor = visit(browser, live_marina, team)
    page = visitor.page
    light = background(page)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert background(page) != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert background(page) != light
    assert visitor.faults == []


def test_the_menu_opens_on_a_narrow_screen(live_marina: LiveMarina, browser: Browser, team: Team) -> None:
    visitor = visit(browser, live_marina, team, width=NARROW)
    page = visitor.page
    expect(page.get_by_role("link", name="Servers")).not_to_be_visible()
    page.get_by_role("button", name="Menu").press("Enter")
    expect(page.get_by_role("button", name="Menu")).to_have_attribute("aria-expanded", "true")
    page.get_by_role("link", name="Servers").click()
    expect(page.get_by_role("heading", name="Servers")).to_be_visible()
    assert visitor.overflow() <= 0
    assert visitor.faults == []


def test_a_person_of_two_teams_switches_between_them(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    other = aside(make_team, "Other team")
    aside(add_member, team.owner_email, Role.AUDITOR.value, caller=other.owner)
    visitor = visit(browser, live_marina, team)
    page = visitor.page
    switch = page.locator("details.tenant")
    switch.locator("summary").press("Enter")
    expect(switch.get_by_role("link")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(switch.get_by_role("link").first).not_to_be_visible()
    switch.locator("summary").click()
    switch.get_by_role("link", name="Other team").click()
    expect(page.get_by_role("heading", name="Log")).to_be_visible()
    assert f"/app/{other.slug}/" in page.url
    assert visitor.faults == []


def test_the_keyboard_is_enough_to_reach_the_content_and_to_run_a_tool(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    dsn = aside(make_database, "CREATE TABLE harbours (name text)")
    aside(create_source, "harbours", "postgres", {"dsn": dsn}, caller=team.owner)
    visitor = visit(browser, live_marina, team)
    page = visitor.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.goto(live_marina.app_url(team.slug, "tools/"))
    page.get_by_role("link", name="query_database").press("Enter")
    page.locator("[data-argument=query]").fill("SELECT count(*) AS how_many FROM harbours")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#try-result")).to_contain_text("how_many")
    assert visitor.faults == []


def test_ticking_a_source_chooses_to_offer_chosen_sources(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    aside(create_source, "harbours", "postgres", {"dsn": UNREACHABLE}, caller=team.owner)
    visitor = visit(browser, live_marina, team)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "servers/new"))
    every, chosen = page.get_by_label("Everything of this team"), page.get_by_label("What comes of chosen")
    expect(every).to_be_checked()
    page.get_by_label("harbours").check()
    expect(chosen).to_be_checked()
    every.check()
    expect(page.get_by_label("harbours")).not_to_be_checked()
    page.get_by_label("harbours").check()
    page.get_by_label("Title").fill("Harbours")
    page.get_by_label("Slug").fill("harbours")
    page.get_by_role("button", name="Create server").click()
    expect(page.get_by_label("What comes of chosen")).to_be_checked()
    assert visitor.faults == []


def test_a_press_anywhere_on_a_row_of_the_log_opens_its_record(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    aside(team.key, name="Laptop")
    visitor = visit(browser, live_marina, team)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "log/"))
    row = page.locator("#records tbody tr", has_text="Laptop")
    box = row.locator("td.cell-time").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#drawer")).to_contain_text("key.created")
    assert visitor.faults == []


def test_a_role_is_changed_only_after_another_was_chosen(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    aside(team.member, Role.VIEWER)
    visitor = visit(browser, live_marina, team)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "members/"))
    row = page.locator("tbody tr", has=page.locator("option[selected]", has_text="viewer"))
    change = row.get_by_role("button", name="Change")
    expect(change).to_be_disabled()
    row.get_by_role("combobox").select_option("editor")
    expect(change).to_be_enabled()
    row.get_by_role("combobox").select_option("viewer")
    expect(change).to_be_disabled()
    assert visitor.faults == []


def test_on_a_narrow_screen_filters_are_folded_and_the_chosen_tab_is_in_sight(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = visit(browser, live_marina, team, width=NARROW)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "log/"))
    expect(page.get_by_label("Contains")).not_to_be_visible()
    page.get_by_text("Filters").press("Enter")
    expect(page.get_by_label("Contains")).to_be_visible()
    page.goto(live_marina.app_url(team.slug, "connect/?client=curl"))
    expect(page.get_by_role("link", name="curl")).to_be_in_viewport(ratio=0.9)
    assert visitor.overflow() <= 0
    assert visitor.faults == []


def test_a_deletion_waits_for_the_typed_name(live_marina: LiveMarina, browser: Browser, team: Team) -> None:
    dsn = aside(make_database, "CREATE TABLE harbours (name text)")
    source = aside(create_source, "harbours", "postgres", {"dsn": dsn}, caller=team.owner)
    visitor = visit(browser, live_marina, team)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, f"data-sources/{source.id}/"))
    button = page.get_by_role("button", name="Delete data source")
    page.get_by_label("to confirm").fill("harbour")
    expect(button).to_be_disabled()
    page.get_by_label("to confirm").fill("harbours")
    button.click()
    expect(page.get_by_role("status")).to_contain_text("harbours")
    expect(page.get_by_role("heading", name="No data source yet")).to_be_visible()
    assert visitor.faults == []


def test_without_websockets_the_overview_still_hears_of_calls(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    context = new_context(browser)
    visitor = Visitor(context.new_page(), live_marina.base_url)
    visitor.watch()

    def refuse(route: WebSocketRoute) -> None:
        route.close()

    visitor.page.route_web_socket("**/live", refuse)
    visitor.sign_in(team.owner_email, PASSWORD)
    visitor.page.goto(live_marina.app_url(team.slug))
    expect(visitor.page.locator("[data-step=key]")).to_have_attribute("data-done", "false")
    aside(team.key)
    expect(visitor.page.locator("[data-step=key]")).to_have_attribute("data-done", "true", timeout=30_000)
    assert visitor.faults == []


def test_without_script_a_key_can_be_issued_and_the_log_read(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": NARROW, "height": 740})
    visitor = Visitor(context.new_page(), live_marina.base_url)
    visitor.watch()
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "keys/"))
    page.get_by_role("link", name="New key").first.click()
    page.get_by_label("Name").fill("Without script")
    page.get_by_role("button", name="Issue key").click()
    expect(page.locator("#new-key")).to_contain_text("mcp_live_")
    page.get_by_role("link", name="Log", exact=True).click()
    page.get_by_role("link", name="key.created").click()
    expect(page.get_by_role("heading", name="Record")).to_be_visible()
    assert visitor.faults == []


def test_an_address_that_does_not_exist_gives_a_page_of_ours(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = visit(browser, live_marina, team)
    visitor.expected.add(404)
    visitor.page.goto(live_marina.app_url(team.slug, "nowhere"))
    expect(visitor.page.locator("#request-id")).to_be_visible()
    visitor.page.get_by_role("link", name="Go to your team").click()
    expect(visitor.page.get_by_role("link", name="Overview")).to_be_visible()
    assert visitor.faults == []


def test_a_page_whose_session_ended_goes_to_the_sign_in_and_comes_back(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = visit(browser, live_marina, team)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "connect/"))
    page.context.clear_cookies(name="marina_session")
    page.get_by_role("link", name="VS Code").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("E-mail").fill(team.owner_email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Connect a client")).to_be_visible()
    assert visitor.faults == []
