"""From an invitation in the dashboard, through the mailed link, to the team: in two real browsers."""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from email.policy import default
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import NARROW, aside, visitor_of
from tests.factories import PASSWORD, Team, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

CHOSEN = "another horse battery"


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that Marina's letters go to."""
    return tmp_path_factory.mktemp("letters")


@pytest.fixture(scope="module")
def mailing_marina(
    database: None, letters: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveMarina]:
    """A Marina that mails into that folder."""
    log = tmp_path_factory.mktemp("mailing") / "web.log"
    with LiveMarina(log, environment={"EMAIL_URL": letters.as_uri()}).running() as marina:
        yield marina


@pytest.fixture
def team() -> Team:
    return aside(make_team, "Harbour office")


def link_to(address: str, letters: Path) -> str:
    """The link in the letter to this address."""
    for path in letters.iterdir():
        letter = email.message_from_bytes(path.read_bytes().partition(b"\n" + b"-" * 79)[0], policy=default)
        if letter["To"] == address:
            found = re.search(r"http://\S+", letter.get_content())
            assert found is not None
            return found[0]
    pytest.fail(f"there is no letter to {address}")


def test_an_invited_person_signs_up_by_the_mailed_link_and_sees_the_team(
    mailing_marina: LiveMarina, browser: Browser, team: Team, letters: Path
) -> None:
    guest = f"guest-{team.slug}@example.com"
    owner = visitor_of(browser, mailing_marina.base_url)
    owner.sign_in(team.owner_email, PASSWORD)
    owner.page.goto(mailing_marina.app_url(team.slug, "members/"))
    owner.page.get_by_label("E-mail").fill(guest)
    owner.page.get_by_label("Role", exact=True).select_option("editor")
    owner.page.get_by_role("button", name="Invite").click()
    expect(owner.page.get_by_role("status")).to_contain_text(f"on its way to {guest}")
    row = owner.page.locator("tr", has_text=guest)
    expect(row).to_contain_text("open")

    invited = visitor_of(browser, mailing_marina.base_url, width=NARROW)
    page = invited.page
    page.goto(link_to(guest, letters))
    # The token is not in the address that the page stays at.
    assert page.url == f"{mailing_marina.base_url}/app/invitation"
    expect(page.get_by_role("heading", name="Join Harbour office")).to_be_visible()
    assert invited.overflow() <= 0
    assert invited.inaccessible() == []
    page.get_by_label("Name").fill("Grace")
    page.get_by_label("Password", exact=True).fill(CHOSEN)
    page.get_by_label("Password again").fill(CHOSEN)
    page.get_by_role("button", name="Sign up and join").click()
    page.wait_for_url(f"**/app/{team.slug}/")
    expect(page.locator(".tenant-name")).to_have_text("Harbour office")
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("button", name="Sign out").click()
    invited.sign_in(guest, CHOSEN)
    expect(page.locator(".tenant-name")).to_have_text("Harbour office")

    owner.page.reload()
    expect(owner.page.locator("tr", has_text=guest).first).to_contain_text("editor")
    expect(owner.page.locator("tr", has_text=guest).last).to_contain_text("accepted")
    assert owner.faults == []
    assert invited.faults == []


def test_a_browser_that_is_signed_out_elsewhere_is_sent_to_the_sign_in(
    mailing_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    lost, here = (visitor_of(browser, mailing_marina.base_url) for _ in range(2))
    for visitor in (lost, here):
        visitor.sign_in(team.owner_email, PASSWORD)
    here.page.get_by_role("link", name=team.owner_email).click()
    expect(here.page.get_by_role("heading", name="Your account")).to_be_visible()
    assert here.inaccessible() == []
    here.page.get_by_role("button", name="Sign out all others").click()
    expect(here.page.get_by_role("status")).to_contain_text("signed out")
    lost.page.goto(mailing_marina.app_url(team.slug, "tools/"))
    expect(lost.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert here.faults == []
    assert lost.faults == []
