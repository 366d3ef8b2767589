"""Resources, prompts and the form of any kind of data source, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, Team, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

PAGES = ("data-sources/", "resources/", "prompts/", "tools/", "data-sources/new", "servers/new")
LONG = "harbour_" + "x" * 56
"""As long as a name may be, with no place to break."""


@pytest.fixture
def marina(tmp_path: Path, database: None) -> Iterator[LiveMarina]:
    """A web process of this test's own, which has the shelf."""
    with LiveMarina(
        log=tmp_path / "marina.log", module="tests.browser.shelf_app:application"
    ).running() as live:
        yield live


@pytest.fixture
def team() -> Team:
    return aside(make_team, "Harbour office")


def visit(browser: Browser, marina: LiveMarina, team: Team, *, width: int, theme: str) -> Visitor:
    visitor = Visitor(new_context(browser, width=width, theme=theme).new_page(), marina.base_url)
    visitor.watch()
    visitor.sign_in(team.owner_email, PASSWORD)
    return visitor


def connect(page: Page, marina: LiveMarina, team: Team, *, picture: Path, name: str = "harbour") -> None:
    """Add the source through the form, as a person would, testing it first; with a picture of the filled form."""
    page.goto(marina.app_url(team.slug, "data-sources/new"))
    page.get_by_role("link", name="Shelf").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Shelf", exact=True).fill("harbour")
    page.get_by_label("Token").fill("a secret of the harbour")
    page.get_by_label("colour").select_option("red")
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("harbour://notices")).to_be_visible()
    expect(page.get_by_text("It answers")).to_be_visible()
    page.screenshot(path=picture, full_page=True)
    page.get_by_role("button", name="Save data source").click()
    expect(page.get_by_text(f"{name} answers.")).to_be_visible()


def test_a_source_of_any_kind_brings_resources_and_prompts_that_can_be_switched(
    marina: LiveMarina, browser: Browser, team: Team, screenshots: Path
) -> None:
    visitor = visit(browser, marina, team, width=WIDE, theme="light")
    page = visitor.page
    connect(page, marina, team, picture=screenshots / "source-new.png")
    page.screenshot(path=screenshots / "source.png", full_page=True)
    page.get_by_role("button", name="Refresh offering").click()
    expect(page.get_by_text("harbour brings nothing new.")).to_be_visible()

    page.get_by_role("link", name="Resources", exact=True).click()
    row = page.get_by_role("row").filter(has_text="harbour://tides/today")
    row.get_by_role("button", name="Turn off").click()
    expect(page.get_by_text("harbour://tides/today is no longer offered.")).to_be_visible()
    page.screenshot(path=screenshots / "resources.png", full_page=True)
    page.get_by_label("Contains").fill("vessel imo")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("harbour://vessels/{imo}", exact=True)).to_be_visible()
    expect(page.get_by_text("harbour://notices")).not_to_be_visible()
    page.get_by_role("link", name="All resources").click()
    page.get_by_role("link", name="Tides of today").click()
    expect(page.get_by_text("nobody: it is off")).to_be_visible()
    page.screenshot(path=screenshots / "resource.png", full_page=True)
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_text("harbour://tides/today is offered.")).to_be_visible()

    page.get_by_role("link", name="Prompts", exact=True).click()
    page.screenshot(path=screenshots / "prompts.png", full_page=True)
    page.get_by_role("link", name="arrival_report").click()
    expect(page.get_by_role("rowheader").get_by_text("What about")).to_be_visible()
    page.screenshot(path=screenshots / "prompt.png", full_page=True)
    assert visitor.faults == []


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "dark"), (NARROW, "light")])
def test_the_pages_fit_the_window_and_name_every_control(
    marina: LiveMarina, browser: Browser, team: Team, screenshots: Path, width: int, theme: str
) -> None:
    visitor = visit(browser, marina, team, width=width, theme=theme)
    page = visitor.page
    connect(page, marina, team, picture=screenshots / f"{theme}-{width}-new.png", name=LONG)
    for number, name in enumerate(("", *PAGES)):
        if name:
            page.goto(marina.app_url(team.slug, name))
        page.screenshot(path=screenshots / f"{theme}-{width}-{number}.png", full_page=True)
        assert visitor.overflow() <= 0, page.url
        assert visitor.inaccessible() == [], page.url
    assert visitor.faults == []
