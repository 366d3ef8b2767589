"""On the log's page somebody has the log verified, in a real browser, by a real worker."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, Visitor, aside, new_context
from tests.factories import PASSWORD, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]


@pytest.mark.usefixtures("live_worker")
@pytest.mark.parametrize("width", [1440, NARROW])
def test_verify_now_says_in_words_that_the_log_is_whole(
    live_marina: LiveMarina, browser: Browser, width: int
) -> None:
    team = aside(make_team)
    visitor = Visitor(new_context(browser, width=width).new_page(), live_marina.base_url)
    visitor.watch()
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "log/"))
    page.get_by_role("button", name="Verify now").click()
    checks = page.get_by_role("region", name="Is the log whole?")
    expect(checks).to_contain_text("The log is whole:", timeout=120_000)
    expect(checks).to_contain_text("Asked for by")
    expect(page.get_by_role("button", name="Verify now")).to_be_enabled()
    checks.get_by_text("Where checkpoints are kept").click()
    expect(checks.get_by_role("link", name="for Python")).to_be_visible()
    with page.expect_download() as download:
        checks.get_by_role("link", name="for Node").click()
    assert download.value.suggested_filename == "verify_marina_log.ts"
    page.reload()
    expect(page.locator("#records")).to_contain_text("log.verified")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert visitor.faults == []
