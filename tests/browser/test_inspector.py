"""MCP Inspector's own pages, unmodified, in a real browser against three replicas: a person does everything by hand."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from config.local.ports import find_free_port
from tests.browser.conftest import aside, new_context
from tests.clients.berth import ENVIRONMENT, LEGACY, MODERN, QUERY, SEEN, TABLE, Berth, make_berth
from tests.clients.node import running_inspector
from tests.factories import make_database
from tests.protocol.waiting import wait_for
from tests.replicas.cluster import Replicas, running_replicas

pytestmark = [pytest.mark.browser, pytest.mark.clients, pytest.mark.timeout(200)]

_ADDRESS = re.compile(r"http://\S+MCP_INSPECTOR_API_TOKEN=\w+")


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
    ports = {
        name: str(find_free_port()) for name in ("CLIENT_PORT", "MCP_SANDBOX_PORT", "MCP_APP_ORIGIN_PORT")
    }
    environment = {**ports, "MCP_AUTO_OPEN_ENABLED": "false", "MCP_INSPECTOR_SECRET_STORE": "memory"}
    arguments = [
        *("--web", "--transport", "http", "--protocol-era", request.param, "--server-url", berth.url()),
        *("--header", f"Authorization: Bearer {berth.key}"),
    ]
    with running_inspector(arguments, home=tmp_path, environment=environment) as process:
        yield read_address(process)


def read_address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := _ADDRESS.search(line):
            return found[0]
    pytest.fail(f"The Inspector ended: {''.join(lines)}")


class Pages:
    """Its pages, as a person uses them."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, screen: str) -> None:
        self.page.get_by_role("radiogroup").first.get_by_text(screen, exact=True).click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def fill(self, label: str, text: str) -> None:
        self.page.get_by_role("textbox", name=label, exact=True).fill(text)

    def see(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible()

    def run_tool(self, name: str, **arguments: str) -> None:
        self.press(name)
        for label, text in arguments.items():
            self.fill(label, text)
        self.press("Execute Tool")


@pytest.mark.parametrize(
    ("inspector", "version"), [("modern", MODERN), ("legacy", LEGACY)], indirect=["inspector"]
)
def test_a_person_lists_calls_answers_cancels_reads_and_prompts(
    berth: Berth, inspector: str, version: str, browser: Browser
) -> None:
    page = new_context(browser).new_page()
    page.goto(inspector)
    pages = Pages(page)
    page.get_by_role("switch", name="Connect or disconnect").click(force=True)
    pages.see(f"MCP {version}")

    pages.open("Tools")
    pages.see(f"Tools ({len(SEEN['tools'])})")
    pages.run_tool("count_to", number="3")
    pages.see("step 3")
    pages.see("Counted to 3")
    pages.press("Close results")
    pages.run_tool("Query the database", query=QUERY["query"])
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
