"""Passkeys in Chromium, with an authenticator that its DevTools protocol makes: added, used both ways, removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from allauth.mfa.models import Authenticator
from playwright.sync_api import Browser, CDPSession, expect

from config.local.ports import find_free_port
from tests.browser.conftest import NARROW, Visitor, aside, visitor_of
from tests.factories import PASSWORD, Team, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def named_marina(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    """A Marina at a name: browsers give no passkey to an address."""
    log = tmp_path_factory.mktemp("named") / "web.log"
    port = find_free_port()
    named = {"MARINA_BASE_URL": f"http://localhost:{port}"}
    with LiveMarina(log, port=port, environment=named).running() as marina:
        yield marina


def at_its_name(marina: LiveMarina) -> str:
    return f"http://localhost:{marina.port}"


@pytest.fixture
def team() -> Team:
    return aside(make_team, "Harbour office")


class Key:
    """A virtual authenticator that is plugged in, as a telephone or a security key would be."""

    def __init__(self, visitor: Visitor, *, verifies: bool = True) -> None:
        self._cdp: CDPSession = visitor.page.context.new_cdp_session(visitor.page)
        self._cdp.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": verifies,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        made = self._cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self.number: str = made["authenticatorId"]

    def count(self) -> int:
        """How many passkeys it holds."""
        return len(self._cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.number})["credentials"])

    def verify_nobody(self) -> None:
        """From now on it cannot tell who is there."""
        self._cdp.send("WebAuthn.setUserVerified", {"authenticatorId": self.number, "isUserVerified": False})

    def unplug(self) -> None:
        """It is gone, and so is what it held."""
        self._cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self.number})


def add_passkey(visitor: Visitor, name: str) -> None:
    """From the account's page, as a person does who has just signed in."""
    page = visitor.page
    page.goto(f"{visitor.base_url}/app/account/")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add the passkey").click()


def sign_out(visitor: Visitor) -> None:
    visitor.page.goto(f"{visitor.base_url}/app/account/")
    visitor.page.get_by_role("button", name="Sign out", exact=True).click()
    visitor.page.wait_for_url("**/sign-in")


def test_a_passkey_is_added_signs_in_alone_and_after_the_password_and_is_removed(
    named_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = visitor_of(browser, at_its_name(named_marina), width=NARROW)
    page = visitor.page
    key = Key(visitor)
    visitor.sign_in(team.owner_email, PASSWORD)
    add_passkey(visitor, "Ada's telephone")
    expect(page.get_by_role("heading", name="Save your recovery codes")).to_be_visible()
    assert len((page.locator("#recovery-codes").text_content() or "").split()) == 10
    assert (key.count(), visitor.overflow(), visitor.inaccessible()) == (1, 0, [])
    page.get_by_role("link", name="I saved them").click()
    row = page.locator("tr", has_text="Ada's telephone")
    expect(row).to_contain_text("not used yet")

    sign_out(visitor)
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(f"**/app/{team.slug}/")
    page.goto(f"{visitor.base_url}/app/account/")
    expect(row).not_to_contain_text("never")

    sign_out(visitor)
    page.goto(f"{visitor.base_url}/app/{team.slug}/tools/")
    page.get_by_label("E-mail").fill(team.owner_email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Second step")).to_be_visible()
    assert (visitor.overflow(), visitor.inaccessible()) == (0, [])
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"**/app/{team.slug}/tools/")

    page.goto(f"{visitor.base_url}/app/account/")
    page.get_by_role("button", name="Remove the passkey Ada's telephone").click()
    page.locator("dialog[open]").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("status")).to_contain_text("The passkey is removed")
    assert aside(Authenticator.objects.filter(user_id=team.owner.user_id).count) == 0

    visitor.expected = {400}
    sign_out(visitor)
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("alert").filter(has_text="opens nothing here")).to_be_visible()
    assert visitor.faults == []


def test_a_passkey_that_checks_nobody_is_a_second_factor_and_signs_nobody_in_alone(
    named_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = visitor_of(browser, at_its_name(named_marina), theme="dark")
    page = visitor.page
    key = Key(visitor, verifies=False)
    visitor.sign_in(team.owner_email, PASSWORD)
    add_passkey(visitor, "A plain key")
    page.get_by_role("link", name="I saved them").click()
    sign_out(visitor)
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("alert").filter(has_text="No passkey was given")).to_be_visible()
    page.get_by_label("E-mail").fill(team.owner_email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"**/app/{team.slug}/")
    assert key.count() == 1
    assert visitor.faults == []


def test_a_device_has_one_passkey_of_a_person_and_a_passkey_is_proof_of_who_is_there(
    named_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = visitor_of(browser, at_its_name(named_marina))
    page = visitor.page
    Key(visitor)
    visitor.sign_in(team.owner_email, PASSWORD)
    add_passkey(visitor, "One")
    page.get_by_role("link", name="I saved them").click()
    add_passkey(visitor, "Two")
    expect(page.get_by_role("alert")).to_contain_text("has a passkey of yours already")
    page.goto(f"{visitor.base_url}/app/account/confirm?next=/app/account/authenticator")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Set up an authenticator app")).to_be_visible()
    assert visitor.inaccessible() == []
    assert visitor.faults == []


def test_where_marina_is_not_reached_the_page_says_so_and_asks_for_no_passkey(
    named_marina: LiveMarina, browser: Browser
) -> None:
    visitor = visitor_of(browser, at_its_name(named_marina))
    key = Key(visitor)
    visitor.page.goto(f"{visitor.base_url}/app/sign-in")
    visitor.page.route("**/passkey/begin", lambda asked: asked.abort())
    visitor.page.get_by_role("button", name="Sign in with a passkey").click()
    expect(visitor.page.get_by_role("alert").filter(has_text="Marina was not reached")).to_be_visible()
    assert key.count() == 0


def test_at_an_address_there_are_no_passkeys_and_the_page_says_why(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = visitor_of(browser, live_marina.base_url)
    visitor.sign_in(team.owner_email, PASSWORD)
    visitor.page.goto(f"{visitor.base_url}/app/account/")
    expect(visitor.page.get_by_text("Browsers give passkeys to names only")).to_be_visible()
    assert visitor.page.get_by_role("link", name="Add a passkey").count() == 0
    assert visitor.faults == []
