"""Long work in a real browser: watched live, stopped after a question, run again; on wide and narrow screens."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, expect

from servers.models import Turn
from servers.services.sources import create_source
from servers.services.tasks.line import Claim
from servers.services.tasks.runs import note_said
from servers.services.tasks.saying import Said
from servers.services.tools import list_tools
from tests.browser.conftest import NARROW, WIDE, aside, visitor_of
from tests.factories import PASSWORD, Team, make_database, make_team
from tests.faults.worker import running_worker
from tests.plugins.live_marina import LiveMarina
from tests.protocol.tasks import TaskClient
from tests.protocol.wireclient import Endpoint

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SLOW = "SELECT count(*) FROM generate_series(1, 100000) AS a, generate_series(1, 100000) AS b"


def make_busy_team() -> tuple[Team, str, str]:
    team = make_team("Busy")
    create_source(
        "db", "postgres", {"dsn": make_database("SELECT 1"), "statement_timeout": 30}, caller=team.owner
    )
    tool = next(each for each in list_tools(caller=team.owner) if each.name == "query_database")
    return team, str(tool.pk), team.key("tools:read", "tools:execute")


def say(team: Team, task_id: str) -> None:
    """What a worker notes of a run that reports its progress."""
    turn = Turn.objects.get(task_id=task_id)
    assert turn.claim is not None
    claim = Claim(team.tenant_id, UUID(task_id), turn.claim)
    said = Said()
    said.logged("warning", "The region north has no number.", "counting")
    said.progressed(3, 10, "Three of ten regions are counted, and the fourth is under way.")
    note_said(claim, said)


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_long_work_is_set_watched_stopped_and_run_again(
    live_marina: LiveMarina, browser: Browser, screenshots: Path, tmp_path: Path, width: int, theme: str
) -> None:
    team, tool, key = aside(make_busy_team)
    visitor = visitor_of(browser, live_marina.base_url, width=width, theme=theme)
    visitor.sign_in(team.owner_email, PASSWORD)
    page = visitor.page

    def seen(name: str) -> None:
        visitor.shown_well(screenshots / f"{name}-{width}-{theme}.png")

    page.goto(live_marina.app_url(team.slug, "work/"))
    expect(page.get_by_text("No long work yet")).to_be_visible()
    seen("work-none")
    page.goto(live_marina.app_url(team.slug, f"tools/{tool}/"))
    panel = page.get_by_role("region", name="Where it runs")
    expect(panel.get_by_text("Run within their requests.")).to_be_visible()
    panel.get_by_label("Calls run").select_option("worker")
    panel.get_by_label("A run may take so many seconds").fill("200")
    panel.get_by_role("button", name="Save").click()
    expect(panel.get_by_text("This team set it so.")).to_be_visible()
    seen("tool-where-it-runs")

    client = TaskClient(Endpoint(live_marina.port, f"/mcp/{team.slug}", key))
    task = client.begin("query_database", {"query": SLOW})["taskId"]
    page.goto(live_marina.app_url(team.slug, "work/"))
    row = page.locator("#work-list tbody tr")
    expect(row.get_by_text("place 1 in line")).to_be_visible()
    with running_worker(tmp_path):
        expect(row.get_by_text("running")).to_be_visible(timeout=120_000)
        aside(say, team, task)
        # Nobody loads the page anew.
        expect(row.get_by_text("3 of 10")).to_be_visible(timeout=60_000)
        seen("work-running")
        row.get_by_role("link", name="query_database").click()
        expect(page.get_by_text("Three of ten regions").first).to_be_visible()
        expect(page.get_by_text("The region north has no number.")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_be_visible()
        seen("task-running")
        page.get_by_role("button", name="Cancel the task").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("The work itself is stopped.")).to_be_visible()
        seen("task-cancel")
        dialog.get_by_role("button", name="Let it go on").click()
        expect(page.get_by_role("status").get_by_text("running")).to_be_visible()
        page.get_by_role("button", name="Cancel the task").click()
        dialog.get_by_role("button", name="Cancel the task").click()
        expect(page.get_by_text(f"Cancelled by user:{team.owner_email}.")).to_be_visible(timeout=60_000)
        seen("task-cancelled")
        page.get_by_role("button", name="Run again").click()
        expect(page.get_by_text("The call is made again, as this new task of yours.")).to_be_visible()
        page.get_by_role("button", name="Cancel the task").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
        expect(page.get_by_role("button", name="Run again")).to_be_visible(timeout=60_000)

        quick = client.begin("query_database", {"query": "SELECT 42 AS answer"})["taskId"]
        page.goto(live_marina.app_url(team.slug, f"work/{quick}/"))
        expect(page.locator("#task-result")).to_contain_text("42", timeout=60_000)
        expect(page.get_by_role("button", name="Run again")).to_be_visible()
        seen("task-completed")
    page.get_by_role("link", name="all of this task").click()
    expect(page.locator("#records tbody tr")).to_have_count(2)
    page.goto(live_marina.app_url(team.slug, "work/?status=cancelled"))
    expect(row).to_have_count(2)
    page.get_by_label("Status").select_option("completed")
    expect(row).to_have_count(1)
    assert "status=completed" in page.url
    seen("work-filtered")
    assert visitor.faults == []
