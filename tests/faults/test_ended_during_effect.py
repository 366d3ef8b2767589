"""The web process ends while a call that may change something runs: the log says that it was begun, and what it can."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings

from servers.models import DataSource
from servers.services.kinds import backend_of
from servers.services.sources import create_source
from servers.services.tools import store_tool
from tenants.audit.chain import Head
from tenants.audit.verification import verify_log
from tenants.scoping import tenant_scope
from tenants.services.log import LogRecord, search_records
from tests.factories import Team, make_database, make_team
from tests.faults.web import KillableWeb

TOOL = "take_number"
_LONGEST_WAIT = 20.0
_HELD_UP = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'numbers'::regclass"


@pytest.fixture
def dsn(database: None) -> str:
    return make_database("CREATE TABLE numbers (number bigint); INSERT INTO numbers VALUES (7)")


@pytest.fixture
def team(dsn: str) -> Team:
    """A team with a tool that does not say that it only reads."""
    made = make_team()
    create_source("numbers", "postgres", {"dsn": dsn}, caller=made.owner)
    with tenant_scope(made.tenant_id):
        source = DataSource.objects.get(name="numbers")
        offered = backend_of("postgres").compile(
            "sql", {"sql": "SELECT number FROM numbers", "parameters": {}}
        )
        store_tool(source, replace(offered, name=TOOL, title=TOOL, annotations={}), caller=made.owner)
    return made


def call(web: KillableWeb, team: Team, key: str) -> int | None:
    """The status of a call's answer; ``None`` when none came."""
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": TOOL,
            "arguments": {},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "fault-caller", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": TOOL,
    }
    connection = http.client.HTTPConnection(urlsplit(web.base_url).netloc, timeout=_LONGEST_WAIT)
    try:
        connection.request("POST", f"/mcp/{team.slug}", json.dumps(message), headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def calls_of(team: Team) -> list[LogRecord]:
    """The records of the team's calls, oldest first."""
    return search_records(caller=team.owner, kind="tools/call").records[::-1]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONGEST_WAIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@contextmanager
def calling(web: KillableWeb, team: Team, key: str, dsn: str, *, answer: int | None) -> Iterator[LogRecord]:
    """A call that runs until the block ends, and the record of its intent. ``answer``: what is to become of it."""
    answers: list[int | None] = []
    owned = f"{settings.ENV.database_url.rpartition('/')[0]}/{dsn.rpartition('/')[2]}"
    with psycopg.connect(owned, autocommit=True) as other, psycopg.connect(owned) as holder:
        # The tool's statement waits for this lock, so the call runs for as long as the test likes.
        holder.execute("LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE")
        running = threading.Thread(target=lambda: answers.append(call(web, team, key)))
        running.start()
        wait_until(lambda: other.execute(_HELD_UP).rowcount > 0)
        (begun,) = calls_of(team)
        assert (begun.outcome, begun.standing) == ("intent", "no outcome yet")
        yield begun
        running.join(_LONGEST_WAIT)
        holder.rollback()
    assert answers == [answer]


@pytest.mark.timeout(120)
def test_a_killed_call_stays_in_the_log_as_one_whose_outcome_is_unknown(
    web: KillableWeb, team: Team, dsn: str
) -> None:
    key = team.key()
    with calling(web, team, key, dsn, answer=None) as begun:
        web.kill()
    web.start()
    assert call(web, team, key) == 200
    web.close()

    lost, intent, outcome = calls_of(team)
    assert lost.outcome_unknown
    assert (lost.tool, lost.seq) == (TOOL, begun.seq)
    assert (intent.outcome_seq, outcome.intent_seq, outcome.outcome) == (outcome.seq, intent.seq, "ok")
    assert [record.seq for record in search_records(caller=team.owner, outcome="unknown").records] == [
        lost.seq
    ]
    assert isinstance(verify_log(team.tenant_id), Head)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("environment", [{"MARINA_DRAIN_SECONDS": "1"}])
def test_a_call_that_outlasts_the_time_to_drain_is_recorded_as_cancelled(
    web: KillableWeb, team: Team, dsn: str
) -> None:
    with calling(web, team, team.key(), dsn, answer=503) as begun:
        web.close()
    intent, outcome = calls_of(team)
    assert (intent.seq, intent.outcome_seq) == (begun.seq, outcome.seq)
    assert (outcome.outcome, outcome.intent_seq) == ("cancelled", begun.seq)
    assert outcome.reason is not None
    assert "process ended" in outcome.reason["message"]
    assert isinstance(verify_log(team.tenant_id), Head)
