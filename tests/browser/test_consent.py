"""Consent in a real browser: from the client's link through sign-in to the client's own address, and its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tenants.oauth_addresses import resource
from tests.browser.conftest import NARROW, WIDE, Visitor, aside, fill_sign_in, new_context
from tests.factories import make_team
from tests.oauth.asking import parameters_of
from tests.oauth.flows import App, make_app
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture
def callback() -> Iterator[tuple[str, list[str]]]:
    """A client's own address on this machine, and what it was called with."""
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<link rel=icon href='data:,'><p>You may close this window.</p>")

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/callback", called
    server.shutdown()
    server.server_close()
    thread.join(10)


def led_there(live_marina: LiveMarina, context: BrowserContext, app: App, asked: dict[str, str]) -> Visitor:
    """The owner, whose browser a client led to the authorization endpoint, and who signed in there."""
    visitor = Visitor(context.new_page(), live_marina.base_url)
    visitor.page.goto(f"{live_marina.base_url}/oauth/{app.team.slug}/authorize?{urlencode(asked)}")
    fill_sign_in(visitor.page, app.team.owner_email)
    return visitor


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_member_signs_in_agrees_to_less_and_arrives_at_the_client(
    live_marina: LiveMarina,
    browser: Browser,
    callback: tuple[str, list[str]],
    screenshots: Path,
    width: int,
    theme: str,
) -> None:
    address, called = callback
    team = aside(make_team, "Harbour office")
    app = aside(make_app, team, redirect_uris=address, name="Claude Code on a laptop with a rather long name")
    asked = app.request(
        redirect_uri=address,
        scope="tools:read tools:execute resources:read",
        resource=resource(team.slug).replace("http://127.0.0.1:8000", live_marina.base_url),
    )
    visitor = led_there(live_marina, new_context(browser, width=width, theme=theme), app, asked)
    page = visitor.page
    expect(page.get_by_role("heading", name="Allow Claude Code")).to_be_visible()
    assert visitor.overflow() == 0
    assert visitor.inaccessible() == []
    page.screenshot(path=screenshots / f"consent-{theme}.png", full_page=True)
    page.get_by_label("List and read the server's resources").uncheck()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_text("You may close this window.")).to_be_visible()
    (path,) = called
    assert parameters_of(path)["iss"] == f"{live_marina.base_url}/oauth/{team.slug}"

    visitor.watch()
    page.goto(live_marina.app_url(team.slug, "apps/"))
    expect(page.get_by_role("rowheader", name="Claude Code").first).to_be_visible()
    expect(page.get_by_text("resources:read")).to_have_count(0)
    assert visitor.overflow() == 0
    assert visitor.inaccessible() == []
    page.screenshot(path=screenshots / f"apps-{theme}.png", full_page=True)
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_text("is disconnected")).to_be_visible()
    assert visitor.faults == []
    page.context.close()


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_error_of_a_client_that_was_not_let_in_waits_for_a_click(
    live_marina: LiveMarina,
    browser: Browser,
    callback: tuple[str, list[str]],
    screenshots: Path,
    width: int,
    theme: str,
) -> None:
    address, called = callback
    team = aside(make_team, "Harbour office")
    app = aside(make_app, team, redirect_uris=address, registration_source="dcr")
    asked = app.request(redirect_uri=address, scope="nonsense")
    visitor = led_there(live_marina, new_context(browser, width=width, theme=theme), app, asked)
    page = visitor.page
    expect(page.get_by_role("heading", name="This request cannot be answered")).to_be_visible()
    assert called == []
    assert visitor.overflow() == 0
    assert visitor.inaccessible() == []
    page.screenshot(path=screenshots / f"consent-refused-{theme}.png", full_page=True)
    page.get_by_role("link", name="Go on to").click()
    expect(page.get_by_text("You may close this window.")).to_be_visible()
    (path,) = called
    assert parameters_of(path)["error"] == "invalid_scope"
    page.context.close()
