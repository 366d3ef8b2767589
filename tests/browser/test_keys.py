"""The life of a key in a real browser: issued for some addresses, told what is void of it, rolled."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tenants.roles import Role
from tenants.services.keys import issue_key
from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, Team, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


def make_reduced_key(team: Team) -> str:
    maker = team.member(Role.ADMIN)
    key = issue_key("left behind", ["audit:read", "tools:read"], mode="test", caller=maker).row
    team.give_role(maker, Role.VIEWER)
    return str(key.pk)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_key_is_issued_for_some_addresses_and_rolled(
    live_marina: LiveMarina, browser: Browser, width: int
) -> None:
    team = aside(make_team)
    reduced = aside(make_reduced_key, team)
    visitor = Visitor(new_context(browser, width=width).new_page(), live_marina.base_url)
    visitor.watch()
    visitor.expected.add(400)
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "keys/"))
    page.get_by_role("link", name="New key").first.click()
    page.get_by_label("Name").fill("Office")
    page.get_by_text("Narrow it to some addresses").click()
    page.get_by_label("Only from these addresses").fill("10.0.0.0/8")
    page.get_by_role("button", name="Issue key").click()
    expect(page.get_by_text("Your own address, 127.0.0.1, is not among these")).to_be_visible()
    page.get_by_label("My own address need not be among them").check()
    page.get_by_role("button", name="Issue key").click()
    expect(page.locator("#new-key")).to_contain_text("mcp_live_")
    page.get_by_role("link", name="I saved it").click()
    expect(page.get_by_text("some addresses only")).to_be_visible()
    assert visitor.overflow() <= 0

    page.get_by_role("link", name="Office").click()
    expect(page.get_by_role("heading", name="Roll this key")).to_be_visible()
    assert visitor.overflow() <= 0
    assert visitor.inaccessible() == []
    page.get_by_label("The old key ends").select_option("After 1 hour")
    page.get_by_role("button", name="Roll key").click()
    expect(page.locator("#new-key")).to_contain_text("mcp_live_")
    assert visitor.overflow() <= 0
    page.get_by_role("link", name="I saved it").click()
    page.get_by_role("link", name="Office").first.click()
    expect(page.get_by_text("Replaces", exact=True)).to_be_visible()

    page.goto(live_marina.app_url(team.slug, f"keys/{reduced}/"))
    expect(page.get_by_text("The key's maker is now a viewer")).to_be_visible()
    expect(page.get_by_text("void", exact=True)).to_be_visible()
    assert visitor.overflow() <= 0
    assert visitor.inaccessible() == []
    assert visitor.faults == []
