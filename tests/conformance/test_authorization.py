"""The official suite's ``authorization``: a team's issuer, with a registered client and a member in a real browser."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from config.local.ports import find_free_port
from tests.browser.conftest import aside, browser, chromium_path, fill_sign_in, new_context
from tests.conformance.suite import running
from tests.factories import make_team
from tests.plugins.live_marina import LiveMarina

__all__ = ["browser", "chromium_path"]

pytestmark = [pytest.mark.conformance, pytest.mark.browser, pytest.mark.timeout(240)]


def register(issuer: str, callback: str) -> str:
    """A client's id, as the issuer gives it to who asks."""
    document = {
        "client_name": "Conformance",
        "redirect_uris": [callback],
        "token_endpoint_auth_method": "none",
    }
    request = urllib.request.Request(
        f"{issuer}/register", json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["client_id"])


def test_suite_passes_for_a_teams_issuer(live_marina: LiveMarina, browser: Browser, tmp_path: Path) -> None:
    team = aside(make_team, "Conformance")
    port = find_free_port()
    issuer = f"{live_marina.base_url}/oauth/{team.slug}"
    client = register(issuer, f"http://127.0.0.1:{port}/callback")
    said: list[str] = []
    with running(
        *("authorization", "--url", issuer, "--client-id", client),
        *("--resource", live_marina.mcp_url(team.slug), "--port", str(port)),
        *("--output-dir", str(tmp_path / "results")),
        home=tmp_path,
    ) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            said.append(raw.decode(errors="replace"))
            if said[-1].startswith(f"{issuer}/authorize?"):
                agree(browser, said[-1].strip(), team.owner_email)
        process.stdout.close()
        process.wait()
    checks = [
        check
        for path in (tmp_path / "results").rglob("checks.json")
        for check in json.loads(path.read_text())
        if check["status"] != "INFO"
    ]
    assert {check["id"] for check in checks} >= {
        "authorization-server-metadata",
        "authorization-code-grant",
    }, "".join(said)
    assert {check["status"] for check in checks} == {"SUCCESS"}, "".join(said)


def agree(browser: Browser, url: str, email: str) -> None:
    """What a member does with the link."""
    page = new_context(browser).new_page()
    page.goto(url)
    assert quote("/oauth/", safe="") in page.url
    fill_sign_in(page, email)
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_text("You can close this page")).to_be_visible()
