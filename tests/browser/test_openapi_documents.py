"""An OpenAPI document in a real browser: chosen as a file, tried, saved; what changed is read, then taken over."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Browser, expect

from servers.services.sources import create_source
from tests.browser.conftest import NARROW, WIDE, Visitor, aside, new_context
from tests.factories import PASSWORD, Team, make_team
from tests.farside import FarSide, far_side, reply
from tests.plugins.live_marina import LiveMarina
from tests.servers.execution.http.openapi.shop import FASTAPI_LIKE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.fixture
def marina(tmp_path: Path, database: None) -> Iterator[LiveMarina]:
    with LiveMarina(log=tmp_path / "marina.log").running() as live:
        yield live


@pytest.fixture
def team() -> Team:
    return aside(make_team, "Harbour office")


@pytest.fixture
def api() -> Iterator[FarSide]:
    with far_side() as side:
        side.serve("/api", reply(b"{}", kind="application/json"))
        publish(side, FASTAPI_LIKE)
        yield side


def publish(api: FarSide, document: dict[str, object]) -> None:
    document = {**document, "servers": [{"url": f"{api.origin}/api"}]}
    api.serve("/openapi.json", reply(orjson.dumps(document), kind="application/json"))


def visit(browser: Browser, marina: LiveMarina, team: Team, *, width: int, theme: str) -> Visitor:
    visitor = Visitor(new_context(browser, width=width, theme=theme).new_page(), marina.base_url)
    visitor.watch()
    visitor.sign_in(team.owner_email, PASSWORD)
    return visitor


def test_document_is_chosen_as_a_file_tried_and_saved(
    marina: LiveMarina, browser: Browser, team: Team, api: FarSide, tmp_path: Path, screenshots: Path
) -> None:
    file = tmp_path / "openapi.json"
    file.write_bytes(orjson.dumps({**FASTAPI_LIKE, "servers": [{"url": f"{api.origin}/api"}]}))
    page = visit(browser, marina, team, width=WIDE, theme="light").page
    page.goto(marina.app_url(team.slug, "data-sources/new?kind=http"))
    page.get_by_label("Name", exact=True).fill("orders")
    page.get_by_label("Or choose a file").set_input_files(file)
    expect(page.get_by_label("OpenAPI document")).to_have_value(file.read_text())
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("read_item_items__item_id__get")).to_be_visible()
    page.screenshot(path=screenshots / "openapi-form.png", full_page=True)
    page.get_by_role("button", name="Save data source").click()
    expect(page.get_by_text("orders answers.")).to_be_visible()


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_what_changed_is_read_before_it_is_taken_over(
    marina: LiveMarina, browser: Browser, team: Team, api: FarSide, screenshots: Path, width: int, theme: str
) -> None:
    settings = {"openapi": f"{api.origin}/openapi.json"}
    source = aside(create_source, "orders", "http", settings, caller=team.owner)
    new = deepcopy(FASTAPI_LIKE)
    new["paths"]["/items"] = {"get": {"operationId": "list_" + "long_" * 9}}
    new["paths"]["/items/{item_id}"]["get"]["parameters"][1]["required"] = True
    publish(api, new)
    visitor = visit(browser, marina, team, width=width, theme=theme)
    page = visitor.page
    page.goto(marina.app_url(team.slug, f"data-sources/{source.id}/"))
    page.get_by_role("button", name="Refresh offering").click()
    expect(page.get_by_text("The argument q became required.")).to_be_visible()
    visitor.shown_well(screenshots / f"openapi-changes-{theme}-{width}.png")
    new["paths"]["/more"] = {"get": {"operationId": "list_more"}}
    publish(api, new)
    page.get_by_role("button", name="Take over").click()
    expect(page.get_by_role("alert")).to_contain_text("The differences are others by now")
    expect(page.get_by_text("GET /more is new.")).to_be_visible()
    visitor.shown_well(screenshots / f"openapi-changes-moved-{theme}-{width}.png")
    page.get_by_role("button", name="Take over").click()
    expect(page.get_by_text("orders is refreshed: added list_long")).to_be_visible()
