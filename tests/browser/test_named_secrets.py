"""Secrets in a real browser: named, chosen for a data source, replaced, at both widths and in both themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, make_team
from tests.farside import far_side, reply
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

VALUE = "value-of-a-secret-in-a-browser"


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_a_secret_is_named_chosen_for_a_data_source_and_replaced(
    browser: Browser, screenshots: Path, tmp_path: Path, width: int, theme: str
) -> None:
    team = aside(make_team)
    (tmp_path / team.slug).mkdir()
    (tmp_path / team.slug / "of-a-file-with-a-rather-long-name-that-has-to-wrap-somewhere").write_text(VALUE)
    places = {"MARINA_SECRETS_DIR": str(tmp_path), "MARINA_SECRETS_ENV_PREFIX": "TEAM_SECRET_"}
    live = LiveMarina(tmp_path / "web.log", environment=places)
    with far_side() as api, live.running():
        api.serve("/", reply(b"ok"))
        visitor = Visitor(new_context(browser, width=width, theme=theme).new_page(), live.base_url)
        visitor.watch()
        visitor.expected.add(400)
        visitor.sign_in(team.owner_email, PASSWORD)
        page = visitor.page
        page.goto(live.app_url(team.slug, "secrets/"))
        expect(page.get_by_text("No secret yet")).to_be_visible()
        page.get_by_role("link", name="Name a secret").click()
        expect(page.get_by_label("Path in Vault")).to_be_hidden()
        page.get_by_label("Name", exact=True).fill("stripe.key")
        page.get_by_label("Value").fill(VALUE)
        page.get_by_role("button", name="Keep it").click()
        expect(page.get_by_text("Must be 1 to 64 lower-case letters")).to_be_visible()
        assert VALUE not in page.content()
        assert visitor.overflow() <= 0
        page.screenshot(path=screenshots / f"secret-new-{width}-{theme}.png", full_page=True)
        page.get_by_label("Name", exact=True).fill("stripe-key")
        page.get_by_label("Value").fill(VALUE)
        page.get_by_role("button", name="Keep it").click()
        expect(page.get_by_text("stripe-key is kept")).to_be_visible()

        page.goto(live.app_url(team.slug, "secrets/new"))
        page.get_by_label("Name", exact=True).fill(
            "of-a-file-with-a-rather-long-name-that-has-to-wrap-somewhere"
        )
        page.get_by_label("Where it lies").select_option(label="A file of Marina's machine")
        expect(page.get_by_label("Value")).to_be_hidden()
        page.get_by_role("button", name="Keep it").click()
        expect(page.get_by_role("button", name="Read again")).to_be_visible()
        assert visitor.overflow() <= 0

        page.goto(live.app_url(team.slug, "data-sources/new?kind=http"))
        page.get_by_label("Name", exact=True).fill("shop")
        page.get_by_label("Base address").fill(api.origin)
        choice = page.get_by_label("Token or API key: a named secret")
        expect(choice).to_be_hidden()
        page.get_by_label("How Marina signs in").select_option(label="bearer")
        choice.select_option("stripe-key")
        page.screenshot(path=screenshots / f"secret-chosen-{width}-{theme}.png", full_page=True)
        assert visitor.overflow() <= 0
        assert visitor.inaccessible() == []
        page.get_by_role("button", name="Save data source").click()
        expect(page.get_by_text("the secret stripe-key")).to_be_visible()
        assert visitor.overflow() <= 0

        page.goto(live.app_url(team.slug, "secrets/"))
        assert visitor.overflow() <= 0
        assert visitor.inaccessible() == []
        page.screenshot(path=screenshots / f"secrets-{width}-{theme}.png", full_page=True)
        page.get_by_role("link", name="stripe-key", exact=True).click()
        page.get_by_label("Value").fill("another-value-of-it")
        page.get_by_role("button", name="Replace", exact=True).click()
        expect(page.get_by_text("Every process opens shop anew")).to_be_visible()
        assert visitor.overflow() <= 0
        assert visitor.inaccessible() == []
        page.screenshot(path=screenshots / f"secret-{width}-{theme}.png", full_page=True)
        assert visitor.faults == []
