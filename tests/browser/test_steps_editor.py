"""Pipelines and workflows built as a list of steps, in a real browser: saved, called, moved, mended, and as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.browser.conftest import NARROW, WIDE, Visitor, aside, visitor_of
from tests.factories import PASSWORD, Team, make_database, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

PORTS = """
CREATE TABLE ports (code text PRIMARY KEY, name text);
INSERT INTO ports VALUES ('AMS', 'Amsterdam'), ('HAM', 'Hamburg');
"""


@pytest.fixture
def team() -> Team:
    made = aside(make_team, "Pipe fitters")
    aside(create_source, "base", "postgres", {"dsn": aside(make_database, PORTS)}, caller=made.owner)
    aside(create_source, "flows", "flows", {}, caller=made.owner)
    return made


def visit(
    browser: Browser, marina: LiveMarina, team: Team, page: str = "tools/new?kind=pipeline", **profile: Any
) -> Visitor:
    visitor = visitor_of(browser, marina.base_url, **profile)
    visitor.sign_in(team.owner_email, PASSWORD)
    visitor.page.goto(marina.app_url(team.slug, page))
    return visitor


def card(page: Page, number: str) -> Locator:
    """The card of a step by its number: 2, or 2.1 within it."""
    return page.locator(f'.step[data-number="{number}"]')


def value(within: Page | Locator, name: str) -> Locator:
    """The control of a value by its label."""
    return within.get_by_role("textbox", name=name).or_(within.get_by_role("combobox", name=name)).first


def definition(page: Page) -> Any:
    """What would be saved."""
    return json.loads(page.locator("#id_definition").input_value())


def remove_all(page: Page) -> None:
    """Empty the list: the sample's steps, inputs and result."""
    while page.locator("[data-steps=steps] > .steps-list > ol > .step").count():
        page.get_by_role("button", name="Remove step 1", exact=True).click()
    while page.get_by_role("button", name=re.compile("^Remove input")).count():
        page.get_by_role("button", name=re.compile("^Remove input")).first.click()
    value(page, "What the tool gives").fill("")


