"""A team whose pipelines are made in the editor, and what a person sees of the list of steps there."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import Browser, Locator, Page

from servers.services.sources import create_source
from tests.browser.conftest import Visitor, aside, visitor_of
from tests.factories import PASSWORD, Team, make_database, make_team
from tests.plugins.live_marina import LiveMarina

PORTS = """
CREATE TABLE ports (code text PRIMARY KEY, name text);
INSERT INTO ports VALUES ('AMS', 'Amsterdam'), ('HAM', 'Hamburg');
"""

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
"""A workflow that has all that there is a form for."""


def make_fitters() -> Team:
    """A team with a database of two ports, and a source for pipelines."""
    made = aside(make_team, "Pipe fitters")
    aside(create_source, "base", "postgres", {"dsn": aside(make_database, PORTS)}, caller=made.owner)
    aside(create_source, "flows", "flows", {}, caller=made.owner)
    return made


def open_editor(
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


def tools(page: Page) -> list[str]:
    """What the steps call, in their order."""
    return [step["tool"] for step in definition(page)["steps"]]


def remove_all(page: Page) -> None:
    """Empty the list: the sample's steps, inputs and result."""
    while page.locator("[data-steps=steps] > .steps-list > ol > .step").count():
        page.get_by_role("button", name="Remove step 1", exact=True).click()
    while page.get_by_role("button", name=re.compile("^Remove input")).count():
        page.get_by_role("button", name=re.compile("^Remove input")).first.click()
    value(page, "What the tool gives").fill("")
