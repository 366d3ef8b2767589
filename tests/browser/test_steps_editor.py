"""Pipelines and workflows built as a list of steps, in a real browser: saved, called, moved, mended, and as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from servers.services.tools import create_tool
from tests.browser.conftest import NARROW, WIDE, aside
from tests.browser.stepslist import (
    EVERY_TYPE,
    card,
    definition,
    make_fitters,
    open_editor,
    remove_all,
    tools,
    value,
)
from tests.factories import Team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@pytest.fixture
def team() -> Team:
    return make_fitters()


def test_a_pipeline_of_three_steps_is_built_by_the_list_alone_and_runs(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = open_editor(browser, live_marina, team)
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


def test_steps_are_moved_duplicated_removed_and_brought_back(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = open_editor(browser, live_marina, team)
    page = visitor.page
    names = ["list_tables", "describe_table"]
    assert tools(page) == names
    expect(page.get_by_role("button", name="Move step 1 up")).to_be_disabled()
    page.get_by_role("button", name="Move step 1 down").click()
    assert tools(page) == names[::-1]
    expect(page.locator("#announcer")).to_have_text("Step 1 is step 2 now.")
    # It can go no further: the other way is still at hand.
    expect(page.get_by_role("button", name="Move step 2 up")).to_be_focused()
    page.get_by_role("button", name="Duplicate step 2").click()
    assert tools(page) == ["describe_table", "list_tables", "list_tables"]
    value(card(page, "3"), "schema").fill("public")
    assert [step.get("args") for step in definition(page)["steps"][1:]] == [None, {"schema": "public"}]
    page.get_by_role("button", name="Remove step 2").click()
    assert tools(page) == ["describe_table", "list_tables"]
    expect(card(page, "2").locator(".step-title")).to_be_focused()
    page.get_by_role("button", name="Remove step 1").click()
    page.get_by_role("button", name="Remove step 1").click()
    expect(page.get_by_role("button", name="Add step")).to_be_focused()
    assert tools(page) == []
    undo = page.get_by_role("button", name="Undo")
    for _ in range(3):
        undo.click()
    assert tools(page) == ["describe_table", "list_tables", "list_tables"]
    expect(undo).to_be_disabled()
    assert definition(page)["steps"][2]["args"] == {"schema": "public"}
    assert visitor.faults == []


def test_each_fault_stands_at_its_step_and_field(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    steps = [
        {"tool": "list_tables", "args": {"colour": "red"}},
        {
            "type": "condition",
            "if": {"left": "$nothing", "operator": "eq", "right": 1},
            "then": [{"tool": "describe_tabel"}],
        },
        {"type": "loop", "over": [1], "steps": []},
    ]
    visitor = open_editor(browser, live_marina, team, "tools/new?kind=workflow")
    page = visitor.page
    page.get_by_role("button", name="JSON", exact=True).click()
    page.get_by_label("Definition").fill(json.dumps({"steps": steps}))
    page.get_by_label("Name", exact=True).first.fill("faulty")
    visitor.expected = {400}
    page.get_by_role("button", name="Create tool").click()
    summary = page.get_by_role("alert").filter(has_text="It is not saved.")
    # What is wrong with a definition by itself comes first, then what does not fit the tools.
    expect(summary).to_contain_text("2 faults are left")
    assert visitor.inaccessible() == []
    summary.get_by_role("link", name="Each time of step 3").click()
    expect(card(page, "3").get_by_role("button", name="Add call")).to_be_focused()
    expect(card(page, "3").get_by_text("Give a list of steps, one at least.")).to_be_visible()
    page.keyboard.press("Enter")
    card(page, "3.1").get_by_role("combobox", name="Tool").fill("list_tables")
    expect(summary).to_contain_text("One fault is left")
    summary.get_by_role("link", name="Step 2, Left").click()
    value(card(page, "2"), "Left").fill("1")
    expect(summary).to_contain_text("2 faults are left")
    colour = value(card(page, "1"), "colour")
    expect(colour).to_have_attribute("aria-invalid", "true")
    expect(colour).to_have_accessible_description("list_tables has no such argument.")
    then = card(page, "2 then 1")
    expect(then.get_by_text("There is no tool called describe_tabel in this team.")).to_be_visible()
    then.locator(".step-title").click()
    expect(then.locator(".step-title")).to_contain_text("1 fault")
    summary.get_by_role("link", name="Step 2 then 1, Tool").click()
    tool = then.get_by_role("combobox", name="Tool")
    expect(tool).to_be_focused()
    tool.fill("describe_table")
    expect(then.get_by_text("is required, but missing.")).to_be_visible()
    value(then, "table_name").fill("ports")
    colour.fill("")
    expect(summary).not_to_be_visible()
    page.get_by_role("button", name="Create tool").click()
    expect(page.get_by_text("Tool faulty is offered now.")).to_be_visible()
    assert visitor.faults == []


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_every_type_of_step_has_a_form_on_any_screen(
    live_marina: LiveMarina, browser: Browser, team: Team, screenshots: Path, width: int, theme: str
) -> None:
    tool = aside(create_tool, "all_of_it", "flows", "workflow", EVERY_TYPE, caller=team.owner)
    visitor = open_editor(browser, live_marina, team, f"tools/{tool.id}/edit", width=width, theme=theme)
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
    visitor.shown_well(screenshots / f"steps-{width}-{theme}.png")
    value(card(page, "3.1"), "query").fill("TABLE ports")
    card(page, "3.1").get_by_role("button", name="Pick a value for limit").click()
    page.screenshot(path=screenshots / f"steps-pick-{width}-{theme}.png")
    assert visitor.overflow() == 0
    page.keyboard.press("Escape")
    expect(card(page, "3.1").get_by_role("button", name="Pick a value for limit")).to_be_focused()
    assert visitor.faults == []


def test_a_loop_offers_the_parts_of_its_items_and_a_condition_is_put_together(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = open_editor(browser, live_marina, team, "tools/new?kind=workflow")
    page = visitor.page
    within = card(page, "2.1")
    expect(value(within, "table_name")).to_have_value("${table.name}")
    value(within, "schema").fill("")
    within.get_by_role("button", name="Pick a value for schema").click()
    page.get_by_role("button", name="${table.schema}").click()
    expect(value(within, "schema")).to_have_value("${table.schema}")
    value(within, "schema").press("Home")
    within.get_by_role("button", name="Pick a value for schema").click()
    page.get_by_role("button", name="$table each of step 2").click()
    expect(value(within, "schema")).to_have_value("${table}${table.schema}")
    value(within, "schema").fill("${table.schema}")
    page.get_by_role("button", name="Add condition", exact=True).click()
    third = card(page, "3")
    kind = third.get_by_role("combobox", name="If")
    expect(kind).to_be_focused()
    kind.select_option("exists")
    expect(kind).to_be_focused()
    value(third, "Left").fill("$all")
    kind.select_option("any")
    third.get_by_role("button", name="Add condition", exact=True).click()
    third.get_by_role("textbox", name="Left").nth(1).fill("$described")
    third.get_by_role("textbox", name="Right").fill("[]")
    third.get_by_role("button", name="Add call to Then of step 3").click()
    card(page, "3 then 1").get_by_role("combobox", name="Tool").fill("list_tables")
    third.get_by_role("button", name="Add call to Otherwise of step 3").click()
    card(page, "3 else 1").get_by_role("button", name="Remove step 3 else 1").click()
    loop = card(page, "2").get_by_role("combobox", name="Repeat")
    loop.select_option("while")
    value(card(page, "2"), "Left").fill("$nothing")
    page.get_by_role("button", name="Add parallel", exact=True).click()
    card(page, "4").get_by_role("button", name="Add branch").click()
    card(page, "4").get_by_role("button", name="Remove branch 3").click()
    steps = definition(page)["steps"]
    assert steps[1]["while"] == {"operator": "eq", "left": "$nothing"}
    assert not {"over", "as"} & set(steps[1])
    either = [
        {"operator": "exists", "left": "$all"},
        {"operator": "eq", "left": "$described", "right": []},
    ]
    assert steps[2] == {"type": "condition", "if": {"any": either}, "then": [{"tool": "list_tables"}]}
    assert steps[3] == {"type": "parallel", "branches": [[], []]}
    assert visitor.faults == []


def test_many_values_are_narrowed_by_what_is_typed(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = open_editor(browser, live_marina, team)
    page = visitor.page
    page.get_by_role("button", name="Add step").click()
    card(page, "3").get_by_role("combobox", name="Tool").fill("list_tables")
    schema = value(card(page, "3"), "schema")
    card(page, "3").get_by_role("button", name="Pick a value for schema").click()
    dialog = page.get_by_role("dialog")
    # What tools give comes late.
    expect(dialog.get_by_role("listitem").filter(has_text="${found.columns}").first).to_be_visible()
    everything = dialog.get_by_role("listitem").count()
    assert everything > 12
    dialog.get_by_role("searchbox").fill("found.COLUMNS")
    expect(dialog.get_by_role("listitem").first).to_contain_text("${found.columns}")
    assert dialog.get_by_role("listitem").count() < everything
    page.keyboard.press("Enter")
    expect(dialog).not_to_be_visible()
    expect(schema).to_have_value("${found.columns}")
    assert visitor.faults == []


def test_what_tools_take_and_give_may_come_late(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = open_editor(browser, live_marina, team, "")
    page = visitor.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile("tools/arguments"), hold)
    page.goto(live_marina.app_url(team.slug, "tools/new?kind=workflow"))
    within = card(page, "2.1")
    within.get_by_role("button", name="Pick a value for schema").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="$table each of step 2")).to_be_visible()
    assert dialog.get_by_role("button", name="${table.schema}").count() == 0
    for route in held:
        route.continue_()
    dialog.get_by_role("button", name="${table.schema}").click()
    expect(value(within, "schema")).to_have_value("${table.schema}" * 2)
    assert definition(page)["steps"][1]["steps"][0]["args"]["schema"] == "${table.schema}" * 2
    assert visitor.faults == []


def test_the_keyboard_is_enough(live_marina: LiveMarina, browser: Browser, team: Team) -> None:
    visitor = open_editor(browser, live_marina, team)
    page = visitor.page
    keys = page.keyboard

    def go(control: Locator, way: str = "Tab") -> None:
        for _ in range(120):
            if control.evaluate("each => each === document.activeElement"):
                return
            keys.press(way)
        pytest.fail(f"{way} does not lead to {control}")

    go(page.get_by_label("Name", exact=True).first)
    keys.type("by_keys")
    go(page.get_by_role("button", name="Remove step 1"))
    keys.press("Enter")
    go(page.get_by_role("button", name="Remove step 1"))
    keys.press("Space")
    expect(page.get_by_role("button", name="Add step")).to_be_focused()
    keys.press("Enter")
    expect(card(page, "1").get_by_role("combobox", name="Tool")).to_be_focused()
    keys.type("describe_table")
    expect(value(card(page, "1"), "table_name")).to_be_visible()
    go(card(page, "1").get_by_role("button", name="Pick a value for table_name"))
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.press("Enter")
    expect(value(card(page, "1"), "table_name")).to_be_focused()
    # Enter in a line of the list saves nothing.
    keys.press("Enter")
    go(page.get_by_role("button", name="Add step"))
    keys.press("Enter")
    keys.type("list_tables")
    go(page.get_by_role("button", name="Move step 2 up"), "Shift+Tab")
    keys.press("Enter")
    assert tools(page) == ["list_tables", "describe_table"]
    go(card(page, "1").locator(".step-title"), "Shift+Tab")
    keys.press("Enter")
    expect(card(page, "1").locator(".step-title")).to_have_attribute("aria-expanded", "false")
    go(page.get_by_role("button", name="JSON", exact=True), "Shift+Tab")
    keys.press("Enter")
    expect(page.get_by_label("Definition")).to_be_visible()
    go(page.get_by_role("button", name="List", exact=True), "Shift+Tab")
    keys.press("Enter")
    go(value(page, "What the tool gives"))
    keys.press("Control+A")
    keys.type("$nothing")
    keys.press("Control+A")
    keys.press("Delete")
    go(page.get_by_role("button", name="Create tool"))
    keys.press("Enter")
    expect(page.get_by_text("Tool by_keys is offered now.")).to_be_visible()
    assert visitor.faults == []


def test_without_script_the_definition_is_written_as_json(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = open_editor(browser, live_marina, team, java_script_enabled=False)
    page = visitor.page
    expect(page.get_by_role("button", name="List")).not_to_be_visible()
    page.get_by_label("Definition").fill('{"steps": [{"tool": "list_tables"}]}')
    page.get_by_label("Name", exact=True).fill("plainly")
    page.get_by_role("button", name="Create tool").click()
    expect(page.get_by_text("Tool plainly is offered now.")).to_be_visible()
    assert visitor.faults == []
