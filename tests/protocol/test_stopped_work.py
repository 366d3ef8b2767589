"""Whatever ends a call stops the work itself, on a far side, whichever of two replicas heard of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection

import httpx2
import psycopg
import pytest
from django.conf import settings

from servers.models import Tool
from servers.services.changes import publish_change
from servers.services.sources import create_source
from tenants.audit.records import decode
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.factories import Team, make_database, make_team
from tests.faults.worker import KillableWorker, running_worker
from tests.frontend.visitor import client_of
from tests.plugins.live_marina import LiveMarina
from tests.protocol.streamclient import begin
from tests.protocol.tasks import TaskClient
from tests.protocol.waiting import in_thread, wait_for
from tests.protocol.wireclient import MODERN, Endpoint, modern_meta

pytestmark = pytest.mark.timeout(180)

TOOL = "execute_transaction"
LONG = "INSERT INTO done SELECT count(*) FROM generate_series(1, 2000000000) AS g (i) WHERE i % 7 = 0"
"""Minutes, of which a source allows half a one: whatever is gone sooner was stopped."""

SECONDS = 20.0
"""Long before the statement's own time-out, on a busy machine."""


@dataclass
class Site:
    """Two replicas and a worker, and one team whose writing tool runs there."""

    replicas: list[LiveMarina]
    worker: KillableWorker
    team: Team
    dsn: str

    def endpoint(self, number: int, key: str) -> Endpoint:
        return Endpoint(self.replicas[number].port, f"/mcp/{self.team.slug}", key)

    def running(self) -> int:
        """How many statements of the work run at the far side."""
        with psycopg.connect(self._owned, autocommit=True) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND state = 'active' AND query LIKE '%%INSERT INTO done SELECT%%' AND pid <> pg_backend_pid()"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def done(self) -> int:
        """How much of it took effect."""
        with psycopg.connect(self._owned) as connection:
            row = connection.execute("SELECT count(*) FROM done").fetchone()
        assert row is not None
        return int(row[0])

    @property
    def _owned(self) -> str:
        return f"{settings.ENV.database_url.rpartition('/')[0]}/{self.dsn.rpartition('/')[2]}"

    def outcomes(self) -> list[tuple[str, str]]:
        with tenant_scope(self.team.tenant_id):
            rows = AuditRecord.objects.filter(kind="tools/call").order_by("seq")
            found = [decode(bytes(row.body)) for row in rows]
        return [
            (each["outcome"], (each["reason"] or {}).get("message", ""))
            for each in found
            if each["outcome"] != "intent"
        ]


@pytest.fixture(scope="module")
def running(
    database: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[LiveMarina], KillableWorker]]:
    folder = tmp_path_factory.mktemp("stopped")
    both = [LiveMarina(folder / f"web-{number}.log") for number in range(2)]
    with ExitStack() as ending:
        webs = [ending.enter_context(each.running(wait_for="/health")) for each in both]
        yield webs, ending.enter_context(running_worker(folder))


@pytest.fixture
def site(running: tuple[list[LiveMarina], KillableWorker]) -> Site:
    webs, worker = running
    team = make_team()
    dsn = make_database("CREATE TABLE done (number bigint); GRANT INSERT, SELECT ON done TO PUBLIC")
    create_source("far", "postgres", {"dsn": dsn, "allow_writes": True}, caller=team.owner)
    with tenant_scope(team.tenant_id):
        Tool.objects.filter(name=TOOL).update(runs=Tool.Runs.WORKER)
        publish_change(team.tenant_id)
    return Site(webs, worker, team, dsn)


def stopped(site: Site, outcome: str, words: str) -> None:
    """The work is gone, at the far side, without effect; and the log says why."""
    asked = time.monotonic()
    wait_for(lambda: site.running() == 0)
    assert time.monotonic() - asked < SECONDS
    wait_for(lambda: len(site.outcomes()) == 1)
    [(found, why)] = site.outcomes()
    assert found == outcome
    assert words in why
    assert site.done() == 0


def test_tasks_cancel_at_the_other_replica_stops_it(site: Site) -> None:
    key = site.team.key()
    one, two = (TaskClient(site.endpoint(number, key)) for number in range(2))
    task_id = one.begin(TOOL, {"queries": [LONG]})["taskId"]
    wait_for(lambda: site.running() == 1)
    assert two.ask("cancel", task_id).status == 200
    stopped(site, "cancelled", "The client cancelled the task.")
    assert one.until(task_id)["status"] == "cancelled"


def test_closing_the_stream_stops_it(site: Site) -> None:
    call = {"name": TOOL, "arguments": {"queries": [LONG]}, "_meta": modern_meta(progressToken=1)}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {
        "Authorization": f"Bearer {site.team.key()}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": TOOL,
    }
    # Nothing is said on it before the work says something, so its beginning is not waited for.
    connection = HTTPConnection("127.0.0.1", site.replicas[1].port)
    connection.request("POST", f"/mcp/{site.team.slug}", json.dumps(message), headers)
    wait_for(lambda: site.running() == 1)
    connection.close()
    stopped(site, "cancelled", "The client went away")


def test_a_notification_at_the_other_replica_stops_it(site: Site) -> None:
    session = begin(site.endpoint(0, site.team.key()), version="2025-11-25")
    with in_thread(lambda: session.call(TOOL, {"queries": [LONG]}, token=1, rpc_id=7)) as opening:
        wait_for(lambda: site.running() == 1)
        there = session.on(site.replicas[1].port)
        assert there.notify("notifications/cancelled", {"requestId": 7}).status == 202
        stopped(site, "cancelled", "")
        with opening():
            pass


def test_the_dashboard_of_the_other_replica_stops_it(site: Site) -> None:
    task_id = TaskClient(site.endpoint(0, site.team.key())).begin(TOOL, {"queries": [LONG]})["taskId"]
    wait_for(lambda: site.running() == 1)
    # The page's own button, pressed in a browser that is signed in at the second replica.
    client = client_of(site.team)
    client.get(f"/app/{site.team.slug}/work/{task_id}/")
    base = site.replicas[1].base_url
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    cookies = {settings.SESSION_COOKIE_NAME: session}
    with httpx2.Client(base_url=base, trust_env=False, cookies=cookies) as browser:
        page = browser.get(f"/app/{site.team.slug}/work/{task_id}/")
        token = page.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        answer = browser.post(
            f"/app/{site.team.slug}/work/{task_id}/cancel",
            data={"csrfmiddlewaretoken": token},
            headers={"Origin": base, "Referer": base},
        )
    assert answer.status_code == 302, answer.text[:500]
    stopped(site, "cancelled", f"Cancelled by {site.team.owner.actor}.")


def test_its_deadline_stops_it(site: Site) -> None:
    with tenant_scope(site.team.tenant_id):
        Tool.objects.filter(name=TOOL).update(deadline=2)
        publish_change(site.team.tenant_id)
    client = TaskClient(site.endpoint(0, site.team.key()))
    task_id = client.begin(TOOL, {"queries": [LONG]})["taskId"]
    wait_for(lambda: site.running() == 1)
    stopped(site, "error", "and was stopped. Nothing was changed.")
    assert client.until(task_id)["result"]["isError"] is True
