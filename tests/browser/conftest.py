"""Chromium for the browser tests: headless, offline but for loopback, and unforgiving.

A page that logs an error, throws, breaks the content security policy or asks another host for anything fails
its test.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import pytest
from django.db import connections
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from config.local.node import find_node_folder
from tests.factories import PASSWORD

P = ParamSpec("P")
T = TypeVar("T")

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"
SCREENSHOTS = "MARINA_SCREENSHOTS"
WIDE, NARROW = 1440, 360

# Each ends as soon as it is so; unless told, it would be given up after five seconds.
expect.set_options(timeout=30_000)

_ARGUMENTS = (
    "--no-sandbox",  # Chromium's sandbox needs a user other than root; the pages are ours
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-zygote",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
)

_INACCESSIBLE = """() => {
  const faults = [];
  for (const control of document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href]")) {
    const labelled = control.getAttribute("aria-labelledby");
    const name =
      control.getAttribute("aria-label") ||
      (labelled && document.getElementById(labelled)?.textContent) ||
      [...(control.labels ?? [])].map((label) => label.textContent).join("") ||
      control.textContent;
    if (!name || !name.trim()) faults.push("no name: " + control.outerHTML.slice(0, 200));
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) faults.push("id twice: " + id);
  return faults;
}"""

_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{bundled}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{cache}</cachedir>
  <alias><family>sans-serif</family><prefer><family>Open Sans</family></prefer></alias>
  <alias><family>system-ui</family><prefer><family>Open Sans</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


@dataclass
class Visitor:
    """One person's browser: a page, and everything that went wrong in it."""

    page: Page
    base_url: str
    faults: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)
    """HTTP statuses that a test provokes on purpose; the console reports them as errors."""

    def watch(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        self.page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        if any(f"status of {status}" in message.text for status in self.expected):
            return
        self.faults.append(f"console {message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != urlsplit(self.base_url).netloc:
            self.faults.append(f"asked another host: {request.url}")

    def sign_in(self, email: str, password: str) -> None:
        """Through the form, as a person does."""
        self.page.goto(f"{self.base_url}/app/")
        fill_sign_in(self.page, email, password)
        self.page.wait_for_url(lambda url: "sign-in" not in url)

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        # A locator waits where the page is just being left for the next.
        wider: int = self.page.locator("html").evaluate("html => html.scrollWidth - html.clientWidth")
        return wider

    def inaccessible(self) -> list[str]:
        """Controls without a name, and ids that stand twice."""
        found: list[str] = self.page.evaluate(_INACCESSIBLE)
        return found

    def shown_well(self, picture: Path) -> None:
        """Keep a picture of the page, which must fit its window and be accessible."""
        self.page.screenshot(path=picture, full_page=True)
        assert self.overflow() == 0, picture.name
        assert self.inaccessible() == [], picture.name


def fill_sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """What a person does with the sign-in form that stands before them."""
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The Chromium of @sparticuz/chromium, unpacked beside its package."""
    script = FRONTEND / "tools" / "chromium-path.mjs"
    folder = find_node_folder()
    environment = dict(os.environ)
    if folder is not None:
        environment["PATH"] = f"{folder}{os.pathsep}{environment.get('PATH', os.defpath)}"
    done = subprocess.run(
        ["node", str(script)], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, (
        f"Chromium could not be unpacked (was `npm ci` run in frontend/?):\n{done.stderr}"
    )
    return done.stdout.strip()


@pytest.fixture
def browser(chromium_path: str, tmp_path: Path) -> Iterator[Browser]:
    """A Chromium, with the same fonts on every machine.

    One a test: while Playwright runs, this thread has an event loop, which tests of other modules must not see.
    """
    home = tmp_path / "fonts"
    home.mkdir()
    config = home / "fonts.conf"
    config.write_text(_FONTS.format(bundled=Path(chromium_path).parent / "fonts", cache=home / "cache"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path,
            args=list(_ARGUMENTS),
            env={**os.environ, "FONTCONFIG_FILE": str(config)},
        )
        yield browser
        browser.close()


def aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread of its own: Playwright keeps an event loop on this one, where Django refuses to query."""

    def run() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            # The thread ends here: its connection goes back to the pool.
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def new_context(browser: Browser, *, width: int = WIDE, theme: str = "light", **more: Any) -> BrowserContext:
    """A fresh browser profile with a window of this width, preferring this theme."""
    return browser.new_context(
        viewport={"width": width, "height": 900 if width == WIDE else 740},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        service_workers="block",
        **more,
    )


def visitor_of(browser: Browser, base_url: str, **profile: Any) -> Visitor:
    """Somebody with a profile of their own (as ``new_context`` takes it), whose faults are heard of."""
    visitor = Visitor(new_context(browser, **profile).new_page(), base_url)
    visitor.watch()
    return visitor


@pytest.fixture
def screenshots(tmp_path: Path, pytestconfig: pytest.Config) -> Path:
    """Where pictures go: the folder that ``MARINA_SCREENSHOTS`` names, else the test's own."""
    folder = Path(os.environ.get(SCREENSHOTS) or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
