"""MCP Inspector's own pages, unmodified, in a real browser against three replicas: a person does everything by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import aside, new_context
from tests.browser.inspector import Pages, inspecting
from tests.clients.berth import ENVIRONMENT, LEGACY, MODERN, QUERY, SEEN, TABLE, Berth, make_berth
from tests.factories import make_database
from tests.protocol.waiting import wait_for
from tests.replicas.cluster import Replicas, running_replicas

pytestmark = [pytest.mark.browser, pytest.mark.clients, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def replicas(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Three replicas that know the plugin of the matrix."""
    with running_replicas(tmp_path_factory.mktemp("replicas"), environment=ENVIRONMENT) as made:
        yield made


@pytest.fixture
def berth(replicas: Replicas, tmp_path: Path) -> Berth:
    dsn = aside(make_database, TABLE)
    return aside(make_berth, replicas, dsn, tmp_path / "marker")


@pytest.fixture
def inspector(berth: Berth, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a running Inspector that knows the server, in the era that the test asks for."""
    header = f"Authorization: Bearer {berth.key}"
    with inspecting(berth.url(), "--header", header, era=request.param, home=tmp_path) as address:
        yield address


@pytest.mark.parametrize(
    ("inspector", "version"), [("modern", MODERN), ("legacy", LEGACY)], indirect=["inspector"]
)
def test_a_person_lists_calls_answers_cancels_reads_and_prompts(
    berth: Berth, inspector: str, version: str, browser: Browser
) -> None:
    page = new_context(browser).new_page()
    page.goto(inspector)
    pages = Pages(page)
    pages.connect()
    pages.see(f"MCP {version}")

    pages.open("Tools")
    pages.see(f"Tools ({len(SEEN['tools'])})")
    pages.run_tool("count_to", number="3")
    pages.see("step 3")
    pages.see("Counted to 3")
    pages.press("Close results")
    pages.run_tool("Query the database query_database", query=QUERY["query"])
    pages.see("Ærøskøbing")
    pages.press("Close results")
    pages.run_tool("ask_name")
    question = page.get_by_role("dialog")
    question.get_by_role("textbox", name="name").fill("Ada")
    question.get_by_role("button", name="Submit").click()
    pages.see(SEEN["asked"])
    pages.press("Close results")
    pages.run_tool("ask_model")
    question.get_by_role("textbox", name="Response", exact=True).fill("Ahoy")
    question.get_by_role("button", name="Send Response").click()
    pages.see(SEEN["sampled"])
    pages.press("Close results")
    pages.run_tool("wait", marker=str(berth.marker))
    wait_for(berth.marker.exists)
    pages.press("Cancel")
    wait_for(lambda: berth.marker.read_text() == "cancelled")
    aside(berth.check_cancelled)

    pages.open("Resources")
    pages.press("All pilots")
    pages.see("Vlissingen")
    pages.open("Prompts")
    pages.press("Plan a voyage")
    pages.fill("harbour", "Ærøskøbing")
    pages.press("Get Prompt")
    pages.see("Plan a voyage of 3 days to Ærøskøbing.")
