"""From sign-in to a first successful call by a real client, found in the log: in a real browser."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from servers.services.onboarding import found_tenant
from tenants.models import User
from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, make_database
from tests.plugins.live_marina import LiveMarina, LiveWorker

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"

AIRPORTS = """
CREATE TABLE airports (iata char(3) PRIMARY KEY, name text NOT NULL, country char(2) NOT NULL, elevation_ft integer);
COMMENT ON TABLE airports IS 'Some airports of the world';
INSERT INTO airports VALUES
  ('LHR', 'London Heathrow Airport', 'GB', 83), ('EDI', 'Edinburgh Airport', 'GB', 135),
  ('HAM', 'Hamburg Airport', 'DE', 53), ('OSL', 'Oslo Gardermoen Airport', 'NO', 681),
  ('LPB', 'El Alto International Airport', 'BO', 13355);
"""

CALLS = [
    ("airports_of_country", {"country": "gb"}),
    ("airports_of_country", {"country": "de"}),
    ("airports_of_country", {}),
    ("list_tables", {}),
    ("query_database", {"query": "SELECT max(elevation_ft) FROM airports"}),
    ("query_database", {"query": "SELECT nothing FROM airports"}),
    ("query_database", {"query": "DELETE FROM airports"}),
]
"""Good ones and bad ones, so that the pictures show both."""

CLIENT = """
import asyncio, json, os, sys
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['MARINA_API_KEY']}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(sys.argv[1], http_client=http)) as client,
    ):
        for name, arguments in json.load(sys.stdin):
            try:
                print((await client.call_tool(name, arguments)).is_error)
            except Exception as error:
                print(type(error).__name__)


