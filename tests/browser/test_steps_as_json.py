"""Between the list of steps and their JSON, in a real browser: nothing is lost, changed or left behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.stepslist import EVERY_TYPE, card, make_fitters, open_editor, value
from tests.factories import Team
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

PAGE = Path(__file__).resolve().parents[2] / "docs/pipelines.md"

ODD = """{
  "title": "Odd", "x-more": {"1": 1.0, "0": 12345678901234567890, "e": 1E+2},
  "parameters": {
    "b": {"type": "string", "enum": ["a", "b"], "default": "a", "maxLength": 3.0},
    "a": {"type": "string", "default": ""}, "c": "no object", "d": {"type": "file"},
    "e": {"type": "string", "required": false, "default": null},
    "0": {"type": "array", "items": {"type": "string"}, "description": "", "required": true}
  },
  "steps": [
    "text", 5, null, {"type": "unknown", "tool": "x"}, {"tool": "list_tables", "retries": 3},
    {"tool": "list_tables", "output": "a", "output_variable": "b"}, {"tool": "list_tables", "output_variable": "b"},
    {"tool": "query_database", "args": {
      "query": 5, "params": {"b": 1e3, "a": [1.50, "5", "", {"z": null}]}, "limit": "5", "made up": " x ", "t": "true",
      "n": "12", "q": "\\"", "e": "", "lines": "a\\r\\nb", "tab": "a\\tb", "brace": "{x", "space": " ", "big": 1.0,
      "nul": null, "ref": "$$5 ${a.b[0]}", "unicode": "\\u2028 é 😀"
    }},
    {"tool": "query_database", "args": {"query": "a\\r\\nb"}}, {"tool": "query_database", "args": {"query": "a\\n b "}},
    {"tool": "nothing", "args": {}}, {"tool": "x.y", "args": []}, {"type": "tool_call", "name": "", "tool": ""},
    {"continue_on_failure": false, "tool": "list_tables"}, {"continue_on_failure": "yes", "tool": "list_tables"},
    {"type": "condition", "if": {"left": 1, "operator": "eq"}, "then": "no list"},
    {"type": "condition", "if": {"all": [{"left": "$a", "operator": "exists", "right": 1}, {"any": []}]}, "then": []},
    {"type": "condition", "if": {"not": {"not": {"right": "1", "operator": "lt", "left": "$a"}}}, "else": []},
    {"type": "loop", "over": [1, 2.0], "as": "n", "steps": [], "max_iterations": 1e1},
    {"type": "loop", "over": "$a", "while": {}, "steps": []}, {"type": "loop", "steps": [{"tool": "list_tables"}]},
    {"type": "parallel", "branches": [[]]}, {"type": "parallel", "branches": [[], 5]}
  ],
  "result": null
}"""
"""What no form is made for, and what JavaScript would write otherwise."""

TOUCH = """() => {
  const all = [...document.querySelectorAll("[data-list-view] :is(input, select, textarea)")];
  const tools = all.filter((control) => control.matches("[data-member=tool]"));
  const touched = [...all.filter((control) => !tools.includes(control)), ...tools];
  for (const control of touched) for (const kind of ["input", "change"]) {
    control.dispatchEvent(new Event(kind, { bubbles: true }));
  }
  return touched.length;
}"""
"""Every control says again what it stands for, as if it had been typed anew."""


@pytest.fixture
def team() -> Team:
    return make_fitters()


def exactly(text: str) -> Any:
    """JSON with the order of members and the digits of numbers."""
    return json.loads(
        text, object_pairs_hook=list, parse_int=lambda d: ("n", d), parse_float=lambda d: ("n", d)
    )


@pytest.mark.parametrize("kind", ["pipeline", "workflow"])
def test_between_list_and_json_nothing_is_lost_or_changed(
    live_marina: LiveMarina, browser: Browser, team: Team, kind: str
) -> None:
    examples = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    texts = [json.dumps(example["definition"]) for example in examples if example["kind"] == kind]
    assert texts
    visitor = open_editor(browser, live_marina, team, f"tools/new?kind={kind}")
    page = visitor.page
    as_list = page.get_by_role("button", name="List", exact=True)
    as_json = page.get_by_role("button", name="JSON", exact=True)
    for text in [page.locator("#id_definition").input_value(), *texts, json.dumps(EVERY_TYPE), ODD]:
        as_json.click()
        page.get_by_label("Definition").fill(text)
        as_list.click()
        as_json.click()
        expect(page.get_by_label("Definition")).to_have_value(text)
        as_list.click()
        expect(page.locator("[data-about-tool][hidden]")).to_have_count(text.count('"tool": ""'))
        assert page.evaluate(TOUCH) > 5
        written = page.locator("#id_definition").input_value()
        assert exactly(written) == exactly(text)
        as_json.click()
        as_list.click()
        page.evaluate(TOUCH)
        assert page.locator("#id_definition").input_value() == written
    assert visitor.faults == []


def test_what_is_no_json_is_neither_shown_as_a_list_nor_left_behind(
    live_marina: LiveMarina, browser: Browser, team: Team
) -> None:
    visitor = open_editor(browser, live_marina, team)
    page = visitor.page
    as_list = page.get_by_role("button", name="List", exact=True)
    as_json = page.get_by_role("button", name="JSON", exact=True)
    as_json.click()
    area = page.get_by_label("Definition")
    for text, words in (
        ('{"steps": [', "It is not JSON: a value is expected (line 1, column 12)"),
        ('{"a": 1,\n "a": 2}', 'the key "a" stands twice in one object (line 2, column 5)'),
        ('{"steps": {}}', "steps is no list."),
        ("[]", "The definition is no JSON object."),
    ):
        area.fill(text)
        as_list.click()
        expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
        expect(area).to_have_value(text)
    area.fill('{"steps": [{"tool": "list_tables", "retries": 3}]}')
    as_list.click()
    whole = card(page, "1").get_by_label("As JSON")
    expect(card(page, "1").get_by_role("button", name="As a form")).not_to_be_visible()
    whole.fill('{"tool": "list_tables"')
    expect(card(page, "1").get_by_text("It is not JSON: a comma or } is expected")).to_be_visible()
    as_json.click()
    expect(whole).to_be_focused()
    page.get_by_label("Name", exact=True).first.fill("kept")
    card(page, "1").locator(".step-title").click()
    page.get_by_role("button", name="Create tool").click()
    # The form is not sent, and the fold opens for what keeps it.
    expect(whole).to_be_focused()
    whole.fill('{"tool": "list_tables", "args": {"schema": "public"}}')
    card(page, "1").get_by_role("button", name="As a form").click()
    expect(card(page, "1").get_by_role("button", name="As JSON")).to_be_focused()
    schema = value(card(page, "1"), "schema")
    expect(schema).to_have_value("public")
    value(page, "What the tool gives").fill('{"a": ')
    as_json.click()
    expect(value(page, "What the tool gives")).to_be_focused()
    page.get_by_role("button", name="Duplicate step 1").click()
    expect(value(page, "What the tool gives")).to_be_focused()
    expect(value(page, "What the tool gives")).to_have_value('{"a": ')
    expect(card(page, "2")).to_have_count(0)
    value(page, "What the tool gives").fill("")
    page.get_by_role("button", name="Create tool").click()
    expect(page.get_by_text("Tool kept is offered now.")).to_be_visible()
    assert visitor.faults == []
