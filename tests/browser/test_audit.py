"""An auditor in a real browser: their start page, a record whose data they reveal, an original that they confirm."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect

from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.records import Entry
from tenants.exports.making import make_export
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.exports import start_export
from tenants.services.members import change_member, get_own_membership
from tenants.services.originals import open_marks
from tests.browser.conftest import NARROW, WIDE, aside, visitor_of
from tests.factories import PASSWORD, Team, email_of, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


def _furnished() -> tuple[Team, Caller, str, int]:
    """A team with an auditor for a month, their address, and the number of a call's record."""
    team = make_team()
    auditor = team.member(Role.AUDITOR)
    own = get_own_membership(caller=auditor)
    change_member(own.pk, access_ends_at=timezone.now() + timedelta(days=30), caller=team.owner)
    with tenant_scope(team.tenant_id):
        marks = open_marks()
        assert marks is not None
        entry = Entry(
            "tools/call",
            "ok",
            "key:Reporting (mcp_live_892a24f4c0)",
            client="Claude 1.0",
            server="default",
            tool="find_airport",
            tool_version=3,
            arguments={"city": "Frankfurt", "token": "[masked]"},
            size=212,
            duration_us=3_400,
            request_id="b7c1d2e3f4a5968778695a4b3c2d1e0f",
            hmac=marks.of({"city": "Frankfurt", "token": "s3cret"}),
            preview='{"iata":"FRA","name":"Frankfurt am Main"}',
        )
        seq = append_entry(entry, tenant_id=team.tenant_id)
    for caller in (team.owner, auditor):
        export = start_export(caller=caller)
        assert make_export(team.tenant_id, export.id)
    return team, auditor, email_of(auditor), seq


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_an_auditor_looks_reveals_and_confirms(
    live_marina: LiveMarina, browser: Browser, screenshots: Path, width: int, theme: str
) -> None:
    team, _, email, seq = aside(_furnished)
    visitor = visitor_of(browser, live_marina.base_url, width=width, theme=theme)
    visitor.sign_in(email, PASSWORD)
    page = visitor.page
    picture = f"{width}-{theme}"
    expect(page.get_by_role("heading", name="Your access")).to_be_visible()
    assert page.url.endswith(f"/app/{team.slug}/audit/")
    visitor.shown_well(screenshots / f"audit-{picture}.png")
    page.goto(live_marina.app_url(team.slug, "exports/"))
    expect(page.locator("#export-list")).to_contain_text("holds arguments and results")
    visitor.shown_well(screenshots / f"audit-exports-{picture}.png")

    page.goto(live_marina.app_url(team.slug, "log/?tool=find_airport"))
    page.get_by_role("link", name="find_airport").click()
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Arguments and result are hidden")
    expect(drawer).not_to_contain_text("Frankfurt")
    drawer.get_by_label("Reason").fill("Complaint 17")
    drawer.get_by_role("button", name="Reveal and record it").click()
    expect(drawer).to_contain_text("Revealed to you")
    expect(drawer).to_contain_text("Frankfurt am Main")

    page.goto(live_marina.app_url(team.slug, f"log/{seq}"))
    page.get_by_text("Confirm an original").click()
    page.get_by_label("Arguments as you were told them").fill('{"city": "Frankfurt", "token": "s3cret"}')
    page.get_by_role("button", name="Compare and record it").click()
    expect(page.get_by_role("status")).to_contain_text("These are the arguments")
    visitor.shown_well(screenshots / f"audit-record-{picture}.png")
    page.goto(live_marina.app_url(team.slug, "log/?kind=record.revealed"))
    expect(page.locator("#records")).to_contain_text("record.revealed")
    assert visitor.faults == []


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_an_owner_shows_data_to_an_auditor_and_keeps_no_results(
    live_marina: LiveMarina, browser: Browser, screenshots: Path, width: int
) -> None:
    team, _, email, _ = aside(_furnished)
    visitor = visitor_of(browser, live_marina.base_url, width=width)
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page
    page.goto(live_marina.app_url(team.slug, "members/"))
    visitor.shown_well(screenshots / f"audit-members-{width}.png")
    page.get_by_role("button", name=f"Show them to {email}").click()
    expect(page.get_by_role("button", name=f"Hide them from {email}")).to_be_visible()
    page.goto(live_marina.app_url(team.slug, "audit/"))
    page.get_by_label("Characters of each result").fill("0")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("From now on the log keeps nothing of each result.")).to_be_visible()
    visitor.shown_well(screenshots / f"audit-owner-{width}.png")
    assert visitor.faults == []