asyncio.run(main())
"""


def run_python(text: str, *arguments: str, key: str, given: str = "") -> str:
    """Run a Python program as a reader of the connect page would, with the key in the environment."""
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments],
        input=given,
        env={"PATH": os.environ.get("PATH", os.defpath), "MARINA_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def take_pictures(
    browser: Browser, marina: LiveMarina, email: str, pages: dict[str, str], folder: Path
) -> list[str]:
    """Every page in both themes at both widths. Returns what went wrong."""
    faults = []
    for width in (WIDE, NARROW):
        for theme in ("light", "dark"):
            context = new_context(browser, width=width, theme=theme)
            visitor = Visitor(context.new_page(), marina.base_url)
            visitor.watch()
            visitor.sign_in(email, PASSWORD)
            for name, url in pages.items():
                visitor.page.goto(url)
                visitor.page.screenshot(path=folder / f"{name}-{width}-{theme}.png")
                if visitor.overflow() > 0:
                    faults.append(f"{name} is wider than {width} px")
                faults += [f"{name}: {fault}" for fault in visitor.inaccessible()]
            faults += [f"{width} {theme}: {fault}" for fault in visitor.faults]
            context.close()
    return faults


def test_an_admin_gets_from_sign_in_to_a_first_call_and_finds_it_in_the_log(
    live_marina: LiveMarina,
    live_worker: LiveWorker,
    browser: Browser,
    screenshots: Path,
    pytestconfig: pytest.Config,
) -> None:
    owner = aside(User.objects.create_user, "ada@harbour.example", PASSWORD, name="Ada")
    dsn = aside(make_database, AIRPORTS)
    slug = "harbour"
    aside(found_tenant, slug, "Harbour", owner.pk)
    context = new_context(browser)
    visitor = Visitor(context.new_page(), live_marina.base_url)
    visitor.watch()
    page = visitor.page
    page.goto(f"{live_marina.base_url}/app/")
    page.screenshot(path=screenshots / "sign-in.png")

    visitor.sign_in(owner.email, PASSWORD)
    expect(page.get_by_role("heading", name="From here to the first call")).to_be_visible()
    expect(page.locator("[data-step=source]")).to_have_attribute("data-done", "false")

    # A data source: tested before it is saved, with words for what is wrong.
    page.get_by_role("link", name="Add a data source").click()
    page.get_by_role("link", name="PostgreSQL").click()
    page.get_by_label("Name").fill("airports")
    page.get_by_label("Connection string").fill(dsn.rpartition("/")[0] + "/nowhere")
    page.get_by_role("button", name="Test").click()
    expect(page.locator("#source-test .notice-bad")).to_be_visible()
    page.get_by_label("Connection string").fill(dsn)
    page.get_by_role("button", name="Test").click()
    expect(page.locator("#source-test")).to_contain_text("It answers")
    expect(page.locator("#source-test")).to_contain_text("query_database")
    page.get_by_role("button", name="Save data source").click()
    expect(page.get_by_role("status")).to_contain_text("airports answers.")

    # A SQL tool of one's own, with the schema that models will see.
    page.get_by_role("link", name="SQL tool").click()
    expect(page.locator("#tool-preview")).to_contain_text('"count"')
    page.get_by_label("Name").first.fill("airports_of_country")
    page.get_by_label("SQL", exact=True).fill(
        "SELECT iata, name, elevation_ft FROM airports WHERE country = upper(:country) ORDER BY iata"
    )
    page.get_by_role("button", name="Remove parameter").click()
    page.get_by_role("button", name="Add parameter").click()
    row = page.get_by_role("group", name="Parameter", exact=True)
    row.get_by_label("Name").fill("country")
    row.get_by_label("Description").fill("ISO 3166-1 code of two letters")
    expect(page.locator("#tool-preview")).to_contain_text('"country"')
    page.get_by_role("button", name="Create tool").click()

    # Tried in the dashboard: rows as a table, and what an error says.
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#try-result [role=alert]")).to_contain_text("country")
    page.locator("[data-argument=country]").fill("gb")
    expect(page.get_by_label("The same as JSON")).to_have_value('{\n  "country": "gb"\n}')
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#try-result tbody tr")).to_have_count(2)
    expect(page.locator("#try-result")).to_contain_text("London Heathrow Airport")
    tool_url = page.url

    # A key, shown once.
    page.get_by_role("link", name="API keys").click()
    page.get_by_role("link", name="New key").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("First client")
    expect(dialog).to_contain_text("This key may: list the tools")
    dialog.get_by_role("button", name="Issue key").click()
    key = dialog.locator("#new-key").inner_text()
    assert key.startswith("mcp_live_")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    page.screenshot(path=screenshots / "key-shown-once.png")
    dialog.get_by_role("link", name="I saved it", exact=True).click()
    expect(page.locator("tbody")).to_contain_text(key[-4:])
    assert key not in page.content()

    # The connect page's own Python block makes the first call, and the overview ticks by itself.
    page.get_by_role("link", name="Connect", exact=True).click()
    page.get_by_role("button", name="Test this connection").click()
    expect(page.locator("#connect-check")).to_contain_text("Ready: the server offers 8 tools")
    page.get_by_role("link", name="Python SDK").click()
    expect(page.locator("#block-2")).to_contain_text(live_marina.mcp_url(slug))
    program = page.locator("#block-2").inner_text()
    page.get_by_role("link", name="Overview").click()
    call = page.locator("[data-step=call]")
    expect(call).to_contain_text("Waiting for the first request")
    expect(page.locator("body")).to_have_attribute("data-live-open", "")
    page.screenshot(path=screenshots / "waiting.png")
    printed = aside(run_python, program, key=key)
    assert "query_database" in printed
    expect(call).to_have_attribute("data-done", "true")
    expect(page.get_by_role("heading", name="You are up and running")).to_be_visible()

    # More calls, then the log: filtered through the URL, opened in the drawer.
    aside(run_python, CLIENT, live_marina.mcp_url(slug), key=key, given=json.dumps(CALLS))
    page.get_by_role("link", name="Log", exact=True).click()
    page.get_by_label("Tool").fill("airports_of_country")
    page.get_by_label("Outcome").select_option("ok")
    page.wait_for_url("**outcome=ok**")
    expect(page.locator("#records tbody tr").first).to_contain_text("First client")
    page.locator("#records tbody th a").first.click()
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text('"country": "de"')
    expect(drawer).to_contain_text("tools/call")
    page.screenshot(path=screenshots / "record.png")
    record_url = (
        f"{live_marina.app_url(slug, 'log/')}{drawer.locator('[data-record]').get_attribute('data-record')}"
    )
    page.keyboard.press("Escape")
    expect(drawer).not_to_be_visible()

    # An export of the whole log, by a worker, with a checksum that fits what was downloaded.
    page.get_by_role("link", name="Exports", exact=True).click()
    page.get_by_role("button", name="Start export").click()
    done = page.locator("tr[data-status=done]")
    expect(done).to_be_visible(timeout=120_000)
    with page.expect_download() as download:
        done.get_by_role("link", name="Download").click()
    content = download.value.path().read_bytes()
    assert hashlib.sha256(content).hexdigest() in done.inner_text()
    assert b"airports_of_country" in content
    done.get_by_role("rowheader").get_by_role("link").click()
    expect(page.get_by_role("link", name="Manifest")).to_be_visible()
    export_url = page.url

    pages = {
        "overview": live_marina.app_url(slug),
        "data-sources": live_marina.app_url(slug, "data-sources/"),
        "tools": live_marina.app_url(slug, "tools/"),
        "tool": tool_url,
        "servers": live_marina.app_url(slug, "servers/"),
        "connect": live_marina.app_url(slug, "connect/"),
        "keys": live_marina.app_url(slug, "keys/"),
        "members": live_marina.app_url(slug, "members/"),
        "log": live_marina.app_url(slug, "log/"),
        "record": record_url,
        "exports": live_marina.app_url(slug, "exports/"),
        "export": export_url,
        "schedules": live_marina.app_url(slug, "exports/schedules/"),
        "schedule-new": live_marina.app_url(slug, "exports/schedules/new"),
    }
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()
    faults = visitor.faults + take_pictures(browser, live_marina, owner.email, pages, screenshots)
    assert faults == []
    if pytestconfig.getoption("--update-screenshots"):
        for name in ("overview", "log"):
            for theme in ("light", "dark"):
                shutil.copyfile(screenshots / f"{name}-{WIDE}-{theme}.png", IMAGES / f"{name}-{theme}.png")