def test_a_pipeline_of_three_steps_is_built_by_the_list_alone_and_runs(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = visit(browser, live_marina, team)
    page = visitor.page
    expect(page.get_by_label("Definition")).not_to_be_visible()
    remove_all(page)
    assert definition(page) == {"steps": []}

    page.get_by_role("button", name="Add input").click()
    page.get_by_role("group", name="Input input1").get_by_label("Name").fill("table")
    add = page.get_by_role("button", name="Add step", exact=True)
    add.click()
    first = card(page, "1")
    expect(first.get_by_label("Tool", exact=True)).to_be_focused()
    first.get_by_label("Tool", exact=True).fill("describe_table")
    first.get_by_role("button", name="Pick a value for table_name").click()
    page.get_by_role("button", name="$table input").click()
    expect(value(first, "table_name")).to_have_value("$table")
    first.get_by_label("Name of its output").fill("found")

    add.click()
    second = card(page, "2")
    second.get_by_label("Tool", exact=True).fill("query_database")
    value(second, "query").fill("SELECT count(*) AS n FROM ")
    second.get_by_role("button", name="Pick a value for query").click()
    page.get_by_role("button", name="${found.name}").click()
    second.get_by_label("Name of its output").fill("counted")

    add.click()
    third = card(page, "3")
    third.get_by_label("Tool", exact=True).fill("query_database")
    value(third, "query").fill("TABLE ${found.name}")
    value(third, "limit").fill("1")
    third.get_by_label("Name of its output").fill("rows")
    value(page, "What the tool gives").fill('{"n": "${counted.rows[0].n}", "rows": "${rows.rows}"}')
    assert definition(page) == {
        "steps": [
            {"tool": "describe_table", "args": {"table_name": "$table"}, "output": "found"},
            {
                "tool": "query_database",
                "args": {"query": "SELECT count(*) AS n FROM ${found.name}"},
                "output": "counted",
            },
            {
                "tool": "query_database",
                "args": {"query": "TABLE ${found.name}", "limit": 1},
                "output": "rows",
            },
        ],
        "parameters": {"table": {"type": "string"}},
        "result": {"n": "${counted.rows[0].n}", "rows": "${rows.rows}"},
    }
    page.get_by_label("Name", exact=True).first.fill("look_closely")
    page.get_by_role("button", name="Create tool").click()
    expect(page.get_by_text("Tool look_closely is offered now.")).to_be_visible()
    page.locator("[data-argument=table]").fill("ports")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#try-result")).to_contain_text("Amsterdam")
    assert visitor.faults == []


EVERY_TYPE: dict[str, Any] = {
    "title": "All of it",
    "parameters": {
        "tables": {"type": "array", "items": {"type": "string"}, "description": "Which"},
        "rows": {"type": "integer", "default": 3, "minimum": 1},
    },
    "steps": [
        {"tool": "list_tables", "name": "Look around", "output": "all"},
        {
            "type": "condition",
            "if": {
                "all": [
                    {"left": "${all.tables}", "operator": "exists"},
                    {"not": {"left": "$rows", "operator": "gt", "right": 100}},
                ]
            },
            "then": [
                {"tool": "describe_table", "args": {"table_name": "ports"}, "continue_on_failure": True}
            ],
            "else": [{"tool": "list_tables"}],
        },
        {
            "type": "loop",
            "over": "$tables",
            "as": "table",
            "steps": [
                {
                    "tool": "query_database",
                    "args": {"query": "SELECT 1 AS one,\n       2 AS two", "limit": "$rows"},
                    "output_variable": "found",
                }
            ],
            "max_iterations": 10,
            "output": "described",
        },
        {
            "type": "loop",
            "while": {"left": "$described", "operator": "empty"},
            "steps": [{"tool": "list_tables"}],
        },
        {
            "type": "parallel",
            "branches": [[{"tool": "list_tables"}], [{"tool": "list_tables", "output": "again"}]],
            "output": "both",
        },
    ],
    "result": {"found": "$described", "as text": "at ${again.tables}, $$5"},
}


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_every_type_of_step_has_a_form_on_any_screen(
    live_marina: LiveMarina, browser: Browser, team: Team, screenshots: Path, width: int, theme: str
) -> None:
    tool = aside(create_tool, "all_of_it", "flows", "workflow", EVERY_TYPE, caller=team.owner)
    visitor = visit(browser, live_marina, team, f"tools/{tool.id}/edit", width=width, theme=theme)
    page = visitor.page
    for number in (
        "1",
        "2",
        "2 then 1",
        "2 else 1",
        "3",
        "3.1",
        "4",
        "4.1",
        "5",
        "5 branch 1.1",
        "5 branch 2.1",
    ):
        expect(card(page, number)).to_be_visible()
    page.screenshot(path=screenshots / f"steps-folded-{width}-{theme}.png", full_page=True)
    while page.locator(".step-title[aria-expanded=false]").count():
        page.locator(".step-title[aria-expanded=false]").first.click()
    expect(value(card(page, "2 then 1"), "table_name")).to_have_value("ports")
    page.screenshot(path=screenshots / f"steps-{width}-{theme}.png", full_page=True)
    assert visitor.overflow() == 0
    assert visitor.inaccessible() == []
    value(card(page, "3.1"), "query").fill("TABLE ports")
    card(page, "3.1").get_by_role("button", name="Pick a value for limit").click()
    page.screenshot(path=screenshots / f"steps-pick-{width}-{theme}.png")
    assert visitor.overflow() == 0
    page.keyboard.press("Escape")
    expect(card(page, "3.1").get_by_role("button", name="Pick a value for limit")).to_be_focused()
    assert visitor.faults == []
